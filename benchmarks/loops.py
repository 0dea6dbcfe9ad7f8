"""The loops that ``fit_step.py`` times with the same network: ours, a bare one, and deepinv's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip import config
from metadip.callbacks import FitProgress, OraclePSNR
from metadip.methods import FitReconstructor
from metadip.priors import LatentNetwork
from metadip.runs import build_fit
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem

PRIORS = {"small": "skip_unet_small", "dip": "skip_unet"}
Work = Callable[[], object]


def dip_of(prior: str, steps: int, *settings: str) -> FitReconstructor:
    """Build vanilla DIP as ``infer.py method=dip`` does."""
    chosen = ["method=dip", f"prior={PRIORS[prior]}", f"method.steps={steps}", *settings]
    return build_fit(config.compose("infer", chosen))


def metadip_of(prior: str, steps: int) -> FitReconstructor:
    """Build MetaDIP with an untrained network, whose momentum steps all cost the same."""
    cfg = config.compose("train", [f"prior={PRIORS[prior]}", "optimizer.beyond=hold"])
    learned = config.build(cfg.prior, learned=True)
    rule = config.build(cfg.optimizer, prior=learned).requires_grad_(False)
    return FitReconstructor(
        learned, objective=config.build(cfg.objective), optimizer=rule, steps=steps
    )


def make_problem(size_px: int) -> InverseProblem:
    """Return a denoising problem of a random colour image."""
    x = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    problem: InverseProblem = config.build(config.compose("infer").task).measure(x, seed=0)
    return problem


def fit_work(method: FitReconstructor, problem: InverseProblem) -> Work:
    """Fit with the hooks of ``infer.py``."""

    def work() -> None:
        hooks = [OraclePSNR(), FitProgress(refresh_steps=1, leave=False)]
        result = method.reconstruct([problem], hooks=hooks)[0]
        if result.steps != method.steps:
            raise RuntimeError(f"the fit ended at step {result.steps}: {result.stop_reason}")

    return work


def network_of(method: FitReconstructor) -> nn.Module:
    """Return the network that a method fits."""
    assert isinstance(method.prior, LatentNetwork)
    return method.prior.network


def bare_work(
    method: FitReconstructor,
    problem: InverseProblem,
    update: Callable[[Any], torch.optim.Optimizer],
    layout: torch.memory_format,
) -> Work:
    """Fit a copy of the network with plain PyTorch."""
    z = method.prior.start(replace(problem, seed=0)).inputs["z"].contiguous(memory_format=layout)

    def work() -> None:
        network = copy.deepcopy(network_of(method)).to(memory_format=layout)
        optimizer = update(network.parameters())
        for _ in range(method.steps):
            optimizer.zero_grad()
            loss: Tensor = F.mse_loss(network(z), problem.y)
            loss.backward()
            optimizer.step()

    return work


class JitteredNetwork(nn.Module):
    """What deepinv's loop fits: our network on our latent, with our jitter; its own z is unused."""

    def __init__(self, method: FitReconstructor, problem: InverseProblem) -> None:
        super().__init__()
        start = method.prior.start(problem)
        self.z = start.inputs["z"].detach()
        self.network = copy.deepcopy(network_of(method))
        named = {name.removeprefix("network."): w for name, w in start.weights.items()}
        self.network.load_state_dict(named)
        self.std = config.compose("infer", ["method=dip"]).callbacks.jitter.std
        self.generator = generator_of(problem.seed, Stream.STEPS)
        self.images: list[Tensor] | None = None

    def forward(self, z: Tensor) -> Tensor:
        """Return the image; keep it if images are collected."""
        noise = torch.randn(self.z.shape, generator=self.generator, dtype=self.z.dtype)
        x_hat: Tensor = self.network(self.z + self.std * noise)
        if self.images is not None:
            self.images.append(x_hat.detach())
        return x_hat


def deepinv_dip(method: FitReconstructor, problem: InverseProblem) -> tuple[Any, JitteredNetwork]:
    """Build deepinv's loop with the network, step size and steps of ``method``."""
    from deepinv.models import DeepImagePrior

    network = JitteredNetwork(method, problem)
    lr = config.compose("infer", ["method=dip"]).optimizer.lr
    return DeepImagePrior(network, (1,), iterations=method.steps, learning_rate=lr), network
