"""One outer step of meta-training by either engine, for the benchmarks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from metadip import config
from metadip.meta import MetaModule
from metadip.types import InverseProblem

ENGINES = {
    "learn2learn": ["learner.engine=learn2learn"],
    "functional": ["learner.engine=functional"],
    "stored": ["learner.engine=functional", "learner.functional.keep_graphs=true"],
}


class OuterStep(NamedTuple):
    """Everything that one outer step needs."""

    module: MetaModule
    problems: list[InverseProblem]

    def gradient(self) -> Tensor:
        """Return the meta-gradient of everything learned as one vector."""
        module = self.module
        parts = module.prior, module.inner_optimizer, module.objective
        module.zero_grad()
        loss = module.learner.outer_loss(*parts, self.problems).loss
        loss.backward()
        params = [param for param in module.parameters() if param.requires_grad]
        return torch.cat([p.grad.flatten() for p in params if p.grad is not None])


def build(
    engine: str,
    inner_steps: int,
    options: argparse.Namespace,
    *,
    overrides: Sequence[str] = (),
    size_px: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> OuterStep:
    """Build an engine as ``train.py`` does, and denoising tasks on random colour images."""
    steps = [f"learner.inner_steps={inner_steps}", f"learner.multi_step_from={min(5, inner_steps)}"]
    cfg = config.compose("train", [*ENGINES[engine], *steps, *overrides])
    prior = config.build(cfg.prior, learned=True).drawn(0)
    parts = {name: config.build(cfg[name]) for name in ("objective", "learner", "outer")}
    parts["optimizer"] = config.build(cfg.optimizer, prior=prior)
    module = MetaModule(prior, **parts).to(device=options.device, dtype=dtype)
    side = size_px or options.size
    images = torch.rand(options.tasks, 1, 3, side, side, generator=torch.Generator().manual_seed(0))
    task, problems = config.build(cfg.task), []
    for i, x in enumerate(images):
        problem = task.measure(x, seed=i).to(options.device)
        problems.append(replace(problem, y=problem.y.to(dtype), x=problem.x.to(dtype)))
    return OuterStep(module, problems)


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
