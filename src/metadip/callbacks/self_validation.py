"""Stop a fit when an autoencoder of recent reconstructions fits the newest one best: SV-ES."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.callbacks.base import FitCallback, active_rows
from metadip.callbacks.early_stopping import check_steps
from metadip.callbacks.selection import BestSoFar
from metadip.seeding import Stream, generator_of, seed_of
from metadip.types import FitState

WIDTHS = (32, 64)  # of the outer levels; the others have 128 channels, the code has one
CODE_PX = 4  # side of the code of a square image


class FrameAutoencoder(nn.Module):
    """Compress an image to about 16 numbers and back, with a linear part that seeks low rank.

    Model:
        L times [3 x 3 convolution of stride 2, BatchNorm, ReLU] to one channel; four linear layers
        without bias or activation; L times [bilinear upsampling, 3 x 3 convolution, BatchNorm,
        ReLU], the last activation a sigmoid. No biases. L brings the code nearest to the published
        16 numbers, round(log2(H W / 16) / 2) and at least 1: 7 at 512 px, where this is the
        published network with 537,762 + 1,024 + 537,766 weights for RGB, 5 at 128 px, 4 at 64 px.
        From the outside in, the levels have 32, 64, then 128 channels. Sides do not have to be
        even: the encoder rounds halves up, and each level of the decoder returns to the size of
        the encoder at that level.
    Shape:
        (B, C, H, W) in [0, 1] -> the same.
    Args:
        image_shape: (C, H, W).
    References:
        Li et al. (2021), Self-Validation: Early Stopping for Single-Instance Deep Generative
        Priors, arXiv:2110.12271.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *size = image_shape
        levels = max(1, round(math.log2(math.prod(size) / CODE_PX**2) / 2))
        self.sizes = [size]
        for _ in range(levels):
            self.sizes.append([(side + 1) // 2 for side in self.sizes[-1]])
        widths = [channels, *(*WIDTHS, *(128,) * levels)[: levels - 1], 1]
        pairs = list(pairwise(widths))
        code = math.prod(self.sizes[-1])
        self.encoder = nn.Sequential(*(_level(a, b, 2, nn.ReLU()) for a, b in pairs))
        self.linear = nn.Sequential(*(nn.Linear(code, code, bias=False) for _ in range(4)))
        self.decoder = nn.Sequential(
            *(_level(b, a, 1, nn.ReLU()) for a, b in pairs[:0:-1]),
            _level(widths[1], channels, 1, nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the images reconstructed from the code."""
        code = self.linear(self.encoder(x).flatten(1))
        x = code.unflatten(1, (1, *self.sizes[-1]))
        for level, size in zip(self.decoder, self.sizes[-2::-1], strict=True):
            x = level(F.interpolate(x, size=size, mode="bilinear", align_corners=False))
        return x


def _level(in_channels: int, out_channels: int, stride: int, activation: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        activation,
    )


class SelfValidation(FitCallback):
    """Stop each image when an autoencoder trained on its past fails on its newest frame.

    Model:
        At every step, once ``window`` reconstructions are held: (1) e = ||x_hat - AE(x_hat)||_2 of
        the newest one is computed, AE in evaluation mode; (2) if e is strictly lower than ever
        before, the step becomes the new choice; (3) AE is trained for one epoch on the
        reconstructions held, in shuffled batches, with mean squared error and a fresh Adam. While
        structure is fitted, the newest frame lies near the earlier ones; noise cannot be
        compressed. The fit stops after ``patience`` steps without a lower e. It returns the image
        of the unperturbed inputs, f_theta(z), at the minimum, also when the steps run out. AE sees
        reconstructions clipped to [0, 1]; its weights are carried over. Each image has its own
        autoencoder, drawn and shuffled from its own seed. No ground truth is used.

        Differences from the authors' code: theirs looks at f(z) one update later and in evaluation
        mode, which for a prior without running statistics is the same as training mode. Its three
        Adams for the three parts of AE are the same rule as one.
    Shape:
        Reads ``x_hat`` (A, C, H, W), C from 1 to 4, any H and W. Records ``self_validation``, e,
        and ``chosen_step``; ``best_steps`` (N,) holds the chosen step, -1 where there is none.
    Args:
        window: in steps, at least 2; 256 in the authors' code.
        patience: in steps, at least 1; 500 in the authors' code.
        min_start: first step that may be the minimum, at least 0.
        every: check and train at every ``every``-th step, at least 1; the authors do so at each
            step, which takes far longer than the fit itself.
        batch_size: reconstructions in a training batch, at least 2; 32 in the authors' code.
        lr: Adam's step size, above 0; 0.001 in the authors' code.
    Raises:
        ValueError: If an argument is outside the range given here.
    Cost:
        ``window`` copies of each image (256 x 3 x 512 x 512 float32: 805 MB each) and its
        autoencoder; 3 x ``window`` passes through it at each check, and one through the fitted
        network at each new minimum.
    References:
        Li et al. (2021), Self-Validation: Early Stopping for Single-Instance Deep Generative
        Priors, arXiv:2110.12271.
    """

    def __init__(
        self, window: int, patience: int, *, min_start: int, every: int, batch_size: int, lr: float
    ) -> None:
        if window < 2 or batch_size < 2:
            raise ValueError(
                f"window and batch_size must be at least 2, got {window} and {batch_size}"
            )
        check_steps(patience, min_start)
        if every < 1:
            raise ValueError(f"every must be at least 1 step, got {every}")
        if not lr > 0:
            raise ValueError(f"lr must be above 0, got {lr}")
        self.window, self.patience, self.min_start = window, patience, min_start
        self.every, self.batch_size, self.lr = every, batch_size, lr
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._best = BestSoFar(state)
        self.best_steps, self._count = self._best.steps, 0
        n, *image_shape = state.output.shape
        self._frames = state.output.new_zeros(n, self.window, *image_shape)
        self._validators = [
            _Validator(self._frames[i], p.seed) for i, p in enumerate(state.problems)
        ]

    def on_step_end(self, state: FitState) -> None:
        """Add the newest reconstruction to the window, update the choice, and train."""
        rows = active_rows(state)
        self._frames[rows, self._count % self.window] = state.x_hat.clamp(0, 1)
        newest, self._count = self._count % self.window, self._count + 1
        if self._count < self.window or (self._count - self.window) % self.every:
            self._best.record(state)
            return
        images = state.active.tolist()
        errors = torch.stack([self._validators[i].error(newest) for i in images])
        state.record("self_validation", errors)
        if state.step >= self.min_start:
            self._best.update(state, errors, lambda: state.again().x)
            self._best.stop_stale(
                state, patience=self.patience, rule="SV-ES", score="autoencoder's error"
            )
        for image in images:
            if image not in state.stop_steps and state.step < state.n_steps:
                self._validators[image].train(self.batch_size, self.lr)

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the chosen iterates, and free the memory."""
        self._best.write(state)
        del self._frames, self._validators, self._best


class _Validator:
    """The autoencoder of one image, the frames (W, C, H, W) it learns from, its random stream."""

    def __init__(self, frames: Tensor, seed: int) -> None:
        channels, height, width = frames.shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, Stream.JUDGE_WEIGHTS))
            network = FrameAutoencoder((channels, height, width))
        on_cpu = frames.device.type == "cpu"
        self.layout = torch.channels_last if on_cpu else torch.contiguous_format  # 1.7 times faster
        self.frames, self.network = frames, network.to(frames).to(memory_format=self.layout)
        self.generator = generator_of(seed, Stream.JUDGE_ORDER)

    def error(self, slot: int) -> Tensor:
        """Return the error of one frame, with the running BatchNorm statistics."""
        frame = self._batch([slot])
        error: Tensor = torch.linalg.vector_norm(frame - self.network.eval()(frame))
        return error

    def train(self, batch_size: int, lr: float) -> None:
        """Train for one epoch on all frames."""
        self.network.train()
        optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        order = torch.randperm(len(self.frames), generator=self.generator)
        with torch.enable_grad():
            for chosen in order.split(batch_size):
                batch = self._batch(chosen.tolist())
                optimizer.zero_grad()
                F.mse_loss(self.network(batch), batch).backward()
                optimizer.step()

    def _batch(self, slots: list[int]) -> Tensor:
        return self.frames[slots].contiguous(memory_format=self.layout)
