"""Bad command lines: those that once ended in a traceback, and others drawn from a seed."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from metadip.composing import composed, known_keys
from tests.tiny import replaced

SMALL = ["image_size=32", "threads=1"]
NETWORK = ["prior.network.channels=[8]", "prior.network.skip_channels=[4]"]
TRAINED = [
    *("data=sample", "learner.inner_steps=2", "learner.multi_step_from=1", "val_steps=[0,2]"),
    *("data.loader.epoch_size=2", "data.loader.val_size=1", "trainer.max_steps=1"),
    *("trainer.enable_progress_bar=false", "trainer.accelerator=cpu"),
]

INFER = """
out=5; out=null; out=[1]; ckpt=5; ckpt=null; ckpt={a: 1}; input=5; input=[a,b]; fit=null; fit=5
+callbacks.x=5; callbacks=[{a: 1}]; callbacks=5; ~input; ~method; ~fit.steps; ~out; ~seed; --input
image_size=100000000; threads=1000000000; threads=0; threads=1.5; ++x=1; +x=1; --input x; -h5
method=dip optimizer.lr=nan; method=dip optimizer.lr=inf; method=dip optimizer.lr=-1
method=dip ckpt=X; task.noise_std=nan; task.noise_std=-1; task.noise_std=[1]; task=5; method=[dip]
method=null; task=null; trainer=null; trainer=5; trainer.devices=x; trainer.devices=1.5
trainer.devices=0; trainer.accelerator=5; trainer.accelerator=gpux; seed=1e30; seed=-1; seed=null
seed=99999999999999999999999999; fit.batch_size=0; callbacks=jitter callbacks.jitter.std=nan
callbacks=es_wmv callbacks.es_wmv.window=99999999999; callbacks.es_wmv=null; method=dip prior=null
method=dip prior.network=5; method=dip prior.network=null; method=dip prior.network.channels=5
method=dip prior.network.channels=[]; method=dip prior.network.channels=[a]; fit.steps=1e9
method=dip prior.network.channels=[200000,200000] prior.network.skip_channels=[4,4]
method=dip prior.network.channels=[0]; method=dip prior.network.channels=null; fit.steps=true
method=dip prior.latent=5; method=dip optimizer=null; method=dip objective=null; overwrite=null
method=dip objective.data=5; method=dip objective.terms=5; method=dip prior.latent.size_px=1e9
method._target_=os.system; method=dip prior._target_=os.system; method=dip prior._target_=5
+callbacks.x._target_=os.system; method=dip +prior.network.x={_target_: os.system}; allow=os
method._target_=metadip.runs.problems.os.system; method._target_=metadip.methods.torch.load
+task.noise={_target_: os.system}; +method.x={_target_: os.getcwd}; hydra.run.dir=x; hydra=5
choices=5; =5; x; ; a b=c; input=a b; input='a; image_size=${oc.env:HOME}; input=${nothing}
image_size=${image_size}; fit.precision=16; fit.precision=null; fit.memory_gb=nan; fit.memory_gb=-1
gif=null; gif=5; debug=5; progress=null; physics=x; physics=5; rescale=5; truth=5; measurement=5
measurement={image} input=null physics=builtins:dict; measurement={image} input=null physics=x:y
measurement={image} input=null physics=os:system; measurement={image} physics=math:pi input=null
callbacks=[dip,es_wmv,nosuch]; method=pnp_admm denoiser=nosuch; method=pnp_admm pnp=null; max_gb=0
method=nlm denoiser.x=5; task.noise=[a]; task.clip=5; task=cs task.noise_std=0 task.ratio=nan
task=cs task.noise_std=0 task.max_bytes=nan; task=cs task.operator=5; @task=cs; max_gb=nan
task=cs task.noise_std=0 task.operator=structured task.max_bytes=10; task@val_task=cs
method.steps=null fit.steps=null; method.seed=x; method.rescale=5; method=nosuch; max_gb=1e-9
"""
TRAIN = """
out=5; ckpt=5; ckpt=nosuch; experiment=nosuch; experiment=5; data=folder data.root=5; data=null
data.loader=5; data.loader.batch_size=0; data.loader.epoch_size=-1; data.loader.num_workers=-1
stability.guard=5; stability=null; +stability.x=5; val_steps=5; val_steps=[]; val_steps=[-1]
val_steps=[a]; val_steps=null; outer.clip_norm=nan; outer.lr_max=-1; learner=null; optimizer.lr=nan
learner.inner_steps=99999999999; learner.inner_steps=-1; optimizer.lr_bounds=[]; optimizer.lr=-1
optimizer.lr_bounds=5; optimizer.lr_bounds=[1]; optimizer.momentum=nan; optimizer.momentum=2
trainer.max_steps=null; trainer.max_steps=0; +trainer.max_time=x; image_size=1; image_size=0
logger=null; +logger.x=5; val_task=null; task=mixture task.weights=5; data=mixture data.sources=5
prior.network.channels=[200000,200000] prior.network.skip_channels=[4,4]; checkpoint_minutes=1e9
start=5; start=nosuch; trainer.precision=7; +trainer.gradient_clip_val=x; ~stability.guard; ~trainer
overwrite=5; +data.sources.x=5; data._target_=os.system; logger._target_=os.system; seed=x
outer._target_=os.system; +stability.x._target_=os.system; +stability.x={_target_: os.system}
+prior.network={_target_: builtins.eval}; prior._target_=subprocess.run; task._target_=shutil.rmtree
"""
BENCHMARK = """
methods=5; tasks=5; methods=[5]; methods=[nosuch]; part=5; part=0/0; part=2/1; table=5
table=null; table=nosuch; table.methods=5; table.methods.dip=5; table.methods.dip.settings=5
table.methods.dip.settings=[5]; table.methods.dip.settings=[x]; table.tasks=null; count=0; count=x
device=5; device=nosuch; images=5; images=nosuch; faces=5; quick=false split=nosuch; quick=5
drunet_weights=5; out=5; table.reference=nosuch; table.sets=5; table.methods.dip.settings=null
table.methods.dip.count=x; table.tasks.denoise_25=5; +table.x={_target_: os.system}; seed=nan
"""


def _split(text: str) -> list[list[str]]:
    """Return the lines of a text, each a list of words; a brace may hold a space."""
    lines = [line for row in text.strip().splitlines() for line in row.split(";")]
    return [_words(line.strip()) for line in lines]


def _words(line: str) -> list[str]:
    words = [""]
    for char in line:
        inside = words[-1].count("{") > words[-1].count("}")
        if char == " " and not inside and not line.startswith(("input=a", "a b")):
            words.append("")
        else:
            words[-1] += char
    return words


LINES: list[tuple[str, list[str]]] = [
    (name, words)
    for name, text in (("infer", INFER), ("train", TRAIN), ("benchmark", BENCHMARK))
    for words in _split(text)
]
VALUES = (
    "null", "5", "-1", "0", "1e30", "nan", "inf", "true", "x", "''", "[]", "[x]", "{}", "{a: 1}",
    "[[[]]]", "99999999999999999999", "${x}", "???", "{_target_: os.system}", "[nan]", "1.5",
)  # fmt: skip


def good_line(name: str, changes: list[str], folder: Path) -> list[str]:
    """Return a good call of a script with some settings replaced."""
    image = folder / "image.png"
    if not image.exists():
        Image.new("RGB", (16, 16), (90, 20, 30)).save(image)
    good = {
        "infer": [f"input={image}", "fit.steps=1", "progress=false", "trainer.accelerator=cpu"],
        "train": [*NETWORK, *TRAINED],
        "benchmark": ["quick=true", "progress=false", "methods=[dip]", "tasks=[denoise_25]"],
    }[name]
    changed = [change.replace("{image}", str(image)) for change in changes]
    return replaced([*good, *SMALL, f"out={folder / 'out'}"], changed)


def random_line(name: str, rng: random.Random) -> list[str]:
    """Return one or two settings of a script with values that they do not expect."""
    keys = [key for key in known_keys(composed(name)) if not key.startswith("choices")]
    return [f"{rng.choice(keys)}={rng.choice(VALUES)}" for _ in range(rng.randint(1, 2))]
