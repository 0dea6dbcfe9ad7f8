import math

import pytest
import torch
from torch import Tensor, nn

from metadip.callbacks import FitCallback, LatentJitter, SelfValidation
from metadip.callbacks.self_validation import FrameAutoencoder
from metadip.fitting import Adam, Execution, fit
from metadip.seeding import generator_of, seed_of
from metadip.types import FitResult, FitState
from tests.callbacks.scripted import run_script, without_physics
from tests.fitting.tiny import MSE, noisy, tiny_prior

LR, BATCH = 1e-3, 3


def rule(window: int = 6, patience: int = 8, *, min_start: int = 0, every: int = 1):
    return SelfValidation(
        window, patience, min_start=min_start, every=every, batch_size=BATCH, lr=LR
    )


def settling(n_frames: int, turn: int, *, seed: int = 0, px: int = 16) -> Tensor:
    """Return frames (T, 1, px, px) that come to rest until ``turn`` and then fill with noise."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0.2, 0.8, px)
    picture = torch.outer(ramp, ramp.roll(seed))[None]
    t = torch.arange(float(n_frames))[:, None, None, None]
    other = torch.rand(1, px, px, generator=generator)
    noise = torch.randn(n_frames, 1, px, px, generator=generator)
    return (
        picture
        + 0.5 * (1 - t / turn).clamp(min=0) * (other - picture)
        + 0.02 * (t - turn).clamp(min=0) * noise
    )


def published(image_seed: int) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """Write the network for 16 x 16 grey images out: two levels, a code of 4 x 4."""

    def conv(a: int, b: int, stride: int, activation: nn.Module) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), activation]

    def up() -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    with torch.random.fork_rng():
        torch.manual_seed(seed_of(image_seed, 22))
        encoder = nn.Sequential(*conv(1, 32, 2, nn.ReLU()), *conv(32, 1, 2, nn.ReLU()))
        linear = nn.Sequential(nn.Flatten(), *(nn.Linear(16, 16, bias=False) for _ in range(4)))
        shape = nn.Unflatten(1, (1, 4, 4))
        first, second = conv(1, 32, 1, nn.ReLU()), conv(32, 1, 1, nn.Sigmoid())
        decoder = nn.Sequential(shape, up(), *first, up(), *second)
        return encoder.double(), linear.double(), decoder.double()


def by_definition(
    frames: Tensor, window: int, patience: int, *, min_start: int, every: int, image_seed: int
) -> tuple[list[float], int, int | None]:
    """Follow the authors' loop: a queue, three optimisers made anew, eval mode to judge."""
    parts = published(image_seed)
    order = generator_of(image_seed, 23)
    queue: list[Tensor] = []
    errors, best, best_step, stop = [math.nan] * len(frames), math.inf, -1, None
    for step, frame in enumerate(frames.clamp(0, 1)):
        queue = [*queue, frame][-window:]
        if len(queue) < window or (step - window + 1) % every:
            continue
        x = frame[None]
        with torch.no_grad():
            for part in parts:
                x = part.eval()(x)
        errors[step] = float((x[0] - frame).square().sum().sqrt())
        if step >= min_start and errors[step] < best:
            best, best_step = errors[step], step
        elif best_step >= 0 and step - best_step >= patience:
            stop = step
            break
        # where the newest frame lies in the ring buffer does not matter but for the shuffle
        ring = [queue[(slot - step - 1) % window] for slot in range(window)]
        optimizers = [torch.optim.Adam(part.train().parameters(), lr=LR) for part in parts]
        for chosen in torch.randperm(window, generator=order).split(BATCH):
            x = batch = torch.stack([ring[i] for i in chosen.tolist()])
            for part in parts:
                x = part(x)
            for optimizer in optimizers:
                optimizer.zero_grad()
            ((x - batch) ** 2).mean().backward()
            for optimizer in optimizers:
                optimizer.step()
    return errors, best_step, stop


def test_the_published_network():
    network = FrameAutoencoder((3, 512, 512))
    sizes = [
        sum(p.numel() for p in part.parameters())
        for part in (network.encoder, network.linear, network.decoder)
    ]
    assert sizes == [537_762, 1_024, 537_766]
    assert network.sizes[-1] == [4, 4]


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ((1, 32, 37), [4, 5]),
        ((2, 25, 129), [2, 9]),
        ((4, 7, 5), [4, 3]),
        ((3, 64, 64), [4, 4]),
        ((3, 178, 218), [3, 4]),
    ],
)
def test_other_sizes_and_channels_have_a_code_of_about_16(
    shape: tuple[int, int, int], code: list[int]
):
    network = FrameAutoencoder(shape)
    assert network.sizes[-1] == code
    x = torch.rand(2, *shape)
    assert network.encoder(x).shape == (2, 1, *code)
    assert network(x).shape == x.shape


@pytest.mark.parametrize(
    ("window", "patience", "min_start", "every"), [(6, 8, 0, 1), (5, 6, 20, 1), (7, 9, 0, 3)]
)
def test_it_follows_the_definition(window: int, patience: int, min_start: int, every: int):
    script = torch.stack([settling(60, 25), settling(60, 35, seed=1)]).double()
    clean = script + 0.25
    hook = rule(window, patience, min_start=min_start, every=every)
    state = run_script(script, [hook], clean=clean)
    for image in range(2):
        errors, best, stop = by_definition(
            script[image], window, patience, min_start=min_start, every=every, image_seed=image
        )
        assert stop is not None
        expected = torch.tensor(errors, dtype=torch.float64)
        curve = state.curves["self_validation"][image]
        torch.testing.assert_close(curve, expected, equal_nan=True)
        assert state.stop_steps[image] == stop
        assert hook.best_steps[image] == best
        assert state.curves["chosen_step"][image, stop] == best
        assert torch.equal(state.output[image], clean[image, best])
        assert state.stop_reasons[image].startswith(
            f"SV-ES: the autoencoder's error has not fallen for {patience} steps since its minimum"
        )


def test_noise_is_noticed_where_it_begins():
    """The frames settle until step 60 and fill with noise afterwards."""
    hook = SelfValidation(16, 20, min_start=40, every=1, batch_size=BATCH, lr=3e-3)
    state = run_script(settling(90, 60)[None], [hook])
    chosen = int(hook.best_steps[0])
    assert 57 <= chosen <= 63
    assert state.stop_steps == {0: chosen + 20}


def test_images_are_independent_and_runs_repeat():
    script = torch.stack([settling(60, 25), settling(60, 35, seed=1)])
    losses = torch.ones(2, 60)
    losses[0, 20], script[0, 20] = torch.nan, torch.nan  # leaves the batch
    hook, before = rule(6, 30), torch.get_rng_state()
    both = run_script(script, [hook], losses=losses)
    assert torch.equal(torch.get_rng_state(), before)
    again = run_script(script, [hook], losses=losses)
    assert both.stop_reasons[0] == "diverged"
    for name in ("self_validation", "chosen_step"):
        assert torch.equal(both.curves[name].nan_to_num(), again.curves[name].nan_to_num())
    problems = without_physics([None, None], script.shape[2:])[1:]
    alone = run_script(script[1:], [rule(6, 30)], problems=problems)
    curves = [state.curves["self_validation"][-1].nan_to_num() for state in (both, alone)]
    assert torch.equal(*curves)
    assert torch.equal(both.output[1:], alone.output)


def test_too_short_a_fit_returns_the_last_output():
    script = settling(5, 3)[None]
    state = run_script(script, [rule(6)])
    assert state.stop_steps == {}
    assert torch.equal(state.output, script[:, -1])


class Look(FitCallback):
    """Keep what the network makes of both latents."""

    def on_reconstruction_start(self, state: FitState) -> None:
        self.clean: list[Tensor] = []

    def on_step_end(self, state: FitState) -> None:
        z = state.inputs["z"] + state.jitter["z"]
        torch.testing.assert_close(state.again(z=z).x, state.x_hat)
        self.clean.append(state.again().x)


@pytest.mark.parametrize("stacked", [False, True])
def test_in_a_fit_the_image_of_the_unperturbed_latent_is_returned(stacked: bool):
    problems = [noisy(seed, (2, 9, 12)) for seed in (3, 4)]
    look, hook = Look(), rule(4, 10)

    def run(chosen: list[int]) -> list[FitResult]:
        return fit(
            [problems[i] for i in chosen],
            tiny_prior(channels=2),
            MSE,
            Adam(lr=0.02),
            steps=25,
            hooks=[LatentJitter(0.1), look, hook],
            execution=Execution(stacked=stacked),
        )

    results = run([0, 1])
    if not stacked:
        results[1] = run([1])[0]  # what was seen is that of the latest fit
    best = int(results[1].curves["chosen_step"][-1])
    assert best >= 3
    assert torch.equal(results[1].x_hat[0], look.clean[best][-1])
    assert not torch.isfinite(results[1].curves["self_validation"][:3]).any()
    assert torch.isfinite(results[1].curves["self_validation"][3:]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rule(1), "window and batch_size must be at least 2, got 1 and 3"),
        (lambda: rule(5, 0), "patience must be at least 1 step, got 0"),
        (lambda: rule(min_start=-1), "min_start must be at least 0, got -1"),
        (lambda: rule(every=0), "every must be at least 1 step, got 0"),
        (
            lambda: SelfValidation(9, 9, min_start=0, every=1, batch_size=1, lr=LR),
            "window and batch_size must be at least 2, got 9 and 1",
        ),
        (
            lambda: SelfValidation(9, 9, min_start=0, every=1, batch_size=2, lr=0.0),
            r"lr must be above 0, got 0\.0",
        ),
    ],
)
def test_bad_arguments(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
