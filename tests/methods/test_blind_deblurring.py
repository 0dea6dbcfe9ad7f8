"""Image and kernel at once: what is found, resolved, written, refined and refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.callbacks import ESWMV, FitCallback, LatentJitter
from metadip.fitting import Adam, ByGroup, GradientSparsity, MSEThenSSIM, Sum, fit, mse
from metadip.fitting.gradients import gradient_sparsity
from metadip.methods import BlindDeblurring, RichardsonLucy, selfdeblur
from metadip.methods.kernel_grid import resolved, side_of, widened
from metadip.metrics import psnr_db, ssim
from metadip.physics.kernel_blur import KernelBlur
from metadip.physics.shifts import moved, off_centre
from metadip.priors import (
    ImageAndKernel,
    KernelMLP,
    KernelSiren,
    Latent,
    LatentNetwork,
    SkipUNet,
)
from metadip.tasks import BlindDeblurringTask
from metadip.types import Estimate, FitResult, InverseProblem, UserError

GROUPS = ByGroup({"kernel.*": Adam(lr=1e-3), "*": Adam(lr=1e-2)})


def scene(channels: int = 1) -> Tensor:
    """Return an image of a few flat pieces."""
    x = torch.full((1, channels, 32, 32), 0.2)
    x[..., 4:16, 5:18], x[..., 19:28, 12:24] = 0.9, 0.6
    x[..., 10:24, 20:24], x[..., 20:26, 3:6] = 1.0, 0.0
    return x


def blurred(channels: int = 1, *, known: bool = False, seed: int = 1) -> InverseProblem:
    task = BlindDeblurringTask("motion", kernel_px=9, kernel_seed=None, noise_std=0.0, known=known)
    return task.measure(scene(channels), seed=seed)


def prior(kernel: Any = None) -> ImageAndKernel:
    network = SkipUNet(8, out_channels=1, channels=[16, 16], skip_channels=[4, 4])
    image = LatentNetwork(network, Latent(8, size_px=24, n_wavelengths=0))
    return ImageAndKernel(image, kernel or KernelSiren(width=16, n_layers=2, start_px=2.0))


def method(steps: int = 5, kernel_px: int | None = 9, **changes: Any) -> BlindDeblurring:
    arguments: dict[str, Any] = {"objective": Sum(mse), "optimizer": GROUPS} | changes
    return BlindDeblurring(prior(), steps=steps, kernel_px=kernel_px, **arguments)


def test_kernel_and_image_come_closer_to_the_truth_than_y():
    problem = blurred(seed=3)
    (result,) = method(steps=200).reconstruct([problem])
    stated = result.checks["blind"]
    assert stated["kernel_similarity"] > 0.9  # 0.98; with other seeds 0.59 and 0.82
    assert stated["residual"] < 0.05
    assert problem.x is not None
    assert result.x_hat.shape == (1, *problem.image_shape)
    assert psnr_db(problem.read(result.x_hat), problem.x) > psnr_db(problem.y, problem.x) + 4


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-3, 2)])
def test_what_is_resolved_explains_y_and_has_its_kernel_centred(shift: tuple[int, int]):
    x, k = torch.rand(1, 1, 40, 36), torch.zeros(1, 1, 11, 11)
    k[..., 5, 4], k[..., 5, 6], k[..., 4:7, 5] = 0.2, 0.2, 0.2
    k = moved(k, *shift)
    problem = InverseProblem(KernelBlur(k).A(x), KernelBlur(torch.ones(1, 1, 1, 1)), (1, 30, 26))
    result = FitResult(x, 0, None, None, 0.0, {}, estimate=Estimate(x, {"filter": k}))
    found = resolved(problem, widened(problem, 11), result)
    assert found.checks["blind"] == {
        "kernel_px": 11,
        "shift_px": list(shift),
        "residual": pytest.approx(0, abs=1e-6),
    }
    assert found.estimate is not None
    centred = found.estimate.operator["filter"]
    assert off_centre(centred) == (0, 0)
    # The image has the size of y, so only its middle is not cut off by the kernel.
    again = KernelBlur(centred).A(found.x_hat)
    torch.testing.assert_close(again, problem.y[..., 5:-5, 5:-5], rtol=1e-4, atol=1e-5)


def test_the_kernel_is_that_of_the_step_that_was_chosen():
    class Watch(FitCallback):
        def __init__(self) -> None:
            self.kernels: list[Tensor] = []

        def on_step_end(self, state: Any) -> None:
            self.kernels.append(state.estimate.operator["filter"].clone())

    watch = Watch()
    problem = blurred()
    wide = widened(problem, 9)
    hooks = [LatentJitter(0.05), ESWMV(3, 4, min_start=0), watch]
    (result,) = fit([wide], prior(), Sum(mse), GROUPS, steps=40, hooks=hooks)
    chosen = int(result.curves["chosen_step"][-1])
    assert chosen < result.steps
    assert result.estimate is not None
    kernels = watch.kernels
    assert torch.equal(result.estimate.operator["filter"], kernels[chosen])
    assert torch.equal(result.estimate.x, result.x_hat)
    assert not torch.equal(kernels[chosen], kernels[-1])


def test_the_true_kernel_is_never_looked_at():
    problem = blurred()
    flat = replace(problem, physics=KernelBlur(torch.full((1, 1, 9, 9), 1 / 81)))
    made = [method(3).reconstruct([p])[0] for p in (problem, flat)]
    assert torch.equal(made[0].x_hat, made[1].x_hat)
    classical = RichardsonLucy(kernel_px=9, iterations=3)
    made = [classical.reconstruct([p])[0] for p in (problem, flat)]
    assert torch.equal(made[0].x_hat, made[1].x_hat)


def test_sizes_follow_from_y_unless_given():
    problem = blurred()  # y is 24 x 24
    assert side_of(None, problem) == 13
    (result,) = method(1, kernel_px=None).reconstruct([problem])
    assert result.checks["blind"]["kernel_px"] == 13
    wide = widened(problem, 13)
    assert wide.image_shape == (1, 36, 36)
    assert wide.scale == 1.5
    assert wide.unknown == ()


def test_richardson_lucy_brings_the_blurred_image_closer_to_y():
    problem = blurred()
    (result,) = RichardsonLucy(kernel_px=9, iterations=40).reconstruct([problem])
    loss = result.curves["loss"]
    assert loss[-1] < 0.2 * loss[0]
    assert result.estimate is not None
    k = result.estimate.operator["filter"]
    assert (k >= 0).all()
    torch.testing.assert_close(k.sum(), torch.tensor(1.0))
    assert (result.x_hat >= 0).all()


def test_selfdeblur_fits_luminance_keeps_colours_and_refines():
    colour = torch.cat([scene(), 0.5 * scene(), 0.8 * scene()], dim=1)
    task = BlindDeblurringTask(
        "gaussian", kernel_px=5, kernel_seed=None, noise_std=0.0, known=False
    )
    problem = task.measure(colour, seed=0)
    made = selfdeblur(
        prior(KernelMLP(3, inputs=20, width=50)),
        objective=MSEThenSSIM(at_step=3),
        optimizer=GROUPS,
        steps=4,
        kernel_px=5,
        refine_steps=3,
    )
    made.check(problem, task="task=blind_deblur")
    (result,) = made.reconstruct([problem])
    assert result.x_hat.shape == (1, 3, 32, 32)
    assert result.steps == 7
    difference = result.x_hat[..., 2:-2, 2:-2] - problem.y
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))
    assert result.estimate is not None
    assert result.estimate.operator["filter"].shape == (1, 1, 5, 5)


def test_the_kernel_sums_to_one_whatever_the_weights():
    for network in (KernelSiren(width=8, n_layers=2), KernelMLP(9, inputs=5, width=8)):
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(100).add_(3)
        z = network.input_of(widened(blurred(), 9))
        k = network(z)
        assert k.shape == (1, 1, 9, 9)
        assert (k >= 0).all()
        torch.testing.assert_close(k.sum(), torch.tensor(1.0))


def test_the_first_kernel_is_the_same_bell_on_every_grid():
    siren = KernelSiren(width=8, n_layers=2, start_px=2.0)
    with torch.no_grad():
        siren.layers.head.weight.zero_()
    small, large = (siren(siren.input_of(widened(blurred(), side))) for side in (11, 21))
    ratio = large[..., 5:16, 5:16] / small
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    flat = KernelSiren(width=8, n_layers=2, start_px=None)
    with torch.no_grad():
        flat.layers.head.weight.zero_()
    k = flat(flat.input_of(widened(blurred(), 5)))
    torch.testing.assert_close(k, torch.full((1, 1, 5, 5), 1 / 25))


def test_sparsity_of_gradients_is_that_of_its_formula_and_knows_no_scale():
    x = torch.rand((2, 3, 9, 8), dtype=torch.float64)
    found = gradient_sparsity(x)
    for image, value in zip(x, found, strict=True):
        parts = [(image[:, 1:] - image[:, :-1]).flatten(), image.diff(dim=-1).flatten()]
        g = torch.cat(parts)
        ratio = g.abs().sum() / g.norm() / g.numel() ** 0.5
        torch.testing.assert_close(value, ratio, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient_sparsity(7 * x + 1), found, rtol=1e-6, atol=0)
    slope = torch.arange(5.0, dtype=torch.float64)
    plane = (slope[:, None] + slope).expand(1, 1, 5, 5)
    torch.testing.assert_close(gradient_sparsity(plane), torch.ones(1, dtype=torch.float64))
    flat = torch.ones(1, 1, 4, 4, requires_grad=True)
    gradient_sparsity(flat).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_structure_is_judged_from_its_step_on():
    seen: list[float] = []

    class Curve(FitCallback):
        def on_step_end(self, state: Any) -> None:
            y_hat = KernelBlur(state.estimate.operator["filter"]).A(state.x_hat)
            seen.append(float(1 - ssim(y_hat, state.problems[0].y)))

    wide = widened(blurred(), 9)
    (result,) = fit(
        [wide], prior(), MSEThenSSIM(at_step=2), GROUPS, steps=4, hooks=[Curve()]
    )  # fmt: skip
    loss = result.curves["loss"]
    torch.testing.assert_close(loss[2:], torch.tensor(seen[2:]), rtol=1e-4, atol=1e-5)
    assert abs(loss[1] - seen[1]) > 0.01


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"method\.kernel_px=8 must be an odd number of pixels"):
        method(kernel_px=8)
    with pytest.raises(UserError, match=r"method\.kernel_px=25 is larger than what was measured"):
        method(kernel_px=25).check(blurred(), task="task=blind_deblur")
    with pytest.raises(UserError, match=r"method\.iterations=-1 must be at least 0"):
        RichardsonLucy(kernel_px=5, iterations=-1)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        GradientSparsity(-1)
    with pytest.raises(ValueError, match="at_step must be at least 0, got -1"):
        MSEThenSSIM(-1)
    with pytest.raises(ValueError, match="start_px must be above 0, or None, got 0"):
        KernelSiren(start_px=0)
    with pytest.raises(ValueError, match="refine_steps must be at least 0, got -1"):
        selfdeblur(prior(), objective=Sum(mse), optimizer=GROUPS, steps=1, kernel_px=5,
                   refine_steps=-1)  # fmt: skip
