"""Mistakes with the untrained family: one line that says what to do, before a step is taken."""

import re

import pytest
import torch

from metadip import config, runs
from metadip.types import InverseProblem, UserError

SMALL = ["prior.network.channels=[4]", "prior.network.skip_channels=[2]"]


def problem_of(task: list[str]) -> InverseProblem:
    built = config.build(config.compose("infer", task).task)
    problem: InverseProblem = built.measure(torch.rand(1, 3, 16, 16), seed=0, name="image")
    return problem


def solve(words: list[str], task: list[str]) -> None:
    """Compose, build, check and reconstruct, as ``infer.py`` does."""
    cfg = config.compose("infer", [*words, *task])
    config.check_settings(cfg)
    method = runs.build_method(cfg)
    problem = problem_of(task)
    method.check(problem, task=task[0])
    method.reconstruct([problem])


@pytest.mark.parametrize(
    ("words", "task", "text"),
    [
        (["method=net_pgd", "method.start=warm"], "denoise", "method.start=warm is unknown"),
        (["method=net_pgd", "method.start=spectral"], "cs", "set method.start=network"),
        (["method=net_pgd", "method.projection.steps=0"], "denoise", "need steps >= 1 and lr > 0"),
        (["method=net_pgd", "callbacks=dip"], "denoise", "is not read by method=net_pgd"),
        (["method=net_gd", "method.restarts=0"], "denoise", "method.restarts=0 must be at least 1"),
        (["method=net_gd", "prior.network.channels=[]"], "denoise", "there must be a layer"),
        (["method=lasso", "method.basis=db4"], "cs", "choose from dct, haar"),
        (["method=lasso"], "cpr", "use method=net_pgd or method=dip"),
        (["method=lasso", "objective=l1"], "cs", "objective=l1 is not read by method=lasso"),
        (["method=lasso", "method.alpha=0"], "cs", "need alpha > 0 and iterations >= 2"),
        (
            ["method=dip_tv_split", *SMALL, "method.splitting.algorithm=pdhg"],
            "denoise", "choose from admm, hqs",
        ),
        (["method=dip_tv_split", "objective=l1"], "denoise", "is not read by method=dip_tv_split"),
        (["method=spectral", "prior.network.bound=0"], "denoise", "bound > 0"),
        (["method=spectral", "callbacks.settled.window=0"], "denoise", "need window >= 1"),
        (["method=spectral", "prior.latent.channels=31"], "denoise", "even number of channels"),
        (["method=self_guided", *SMALL], "cpr", "has no adjoint"),
        (["method=self_guided", *SMALL, "prior.n_passes=0"], "denoise", "n_passes must be at"),
        (["method=dip", *SMALL, "callbacks=dropout"], "denoise", "take prior=dropout"),
        (["method=dip", *SMALL, "callbacks=self_guided"], "denoise", "take prior=self_guided"),
        (["method=dip", *SMALL, "callbacks=bands"], "cs", "callbacks=bands needs a measurement"),
        (["method=edip"], "denoise", "method.ckpt must be given"),
        (["method=drp_inpaint", "callbacks.noise.std=-1"], "inpaint", "std must be finite"),
        (["method=deep_decoder_inpaint", "callbacks.jitter.factor=2"], "inpaint", "factor in (0"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_line(words: list[str], task: str, text: str) -> None:
    with pytest.raises(UserError) as refusal:
        solve(words, [f"task={task}"])
    message = str(refusal.value)
    assert re.search(re.escape(text), message), message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["sets", "tasks"])
def test_a_table_names_what_it_has(kind: str) -> None:
    cfg = config.compose(
        "benchmark", ["table=net_pgd", f"+table.methods.photo.only_{kind}=[digits]"]
    )
    with pytest.raises(UserError, match=f"only_{kind}: digits is not among its {kind}"):
        config.check_settings(cfg)
