"""Objectives against their formulas, written out in numpy."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from metadip.fitting import DataObjective, total_variation
from metadip.metrics import psnr_db

GENERATOR = torch.Generator().manual_seed(0)
X_HAT = torch.rand(2, 3, 6, 5, generator=GENERATOR, dtype=torch.float64)
Y_HAT = torch.randn(2, 20, generator=GENERATOR, dtype=torch.float64)
Y = torch.randn(2, 20, generator=GENERATOR, dtype=torch.float64)
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
    loss = DataObjective(term, tv_weight=0.0, huber_delta=0.3)(X_HAT, Y_HAT, Y)
    np.testing.assert_allclose(loss.numpy(), rho.sum(1) / N, rtol=1e-12)


def test_complex_measurements_count_both_parts():
    y_hat, y = torch.complex(Y_HAT, Y), torch.complex(Y, Y_HAT.flip(0))
    loss = DataObjective("mse", tv_weight=0.0, huber_delta=1.0)(X_HAT, y_hat, y)
    expected = (np.abs((y_hat - y).numpy()) ** 2).sum(1) / N
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)
    assert not loss.is_complex()


def test_total_variation_is_the_mean_over_pixels_and_channels():
    np.testing.assert_allclose(total_variation(X_HAT).numpy(), tv(X_HAT.numpy()), rtol=1e-12)
    single = total_variation(X_HAT[:1])
    np.testing.assert_allclose(single.numpy(), tv(X_HAT[:1].numpy()), rtol=1e-12)
    loss = DataObjective("l1", tv_weight=0.7, huber_delta=1.0)(X_HAT, Y_HAT, Y_HAT)
    np.testing.assert_allclose(loss.numpy(), 0.7 * tv(X_HAT.numpy()), rtol=1e-12)


def test_psnr_of_a_constant_error():
    x = torch.zeros(2, 3, 4, 4)
    x_hat = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 2.0)])
    torch.testing.assert_close(psnr_db(x_hat, x), torch.tensor([20.0, -20 * math.log10(2)]))


def test_description_rebuilds_the_objective():
    objective = DataObjective("huber", tv_weight=0.2, huber_delta=0.4)
    arguments: dict[str, Any] = objective.description
    again = DataObjective(**arguments)
    torch.testing.assert_close(again(X_HAT, Y_HAT, Y), objective(X_HAT, Y_HAT, Y))
    assert again.description == objective.description


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"data_term must be one of .*'l1'.*, got 'l2'"):
        DataObjective("l2", tv_weight=0.0, huber_delta=1.0)
    with pytest.raises(ValueError, match="need tv_weight >= 0 and huber_delta > 0, got -1 and 1"):
        DataObjective("mse", tv_weight=-1, huber_delta=1)
    with pytest.raises(ValueError, match="huber_delta > 0, got 0 and 0"):
        DataObjective("mse", tv_weight=0, huber_delta=0)
    with pytest.raises(
        ValueError, match=r"the operator gives measurements \(2, 20\), y has \(2, 19\)"
    ):
        DataObjective("mse", tv_weight=0, huber_delta=1)(X_HAT, Y_HAT, Y[:, :-1])
