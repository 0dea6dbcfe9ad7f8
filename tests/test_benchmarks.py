"""The benchmarks at tiny sizes: what they print can be read, and work is not done twice."""

import importlib.util
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from metadip import config, load
from metadip.callbacks import OraclePSNR
from metadip.report import psnr_db
from tests.test_sweep import expand, read_sweep
from tests.tiny import save_tiny_prior

REPO = Path(__file__).resolve().parents[1]


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def modules_beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts import their neighbours, as when they are called."""
    monkeypatch.syspath_prepend(REPO / "benchmarks")


@pytest.fixture(scope="module")
def released_prior() -> ModuleType:
    return load_script("released_prior")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """One random face in CelebA's layout, and settings without a prior."""
    folder = tmp_path / "faces" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(folder / "000001.jpg")
    (folder.parent / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    return ["--images", str(folder.parent), "--out", str(tmp_path / "out"), "--size", "32",
            "--count", "1", "--tasks", "denoise", "--dip-steps", "2"]  # fmt: skip


@pytest.fixture
def fit_step_loops() -> ModuleType:
    return importlib.import_module("loops")


@pytest.mark.usefixtures("fit_step_loops")
@pytest.mark.slow
def test_fit_step_ends_with_a_line_of_json(capsys, monkeypatch):
    script = load_script("fit_step")
    monkeypatch.setattr(script, "QUICK_QUALITY_STEPS", {"metadip": 1, "dip": 1})
    monkeypatch.setitem(script.QUICK, "steps", 2)
    monkeypatch.setattr(script, "bf16_ratio", lambda: 1.0)  # whatever this processor can do
    script.main(["--quick", "--json", "--threads", "1"])
    content = json.loads(capsys.readouterr().out.splitlines()[-1])
    ratios = ("overhead_plain", "overhead_dip", "overhead_es_emv", "overhead_es_wmv")
    for name in (*ratios, "bf16_time_ratio", "deepinv_step_ratio"):
        assert content[name] > 0
    assert 0 < abs(content["bf16_psnr_cost_db"]) < 1
    assert (content["size"], content["threads"], content["steps"]) == ([32], 1, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("fit_step_loops")
def test_threads_by_size_and_neighbours(capsys, monkeypatch):
    script = load_script("threads")
    monkeypatch.setitem(script.QUICK, "size", [16, 100])
    monkeypatch.setitem(script.QUICK, "neighbours", [0, 1])
    monkeypatch.setitem(script.QUICK, "steps", 1)
    before = torch.get_num_threads()
    rows = script.main(["--quick", "--json"])
    torch.set_num_threads(before)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == rows
    assert len(rows) == 8
    assert all(row["wall_ms"] > 0 for row in rows)
    stars = {(row["size_px"], row["threads"]) for row in rows if row["default"] == "*"}
    assert stars == {(16, 1), (100, 2)}


def test_our_loop_and_deepinvs_make_the_same_fit(fit_step_loops):
    method, problem = fit_step_loops.dip_of("small", 6), fit_step_loops.make_problem(32)
    method.prior.double()  # in float32 Adam soon makes rounding visible
    problem = replace(problem, y=problem.y.double(), x=problem.x.double())
    loop, network = fit_step_loops.deepinv_dip(method, problem)
    network.images = []
    loop(problem.y, problem.physics)
    found = method.reconstruct([problem], hooks=[OraclePSNR()])[0].curves["psnr_raw_db"]
    theirs = torch.cat([psnr_db(x_hat, problem.x) for x_hat in network.images])
    assert theirs.max() - theirs.min() > 0.1
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-6)


def fake_measure(method, *_):
    """MetaDIP rises by 0.1 dB a step from 20 dB; DIP by 0.05, and its average lags behind."""
    slope = 0.1 if method == "metadip" else 0.05
    raw = [20 + slope * k for k in range(101 if method == "metadip" else 201)]
    return {"psnr_db": [v - (method == "dip") for v in raw], "psnr_raw_db": raw, "s_per_step": 0.5}


def test_finished_fits_are_skipped_and_the_table_adds_up(
    released_prior, arguments, capsys, monkeypatch
):
    monkeypatch.setattr(released_prior, "measure", fake_measure)
    assert released_prior.main(arguments) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    monkeypatch.setattr(released_prior, "measure", lambda *_: pytest.fail("measured twice"))
    assert released_prior.main(arguments) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["results"] == second["results"]
    result = first["results"]["denoise"]
    assert result["metadip at 50 (dB)"] == {"mean": 25.0, "std": 0.0, "n": 1}
    assert result["dip at its best step (dB)"]["mean"] == 30.0
    assert result["dip steps to metadip at 50"] == {"median": 100, "never": 0, "n": 1}


def test_results_of_other_settings_are_not_mixed(released_prior, arguments, capsys, monkeypatch):
    monkeypatch.setattr(released_prior, "measure", fake_measure)
    assert released_prior.main(arguments) == 0
    assert released_prior.main([*arguments, "--seed", "1"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_dip_is_really_measured(released_prior, arguments, capsys):
    assert released_prior.main([*arguments, "--methods", "dip"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]["denoise"]
    assert 0 < result["dip at its best step (dB)"]["mean"] < 40
    assert "metadip at 50 (dB)" not in result


def test_rules_beyond_the_learned_steps_are_compared(arguments, capsys, monkeypatch, tmp_path):
    script = load_script("beyond")
    (tmp_path / "faces" / "list_eval_partition.txt").write_text("000001.jpg 1\n")
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    command = [*arguments[:6], "--ckpt", str(prior), "--tasks", "denoise", "--steps", "10"]
    command += ["--rules", "hold", "decay", "adam"]
    assert script.main(command) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert [row["rule"] for row in first] == ["hold", "decay", "adam"] * 2
    assert len({row["10"] for row in first}) == 3  # they are different rules
    monkeypatch.setattr(script, "measure", lambda *_: pytest.fail("measured twice"))
    assert script.main(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == first
    assert script.main([*command, "--seed", "1"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_step_sizes_of_the_handover_are_compared(arguments, capsys, tmp_path):
    script = load_script("beyond")
    photographs, face = tmp_path / "photographs", tmp_path / "faces/img_align_celeba/000001.jpg"
    for split in ("train", "val", "test"):
        (photographs / split).mkdir(parents=True)
        shutil.copy(face, photographs / split / f"{split}.jpg")
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    command = ["--natural", str(photographs), *arguments[2:6], "--ckpt", str(prior)]
    command += ["--tasks", "denoise", "--steps", "10", "--rules", "hold", "adam"]
    assert script.main([*command, "--adam-lr", "1e-3", "0.1"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["results"][:3]
    assert [row["rule"] for row in rows] == ["hold", "adam_0.001", "adam_0.1"]
    assert len({row["10"] for row in rows}) == 3
    with pytest.raises(SystemExit):
        script.main([*command[:-1], "--adam-lr", "1e-3"])
    assert "--adam-lr has no use without adam" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main([*command, "--adam-lr", "1e-3", "0"])
    assert "--adam-lr must be above 0" in capsys.readouterr().err


def test_what_more_steps_lose_is_found():
    script = load_script("beyond")
    rising = [k / 10 for k in range(201)]  # 2, 5, 10 and 20 dB at the marked steps
    dipping = [*rising[:60], 0.0, *rising[61:150], *[4.0] * 51]
    rows = script.rows_of({("cs", "hold"): [rising, dipping], ("denoise", "hold"): [rising]})
    assert [row["task"] for row in rows] == ["denoise", "cs"]
    assert (rows[0]["loss"], rows[0]["dip"], rows[0]["50"]) == (0.0, 0.0, 5.0)
    assert rows[1]["200"] == 12.0
    assert rows[1]["loss"] == 0.0
    assert rows[1]["dip"] == pytest.approx(14.9 - 4.0)
    (line,) = script.over_tasks(rows)
    assert (line["200"], line["fits"], line["dip"]) == (16.0, 3, rows[1]["dip"])


@pytest.fixture
def recipes() -> ModuleType:
    return load_script("recipes")


@pytest.fixture
def recipe_arguments(arguments, tmp_path: Path) -> list[str]:
    partition = tmp_path / "faces" / "list_eval_partition.txt"
    partition.write_text("000001.jpg 1\n")
    return [*arguments[:6], "--recipes", "functional50", "--budget-s", "100", "--val", "1"]


def test_every_recipe_is_a_setting_of_train(recipes, recipe_arguments):
    options = recipes.parse(recipe_arguments)
    settings = {name: recipes.settings_of(name, options) for name in recipes.RECIPES}
    learned = [config.compose("train", values) for values in settings.values()]
    for cfg in learned:
        config.build(cfg.learner)
    assert len({config.to_yaml(cfg) for cfg in learned}) == len(settings)  # no two are the same


def test_an_interrupted_recipe_goes_on_and_a_finished_one_is_kept(
    recipes, recipe_arguments, capsys, monkeypatch, tmp_path
):
    run = tmp_path / "out" / "functional50"
    commands: list[list[str]] = []

    def train(command, **_):
        commands.append(command)
        torch.save({"global_step": 40}, run / "last.ckpt")
        if len(commands) == 1:
            raise subprocess.CalledProcessError(137, command)
        (run / "prior.safetensors").touch()

    monkeypatch.setattr(recipes, "step_seconds", lambda _: 2.5)
    monkeypatch.setattr(recipes.subprocess, "run", train)
    monkeypatch.setattr(
        recipes, "evaluate", lambda *_: {f"psnr_{k}_db": 20.0 for k in recipes.REPORTED_STEPS}
    )
    assert recipes.main(recipe_arguments) == 2
    assert "train.py ended with code 137" in capsys.readouterr().err
    monkeypatch.setattr(recipes, "step_seconds", lambda _: pytest.fail("planned twice"))
    assert recipes.main(recipe_arguments) == 0
    assert recipes.main(recipe_arguments) == 0  # nothing is run again
    first, second = (config.compose("train", command[2:]) for command in commands)
    assert (first.ckpt, second.ckpt) == (None, str(run / "last.ckpt"))
    assert (second.trainer.max_steps, second.data.loader.epoch_size) == (40, 20)  # 100 s / 2.5 s
    rows = (tmp_path / "out" / "recipes.csv").read_text().splitlines()
    assert rows[1].startswith("functional50,1,40,40,2.5,20.0")
    assert recipes.main([*recipe_arguments, "--seed", "1"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_a_recipe_is_judged_by_fits_of_its_weights(recipes, recipe_arguments, tmp_path):
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    found = recipes.evaluate(prior, recipes.parse(recipe_arguments))
    image = Image.open(tmp_path / "faces" / "img_align_celeba" / "000001.jpg")
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    task = config.build(config.compose("train", ["experiment=faces64"]).val_task)
    problem = task.measure(x, seed=recipes.seed_of(0, 0, 0))
    x_hat = load(str(prior), steps=5)(problem.y, problem.physics)
    assert found["psnr_5_db"] == pytest.approx(psnr_db(x_hat, x).item(), abs=1e-3)


def test_a_sweep_runs_here_as_its_agent_would_run_it(capsys, monkeypatch, tmp_path):
    script, file = load_script("sweep"), REPO / "conf" / "sweep" / "small.yaml"
    commands: list[list[str]] = []

    def train(command, **_):
        commands.append(command)
        out = tmp_path / f"run{len(commands) - 1:02d}"
        out.mkdir()
        callbacks = {"best": {"best_model_score": torch.tensor(20.0 + len(commands))}, "last": {}}
        torch.save({"global_step": 96, "callbacks": callbacks}, out / "last.ckpt")
        (out / "prior.safetensors").touch()

    monkeypatch.setattr(script.subprocess, "run", train)
    for _ in range(2):  # the second time nothing is left to do
        assert script.main([str(file), "--out", str(tmp_path), "threads=1"]) == 0
    assert len(commands) == 6
    assert len({" ".join(command[2:-1]) for command in commands}) == 6
    *settings, threads, _ = commands[0][2:]
    assert threads == "threads=1"
    agent = config.compose("train", expand(read_sweep(file))[3:])
    assert config.compose("train", settings) == agent
    assert "26.00" in capsys.readouterr().out.splitlines()[-1]


def test_a_sweep_that_needs_the_server_is_refused(capsys, tmp_path):
    file = REPO / "conf" / "sweep" / "inner_lr.yaml"
    assert load_script("sweep").main([str(file), "--out", str(tmp_path)]) == 2
    assert "only grids run here, method is bayes" in capsys.readouterr().err
