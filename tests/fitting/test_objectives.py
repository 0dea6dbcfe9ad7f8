"""Objectives against their formulas, written out in numpy."""

import math

import numpy as np
import pytest
import torch

from metadip import registry
from metadip.fitting import TV, Huber, Sum, l1, mse, total_variation
from metadip.fitting.objectives import evaluate
from metadip.metrics import psnr_db
from metadip.types import Objective
from tests.fitting.tiny import look

GENERATOR = torch.Generator().manual_seed(0)
X_HAT = torch.rand(2, 3, 6, 5, generator=GENERATOR, dtype=torch.float64)
Y_HAT = torch.randn(2, 20, generator=GENERATOR, dtype=torch.float64)
Y = torch.randn(2, 20, generator=GENERATOR, dtype=torch.float64)
DATA: dict[str, Objective] = {"mse": mse, "l1": l1, "huber": Huber(0.3)}
N = 3 * 6 * 5  # pixels and channels: more than measurements


def huber(r: np.ndarray, delta: float) -> np.ndarray:
    small = np.abs(r) <= delta
    return np.where(small, r**2 / 2, delta * (np.abs(r) - delta / 2))


def tv(x: np.ndarray) -> np.ndarray:
    rows, columns = np.abs(np.diff(x, axis=-2)), np.abs(np.diff(x, axis=-1))
    total: np.ndarray = (rows.sum((1, 2, 3)) + columns.sum((1, 2, 3))) / x[0].size
    return total


@pytest.mark.parametrize("term", ["mse", "l1", "huber"])
def test_data_terms_divide_by_the_pixels_not_by_the_measurements(term: str):
    r = (Y_HAT - Y).numpy()
    rho = {"mse": r**2, "l1": np.abs(r), "huber": huber(r, 0.3)}[term]
    loss = DATA[term](look(X_HAT, Y_HAT, Y))
    np.testing.assert_allclose(loss.numpy(), rho.sum(1) / N, rtol=1e-12)


def test_complex_measurements_count_both_parts():
    y_hat, y = torch.complex(Y_HAT, Y), torch.complex(Y, Y_HAT.flip(0))
    loss = mse(look(X_HAT, y_hat, y))
    expected = (np.abs((y_hat - y).numpy()) ** 2).sum(1) / N
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)
    assert not loss.is_complex()


def test_total_variation_is_the_mean_over_pixels_and_channels():
    np.testing.assert_allclose(total_variation(X_HAT).numpy(), tv(X_HAT.numpy()), rtol=1e-12)
    single = total_variation(X_HAT[:1])
    np.testing.assert_allclose(single.numpy(), tv(X_HAT[:1].numpy()), rtol=1e-12)
    loss = Sum(l1, {"tv": TV(0.7)})(look(X_HAT, Y_HAT, Y_HAT))
    np.testing.assert_allclose(loss.numpy(), 0.7 * tv(X_HAT.numpy()), rtol=1e-12)


def test_psnr_of_a_constant_error():
    x = torch.zeros(2, 3, 4, 4)
    x_hat = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 2.0)])
    torch.testing.assert_close(psnr_db(x_hat, x), torch.tensor([20.0, -20 * math.log10(2)]))


def test_a_sum_tells_its_data_term_apart():
    objective = Sum(l1, {"tv": TV(0.7), "negative": lambda seen: -100 * l1(seen)})
    found = evaluate(objective, look(X_HAT, Y_HAT, Y))
    torch.testing.assert_close(found.misfit, l1(look(X_HAT, Y_HAT, Y)))
    torch.testing.assert_close(found.total, -99 * found.misfit + 0.7 * total_variation(X_HAT))
    own = evaluate(lambda seen: -l1(seen), look(X_HAT, Y_HAT, Y))
    torch.testing.assert_close(own.misfit, mse(look(X_HAT, Y_HAT, Y)))
    assert (own.total < 0).all()


def test_outliers_of_an_estimate_belong_to_the_residual():
    seen = look(X_HAT, Y_HAT, Y)
    estimate = seen.estimate._replace(other={"outliers": Y - Y_HAT})
    assert mse(seen._replace(estimate=estimate)).abs().max() < 1e-20


def test_description_rebuilds_the_objective():
    objective = Sum(Huber(0.4), {"tv": TV(0.2)})
    assert objective.description == {
        "type": "sum",
        "data": {"type": "huber", "delta": 0.4},
        "terms": {"tv": {"type": "total_variation", "weight": 0.2}},
    }
    again = registry.build("objective", objective.description)
    seen = look(X_HAT, Y_HAT, Y)
    torch.testing.assert_close(again(seen), objective(seen))
    assert again.description == objective.description
    assert registry.build("objective", Sum(mse).description).data(seen).equal(mse(seen))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        TV(-1)
    with pytest.raises(ValueError, match="delta must be above 0, got 0"):
        Huber(0)
    with pytest.raises(
        ValueError, match=r"the operator gives measurements \(2, 20\), y has \(2, 19\)"
    ):
        mse(look(X_HAT, Y_HAT, Y[:, :-1]))
