"""An animated picture of a fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from metadip.callbacks import FitCallback
from metadip.files import atomic_path
from metadip.report.curve_figures import chosen_step_of
from metadip.report.figures import to_pixels
from metadip.types import FitState

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Frame = tuple[str, NDArray[np.uint8]]  # caption, and pixels (H, W) or (H, W, 3)

FRAME_MS, LAST_FRAME_MS = 120, 2500
MIN_WIDTH_PX = 192  # smaller images are enlarged, so that the caption fits
CAPTION_PX = 18


class FitGif(FitCallback):
    """Write an animation of each fit as ``fit.gif``, next to the other pictures of the image.

    Model:
        A frame shows the output at one of at most ``frames`` steps, spread evenly over the
        logarithm of the step, since a fit changes fast at first and slowly later; the last frame is
        the returned image. The caption gives the step, finally the one chosen by a stopping rule.
        Placed last in the list, it sees the output of all other hooks. 256 colours per frame.
    Args:
        out: run folder; each of several images has a subfolder with its name.
        single: whether the run has a single image, whose animation goes to ``out`` itself.
        frames: number of frames, at least 2; fewer if a fit has fewer steps or stops early.
    Raises:
        ValueError: If ``frames`` is below 2.
        UserError: If ``out`` cannot be written; raised during a fit.
    Cost: ``frames`` 8-bit copies of every image on the CPU (60 x 3 x 512 x 512: 47 MB each).
    """

    def __init__(self, out: str | Path, *, single: bool, frames: int) -> None:
        if frames < 2:
            raise ValueError(f"frames must be at least 2, got {frames}")
        self.out, self.single, self.frames = Path(out), single, frames

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._steps = set(frame_steps(state.n_steps, self.frames - 1))
        self._seen: list[list[Frame]] = [[] for _ in state.problems]

    def on_step_end(self, state: FitState) -> None:
        """Keep the output if this step is shown."""
        if state.step in self._steps:
            for image in state.active.tolist():
                self._seen[image].append((f"step {state.step}", _pixels(state, image)))

    def on_reconstruction_end(self, state: FitState) -> None:
        """Write the animations."""
        for image, problem in enumerate(state.problems):
            last = state.stop_steps.get(image, state.n_steps)
            chosen = chosen_step_of({name: curve[image] for name, curve in state.curves.items()})
            told = f"after {last} steps" if chosen in (None, last) else f"of step {chosen}"
            result = (f"result {told}", _pixels(state, image))
            folder = self.out if self.single else self.out / problem.name
            save_gif(folder / "fit.gif", [*self._seen[image], result])
        del self._seen


def _pixels(state: FitState, image: int) -> NDArray[np.uint8]:
    """Return the output of one image as it is shown."""
    return to_pixels(state.problems[image].read(state.output[image : image + 1]))


def frame_steps(n_steps: int, count: int) -> list[int]:
    """Return at most ``count`` steps from 0 to ``n_steps``, even in the logarithm of step + 1.

    Example:
        >>> frame_steps(1000, 7)
        [0, 2, 9, 31, 99, 315, 1000]
    """
    exponents = torch.linspace(0, 1, count, dtype=torch.float64)
    steps = (n_steps + 1) ** exponents - 1
    return sorted({round(step) for step in steps.tolist()})


def save_gif(path: str | Path, frames: Sequence[Frame]) -> None:
    """Save pictures of equal size as a looping animation, each with its caption below.

    Raises:
        ValueError: If there are no frames.
        UserError: If the file cannot be written.
    """
    if not frames:
        raise ValueError("no frames for an animation")
    first, *others = (_draw(caption, pixels) for caption, pixels in frames)
    durations = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    with atomic_path(path) as temporary:
        first.save(
            temporary, format="GIF", save_all=True, append_images=others, duration=durations, loop=0
        )


def _draw(caption: str, pixels: NDArray[np.uint8]) -> Image:
    """Return a picture with its own 256 colours and its caption below."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(pixels).convert("RGB")
    scale = math.ceil(max(1, MIN_WIDTH_PX / picture.width))
    width, height = picture.width * scale, picture.height * scale
    frame = Image.new("RGB", (width, height + CAPTION_PX), "white")
    frame.paste(picture.resize((width, height), Image.Resampling.NEAREST))
    ImageDraw.Draw(frame).text((4, height + 2), caption, "black", ImageFont.load_default(12))
    return frame.quantize(256)
