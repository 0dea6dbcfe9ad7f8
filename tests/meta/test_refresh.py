"""Inputs that change between steps: alike at test time and in both engines of meta-training."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metadip.fitting import Execution, MomentumSGD, fit
from metadip.meta import Curriculum, FunctionalMAML, FunctionalOptions, InnerLoopSchedule, Learner
from metadip.meta.learn2learn_maml import Learn2LearnMAML
from metadip.priors import BackProjection, Representation, SkipUNet, draw_weights
from metadip.types import Estimate, FitState, InverseProblem, Named, Start
from tests.fitting.tiny import MSE_TV, Hook, sensed

K = 4
ENGINES: list[dict[str, Any]] = [
    {},
    {"keep_graphs": True},
    {"keep_every": 2},
    {"keep_every": 3},
    {"stacked": True},
    {"stacked": True, "keep_graphs": True},
    {"stacked": True, "keep_every": 3},
]
IDS = [" ".join(f"{name}={value}" for name, value in o.items()) or "plain" for o in ENGINES]


class Unrolled(Representation):
    """x = gain f(tint z), z_{k+1} = x_k - eta grad ||A(x_k) - y||^2 / 2.

    ``gain`` and ``eta`` learn, but no fit moves them; ``tint`` is an input that is not refreshed.
    """

    def __init__(self) -> None:
        super().__init__(learned=True)
        self.network = draw_weights(
            SkipUNet(3, out_channels=3, channels=[4], skip_channels=[2]), seed=7
        )
        self.gain, self.eta = nn.Parameter(torch.tensor(1.1)), nn.Parameter(torch.tensor(0.3))
        self.tint = nn.Parameter(torch.tensor([1.0, 0.8, 1.2]).view(1, 3, 1, 1))

    @property
    def image_channels(self) -> int:
        return 3

    @property
    def weights(self) -> Named:
        return dict(self.network.named_parameters(prefix="network"))

    def start(self, problem: InverseProblem) -> Start:
        return Start(self.weights, {"z": BackProjection(3).of(problem), "tint": self.tint})

    def forward(self, size: tuple[int, int], *, z: Tensor, tint: Tensor) -> Estimate:  # type: ignore[override]
        return Estimate(self.gain * self.network(tint * z))

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        if step == 1:  # not at every step
            return inputs
        x = estimate.x * inputs["tint"]
        residual = problem.physics.A(x) - problem.y
        return {"tint": inputs["tint"], "z": x - self.eta * problem.physics.A_adjoint(residual)}


class Claiming:
    """Momentum for some weights and inputs."""

    def __init__(self, rule: MomentumSGD, names: Sequence[str]) -> None:
        self.rule, self.names = rule, tuple(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def bind(self, start: Start) -> tuple[tuple[str, ...], Any]:
        return self.names, self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Claiming":
        return Claiming(copy.deepcopy(self.rule, memo), self.names)


class Fixed(Unrolled):
    """The same, with inputs that stay."""

    refresh = Representation.refresh


HEAD = ("network.head.weight", "network.head.bias")
CLAIMS: dict[str, Sequence[str] | None] = {  # what the rule moves; None: all weights
    "weights": None,
    "z and a few weights": ("inputs.z", *HEAD),
    "tint and a few weights": (*HEAD, "inputs.tint"),
    "nothing": (),
}
RULE = ("log_lr", "momentum")
Setting = tuple[Any, Any, list[InverseProblem]]


def setting(kind: type[Unrolled], claim: str) -> Setting:
    """Return a representation, a rule whose step sizes all differ, and problems, in float64."""
    prior = kind().double()
    names = CLAIMS[claim]
    moved = prior.weights if names is None else names
    rule = MomentumSGD(
        lr=0.1, momentum=0.6, n_steps=K, n_tensors=max(len(moved), 1), lr_bounds=(1e-3, 1)
    ).double()
    noise = torch.randn(rule.log_lr.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rule.log_lr.add_(0.2 * noise)
    problems = [sensed(seed, 90, (3, 8, 8)) for seed in range(3)]
    return prior, rule if names is None else Claiming(rule, names), problems


def schedule(**change: Any) -> InnerLoopSchedule:
    arguments = {"first_order": False, "curriculum": Curriculum(), **change}
    return InnerLoopSchedule(K, multi_step_weight=0.4, multi_step_from=2, **arguments)


def of_rule(rule: Any) -> dict[str, nn.Parameter]:
    return dict(zip(RULE, rule.parameters(), strict=True))


def gradients(learner: Learner, setting: Setting) -> dict[str, Tensor]:
    prior, rule, problems = copy.deepcopy(setting)
    learner.outer_loss(prior, rule, MSE_TV, problems).loss.backward()
    named = {**dict(prior.named_parameters()), **of_rule(rule)}
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()}


def uses_eta(kind: Any, claim: str) -> bool:
    """Tell whether z is refreshed: not where a rule moves it."""
    return kind is Unrolled and claim != "z and a few weights"


@cache
def reference(kind: Any, claim: str) -> dict[str, Tensor]:
    return gradients(Learn2LearnMAML(schedule()), setting(kind, claim))


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("options", ENGINES, ids=IDS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_engines_agree(claim: str, options: dict[str, Any]):
    engine = FunctionalMAML(schedule(), FunctionalOptions(**options))
    assert_equal(gradients(engine, setting(Unrolled, claim)), reference(Unrolled, claim))


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("options", [{}, {"stacked": True, "keep_every": 3}], ids=str)
def test_engines_agree_on_inputs_that_stay(claim: str, options: dict[str, Any]):
    engine = FunctionalMAML(schedule(), FunctionalOptions(**options))
    assert_equal(gradients(engine, setting(Fixed, claim)), reference(Fixed, claim))


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("kind", [Unrolled, Fixed])
def test_everything_that_learns_gets_a_gradient(kind: Any, claim: str):
    idle = [name for name, gradient in reference(kind, claim).items() if not gradient.any()]
    expected = ([] if uses_eta(kind, claim) else ["eta"]) + [*RULE] * (claim == "nothing")
    assert idle == expected


@pytest.mark.parametrize(
    "change",
    [{"first_order": True}, {"curriculum": Curriculum(truncate_steps=2)}],
    ids=["first order", "truncated"],
)
@pytest.mark.parametrize("claim", CLAIMS)
def test_engines_agree_where_steps_are_first_order(claim: str, change: dict[str, Any]):
    seen, plan = setting(Unrolled, claim), schedule(**change)
    expected = gradients(Learn2LearnMAML(plan), seen)
    for options in (FunctionalOptions(), FunctionalOptions(stacked=True, keep_every=2)):
        found = gradients(FunctionalMAML(plan, options), seen)
        assert_equal(found, expected)


ENTRIES = [
    ("eta", 0),
    ("gain", 0),
    ("tint", 1),
    ("network.scales.encode.0.weight", 5),
    ("network.head.weight", 7),
    ("log_lr", 0),
    ("log_lr", -1),
    ("momentum", 0),
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_gradients_equal_finite_differences(claim: str):
    prior, rule, problems = seen = setting(Unrolled, claim)
    learner, eps = FunctionalMAML(schedule(), FunctionalOptions()), 1e-6
    found = gradients(learner, seen)
    named = {**dict(prior.named_parameters()), **of_rule(rule)}
    idle = RULE if claim == "nothing" else () if uses_eta(Unrolled, claim) else ("eta",)
    for name, entry in ENTRIES:
        flat, losses = named[name].data.view(-1), []
        for sign in (1, -1):
            flat[entry] += sign * eps
            losses.append(learner.outer_loss(prior, rule, MSE_TV, problems).loss.item())
            flat[entry] -= sign * eps
        difference = (losses[0] - losses[1]) / (2 * eps)
        assert (abs(difference) > 1e-8) == (name not in idle), name
        assert found[name].flatten()[entry].item() == pytest.approx(difference, rel=2e-4), name


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("stacked", [False, True])
def test_inner_loops_take_the_steps_of_a_fit(claim: str, stacked: bool):
    prior, rule, problems = setting(Unrolled, claim)
    errors: list[Tensor] = []

    class Record(Hook):
        def on_step_end(self, state: FitState) -> None:
            x = torch.cat([p.x for p in state.problems if p.x is not None])
            errors.append((state.x_hat - x).square().flatten(1).mean(dim=1))

    execution = Execution(stacked=stacked)
    fit(problems, prior, MSE_TV, rule, steps=K, hooks=[Record()], execution=execution)
    expected = torch.stack(errors).T if stacked else torch.cat(errors).view(len(problems), K + 1)
    for learner in (
        Learn2LearnMAML(schedule()),
        FunctionalMAML(schedule(), FunctionalOptions(stacked=stacked)),
    ):
        found = learner.outer_loss(prior, rule, MSE_TV, problems).step_errors
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert (expected[:, 0] - expected[:, -1]).abs().min() > 1e-3


def test_reptile_weighs_inputs_as_it_weighs_weights():
    """Each task's part is that of its weight in the outer loss, whatever is computed together."""
    seen = setting(Unrolled, "tint and a few weights")
    alone, stacked = (
        gradients(FunctionalMAML(schedule(), FunctionalOptions(reptile=True, stacked=s)), seen)
        for s in (False, True)
    )
    assert_equal(stacked, alone)
    prior, rule, problems = seen
    ends = [result.end for result in fit(problems, prior, MSE_TV, rule, steps=K)]
    tints = [end.inputs["tint"] for end in ends if end is not None]
    expected = torch.stack([prior.tint - tint for tint in tints]).mean(dim=0)
    torch.testing.assert_close(alone["tint"], expected.detach(), rtol=1e-6, atol=1e-9)
