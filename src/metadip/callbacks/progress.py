"""A progress bar for a fit."""

from __future__ import annotations

from typing import Any

from metadip.callbacks.base import FitCallback
from metadip.types import FitState


class FitProgress(FitCallback):
    """Show steps, time left, image, loss, and the PSNR if ``OraclePSNR`` comes before it.

    The bar goes to stderr and is hidden if stderr is not a terminal. Showing it on only one of
    several processes is up to the caller.

    Args:
        refresh_steps: steps between two updates, at least 1; each update waits for the device.
        leave: keep the bar on the screen after the fit.
        force: show it even if stderr is not a terminal.
    Raises:
        ValueError: If ``refresh_steps < 1``.
    """

    def __init__(self, *, refresh_steps: int, leave: bool, force: bool = False) -> None:
        if refresh_steps < 1:
            raise ValueError(f"refresh_steps must be at least 1, got {refresh_steps}")
        self.refresh_steps, self.leave, self.force = refresh_steps, leave, force
        self._bar: Any = None

    def on_reconstruction_start(self, state: FitState) -> None:
        """Open the bar."""
        from tqdm import tqdm

        self._close()
        hidden = False if self.force else None  # None: hidden unless stderr is a terminal
        self._bar = tqdm(
            total=state.n_steps, desc=_names(state), unit="step", leave=self.leave, disable=hidden
        )

    def on_step_end(self, state: FitState) -> None:
        """Update the bar every ``refresh_steps`` steps and at the last one."""
        due = state.step % self.refresh_steps == 0 or state.step == state.n_steps
        if self._bar is None or self._bar.disable or not due:
            return
        self._bar.set_postfix_str(_figures(state), refresh=False)
        self._bar.update(state.step - self._bar.n)

    def on_reconstruction_end(self, state: FitState) -> None:
        """Close the bar, at the step where the last image stopped."""
        if self._bar is not None and not self._bar.disable:
            self._bar.update(state.step - self._bar.n)
        self._close()

    def on_exception(self, *_: object) -> None:
        """Close the bar when Lightning reports an exception."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _names(state: FitState) -> str:
    """Name one image, or count several."""
    n = len(state.problems)
    return state.problems[0].name or "fit" if n == 1 else f"{n} images"


def _figures(state: FitState) -> str:
    """Return loss and PSNR, means over the active images."""
    parts = [f"loss {state.loss.mean().item():.2e}"]
    if (curve := state.curves.get("psnr_db")) is not None:
        psnr = curve[state.active, state.step].nanmean().item()
        parts += [f"PSNR {psnr:.2f} dB"] if psnr == psnr else []
    if len(state.active) < len(state.problems):
        parts.append(f"{len(state.active)} running")
    return ", ".join(parts)
