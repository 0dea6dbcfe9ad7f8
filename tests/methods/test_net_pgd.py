"""Net-PGD against its algorithm written anew; restarts; the spectral start."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from torch import Tensor

from metadip.callbacks import OraclePSNR
from metadip.fitting import SGD, Execution, Sum, mean_mse
from metadip.methods import NetPGD, Projection, Restarted
from metadip.methods.net_pgd import inner_steps
from metadip.methods.restarts import best_of
from metadip.methods.spectral_start import spectral_start
from metadip.physics.operators import GaussianSensing, Magnitude
from metadip.priors import CoarseLatent, LatentNetwork, NetDecoder
from metadip.types import FitResult, InverseProblem, UserError
from tests.fitting.tiny import SAME, image, noisy

OPTIONS: dict[str, Any] = {
    "projection": Projection(steps=2, lr=0.05),
    "steps": 3, "lr": 0.2, "start": "network", "restarts": 1,
}  # fmt: skip


def prior() -> LatentNetwork:
    network = NetDecoder(4, out_channels=1, channels=[5, 4])
    return LatentNetwork(network, CoarseLatent(4, doublings=2, scale=0.1))


def magnitudes(seed: int, n_measurements: int, side: int) -> InverseProblem:
    shape = (1, side, side)
    x = image(seed, shape)
    linear = GaussianSensing(shape, n_measurements=n_measurements, seed=seed, max_bytes=2**30)
    physics = Magnitude(linear)
    return InverseProblem(physics.A(x), physics, shape, x=x, seed=seed)


def reconstructed(problem: InverseProblem, **changes: Any) -> FitResult:
    (result,) = NetPGD(prior(), **{**OPTIONS, **changes}).reconstruct([problem])
    return result


def by_hand(problem: InverseProblem, steps: int) -> Tensor:
    """Algorithm 2 of the paper, with torch.optim.SGD as the inner rule."""
    ours, size = prior(), problem.image_shape[1:]
    weights, inputs = ours.start(problem)
    leaves = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}

    def generated() -> Tensor:
        found = torch.func.functional_call(ours, leaves, (size,), dict(inputs))
        return found.x  # type: ignore[no-any-return]

    x, velocity = generated().detach(), torch.zeros(1, *problem.image_shape)
    matrix = problem.physics.B.matrix
    for _ in range(steps):
        u = x.flatten() @ matrix.T
        phase = u.sign()
        velocity = 0.9 * velocity + ((u - phase * problem.y[0]) @ matrix).reshape(x.shape)
        x = x - 0.2 * velocity
        rule = torch.optim.SGD(leaves.values(), lr=0.05, momentum=0.9)
        for _ in range(2):
            rule.zero_grad()
            (generated() - x).square().mean().backward()
            rule.step()
        x = generated().detach()
    return x


def test_the_algorithm_of_the_paper() -> None:
    problem = magnitudes(0, 40, 8)
    result = reconstructed(problem)
    torch.testing.assert_close(result.x_hat, by_hand(problem, 3), **SAME)
    assert (result.steps, len(result.curves["loss"])) == (3, 4)


def test_inner_steps_grow_at_once_and_every_500() -> None:
    assert [inner_steps(10, step) for step in (0, 499, 500, 1000)] == [12, 12, 14, 17]


def test_several_images_are_solved_as_one_by_one() -> None:
    problems = [magnitudes(seed, 40, 8) for seed in range(2)]
    both = NetPGD(prior(), **OPTIONS, execution=Execution(stacked=True)).reconstruct(
        problems, hooks=[OraclePSNR()]
    )
    for problem, result in zip(problems, both, strict=True):
        torch.testing.assert_close(result.x_hat, reconstructed(problem).x_hat, **SAME)
        assert result.curves["psnr_db"].isfinite().all()


def test_it_explains_linear_measurements() -> None:
    x = torch.linspace(0, 1, 8).expand(1, 1, 8, 8).contiguous()
    physics = GaussianSensing((1, 8, 8), n_measurements=30, seed=0, max_bytes=2**20)
    problem = InverseProblem(physics.A(x), physics, (1, 8, 8), x=x)
    projection = Projection(steps=10, lr=0.05)
    losses = reconstructed(problem, steps=60, projection=projection).curves["loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_the_best_of_several_starts_is_the_one_nearest_to_y() -> None:
    problem = magnitudes(0, 40, 8)
    seen: dict[int, float] = {}

    def run(problems: Any, hooks: Any) -> list[FitResult]:
        (result,) = NetPGD(prior(), **OPTIONS).reconstruct(problems, hooks=hooks)
        seen[problems[0].seed] = float((problem.physics.A(result.x_hat) - problem.y).norm())
        return [result]

    (best,) = best_of([problem], run, restarts=3, hooks=[OraclePSNR()])
    assert len(seen) == 3
    misfit = float((problem.physics.A(best.x_hat) - problem.y).norm())
    assert misfit == min(seen.values())
    assert "psnr_db" in best.curves
    assert list(seen.values())[best.checks["restarts"]["kept"]] == misfit


def test_a_restarted_fit() -> None:
    problem = noisy(0, (1, 8, 8))
    options: dict[str, Any] = {
        "objective": Sum(mean_mse),
        "optimizer": SGD(lr=0.1, momentum=0.0),
        "steps": 2,
    }
    one, three = (
        Restarted(prior(), **options, restarts=n).reconstruct([problem])[0] for n in (1, 3)
    )
    assert (three.x_hat - problem.y).norm() <= (one.x_hat - problem.y).norm()
    assert three.seconds > 0
    with pytest.raises(UserError, match="restarts=0 must be at least 1"):
        Restarted(prior(), **options, restarts=0)


def test_the_spectral_start_is_near_the_truth() -> None:
    """With many measurements it points along the truth, and has its norm."""
    problem = magnitudes(0, 2000, 6)
    assert problem.x is not None
    x = spectral_start(problem)
    cosine = float((x * problem.x).sum() / (x.norm() * problem.x.norm()))
    assert cosine > 0.97
    assert float(x.norm() / problem.x.norm()) == pytest.approx(1, abs=0.05)
    assert not torch.allclose(
        reconstructed(problem, start="spectral").x_hat, reconstructed(problem).x_hat
    )


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"method\.start=spectral is for phase retrieval"):
        reconstructed(noisy(0, (1, 8, 8)), start="spectral")
    with pytest.raises(UserError, match=r"method\.start=warm is unknown; choose from network"):
        reconstructed(noisy(0, (1, 8, 8)), start="warm")
    with pytest.raises(ValueError, match="need steps >= 1, restarts >= 1 and lr > 0, got 0, 1"):
        NetPGD(prior(), **{**OPTIONS, "steps": 0})
    with pytest.raises(ValueError, match="need steps >= 1 and lr > 0, got 0 and 1"):
        Projection(steps=0, lr=1)
    with pytest.raises(UserError, match="asked for 5"):
        NetPGD(prior(), **OPTIONS).check(
            InverseProblem(torch.zeros(1, 5, 8, 8), Denoising(), (5, 8, 8)), task="task"
        )
