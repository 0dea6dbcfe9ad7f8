"""The closed form of BatchNorm's second derivatives, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.meta.batch_norm import with_closed_form_norms

SHAPE = (2, 5, 7, 6)


def norm(**options: bool) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(SHAPE[1], **{"track_running_stats": False, **options})


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def twice(module: nn.Module, x: Tensor, cotangents: list[Tensor]) -> list[Tensor]:
    """Return output, derivatives and their derivatives, all three for all inputs."""
    x, u = x.clone().requires_grad_(), cotangents[0].clone().requires_grad_()
    y = module(x)
    first = torch.autograd.grad(y, (x, *module.parameters()), u, create_graph=True)
    second = torch.autograd.grad(
        first, (x, u, *module.parameters()), cotangents[1:], materialize_grads=True
    )
    return [y, *first, *second]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_derivatives_are_those_of_pytorch(dtype: torch.dtype, device: str):
    generator = torch.Generator().manual_seed(0)
    channels = SHAPE[1:2]
    theirs = norm().double()
    with torch.no_grad():
        theirs.weight.copy_(draw(generator, *channels))
        theirs.weight[2] = 0.0  # a scale of zero is no division by zero
        theirs.bias.copy_(draw(generator, *channels))
    ours = with_closed_form_norms(nn.Sequential(theirs))
    x = 3 + 2 * draw(generator, *SHAPE)
    cotangents = [draw(generator, *s) for s in (SHAPE, SHAPE, channels, channels)]
    expected = twice(theirs, x, cotangents)
    # Weights of BatchNorm stay in float32 when its input is in bfloat16.
    ours = ours.to(device, torch.promote_types(dtype, torch.float32))
    kind = next(ours.parameters()).dtype
    cotangents = [c.to(device, dtype if c.ndim > 1 else kind) for c in cotangents]
    found = twice(ours, x.to(device, dtype), cotangents)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double().cpu(), other, rtol=tolerance, atol=tolerance)


def test_a_norm_with_other_habits_stays():
    network = nn.Sequential(norm(), nn.Sequential(norm(affine=False)), nn.BatchNorm2d(SHAPE[1]))
    changed = with_closed_form_norms(network)
    kinds = [type(m) for m in changed.modules() if not isinstance(m, nn.Sequential)]
    assert kinds[0] is not nn.BatchNorm2d
    assert kinds[1:] == [nn.BatchNorm2d] * 2
    assert type(network[0]) is nn.BatchNorm2d
    assert list(dict(changed.named_parameters())) == list(dict(network.named_parameters()))


def test_weights_are_a_copy():
    network = nn.Sequential(norm())
    changed = with_closed_form_norms(network).double()
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
    x = draw(torch.Generator().manual_seed(0), *SHAPE)
    torch.testing.assert_close(changed(x), F.batch_norm(x, None, None, training=True))
