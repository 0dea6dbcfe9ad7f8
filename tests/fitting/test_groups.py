"""Rules by group: which names each moves, and how they differ."""

import pytest
import torch

from metadip import registry
from metadip.fitting import Adam, ByGroup, Group, MomentumSGD
from metadip.types import Start

START = Start(
    {name: torch.zeros(2) for name in ("a.weight", "a.bias", "b.weight", "b.bias")},
    {"z": torch.zeros(1, 3), "weight": torch.zeros(1, 2)},
)


def test_a_group_of_several_patterns_is_as_many_groups_of_one():
    slow, fast = Adam(lr=0.1), MomentumSGD(lr=0.5, momentum=0.0, n_steps=1)
    ours = ByGroup({"slow": Group(["a.weight", "*.bias"], slow), "fast": Group(["inputs.z"], fast)})
    theirs = ByGroup({"a.weight": slow, "*.bias": slow, "inputs.z": fast})
    names, rule = ours.bind(START)
    assert names == theirs.bind(START)[0] == ("a.weight", "a.bias", "b.bias", "inputs.z")
    params, grads = (tuple(torch.rand(1, i + 1) for i in range(4)) for _ in range(2))
    moved, _ = rule.update(params, grads, rule.init(params), 0)
    expected, _ = theirs.bind(START)[1].update(params, grads, rule.init(params), 0)
    for i in range(4):
        assert torch.equal(moved[i], expected[i])
        step = 0.5 * grads[i] if i == 3 else torch.full_like(grads[i], 0.1)
        torch.testing.assert_close(moved[i].detach(), params[i] - step, rtol=1e-4, atol=1e-6)


def test_a_description_rebuilds_the_groups():
    ours = ByGroup({"slow": Group(["a.*"], Adam(lr=0.1)), "*": Adam(lr=0.2)})
    twin = registry.build("optimizer", registry.describe(ours))
    assert registry.describe(twin) == registry.describe(ours)
    assert twin.bind(START)[0] == ours.bind(START)[0]
    assert [group.rule.lr for group in twin.groups] == [0.1, 0.2]


@pytest.mark.parametrize("pattern", ["c.*", "inputs.y", "b.bias"])
def test_a_pattern_without_a_match_is_refused(pattern: str):
    groups = {"first": Group(["b.*"], Adam(lr=0.1)), "second": Group([pattern], Adam(lr=0.1))}
    with pytest.raises(ValueError, match=r"matches nothing of what is left: a\.weight, a\.bias"):
        ByGroup(groups).bind(START)


def test_empty_groups_are_refused():
    with pytest.raises(ValueError, match="groups are empty: nothing would move"):
        ByGroup({})
    with pytest.raises(ValueError, match="names are empty: the rule would move nothing"):
        Group([], Adam(lr=0.1))
