import copy
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from metadip.callbacks import (
    BestIterate,
    FitCallback,
    FitProgress,
    LatentJitter,
    OraclePSNR,
    OutputEMA,
    peak_of_curve,
)
from metadip.types import InverseProblem
from tests.callbacks.scripted import random_script, run_script


def test_a_hook_is_a_lightning_callback():
    for hook in (FitCallback(), LatentJitter(0.1), OutputEMA(0.9, bias_correction=True)):
        assert isinstance(hook, pl.Callback)
    state = run_script(random_script(1, 3), [FitCallback()])
    assert set(state.curves) == {"loss"}
    pl.Trainer(accelerator="cpu", logger=False, callbacks=[FitCallback()], barebones=False)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_average_in_closed_form(bias_correction: bool):
    decay, script = 0.8, random_script(2, 25)
    weights = (1 - decay) * decay ** torch.arange(24.0, -1, -1)
    if bias_correction:
        weights = weights / weights.sum()
    state = run_script(script, [OutputEMA(decay, bias_correction=bias_correction)])
    torch.testing.assert_close(state.output, torch.einsum("t,ntchw->nchw", weights, script))


def test_average_without_a_past_is_the_reconstruction():
    script = random_script(1, 4)
    state = run_script(script, [OutputEMA(0.0, bias_correction=False)])
    torch.testing.assert_close(state.output, script[:, -1])


def test_average_of_an_image_that_stops_or_diverges():
    """The diverged one keeps the average of before, its neighbour is as if alone."""
    script, losses = random_script(3, 12), torch.ones(3, 12)
    losses[1, 5], script[1, 5] = torch.inf, torch.nan
    hook = OutputEMA(0.9, bias_correction=True)
    state = run_script(script, [hook], losses=losses)
    before = run_script(script[1:2, :5], [hook])
    torch.testing.assert_close(state.output[1:2], before.output)
    for i in (0, 2):
        alone = run_script(script[i : i + 1], [OutputEMA(0.9, bias_correction=True)])
        torch.testing.assert_close(state.output[i : i + 1], alone.output)


class Watch(FitCallback):
    """Keep what entered the network."""

    def on_reconstruction_start(self, state):
        self.seen: list[torch.Tensor] = []

    def on_step_start(self, state):
        self.seen.append(state.inputs["z"] + state.jitter.get("z", 0))


def test_jitter_is_fresh_white_and_each_image_has_its_own():
    z, watch = torch.rand(3, 4, 32, 32), Watch()
    run_script(torch.zeros(3, 5, 1, 32, 32), [LatentJitter(0.5), watch], z=z)
    noise = (torch.stack(watch.seen) - z) / 0.5  # (T, N, Cz, H, W)
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02
    rows = noise.reshape(15, -1)
    correlation = torch.corrcoef(rows) - torch.eye(15)
    assert correlation.abs().max() < 0.08  # 5 standard deviations of 4096 values


def test_jitter_does_not_depend_on_the_batch():
    z, watch = torch.rand(2, 4, 8, 8), Watch()
    script, losses = torch.zeros(2, 4, 1, 8, 8), torch.ones(2, 4)
    run_script(script[:1], [LatentJitter(0.1), watch], z=z[:1])
    alone = watch.seen
    losses[1, 1] = torch.nan  # the other image leaves the batch
    run_script(script, [LatentJitter(0.1), watch], z=z, losses=losses)
    assert [len(x) for x in watch.seen] == [2, 2, 1, 1]
    for a, b in zip(alone, watch.seen, strict=True):
        assert torch.equal(a, b[:1])


def test_jitter_does_not_depend_on_the_memory_layout():
    z, watch = torch.rand(1, 4, 8, 8), Watch()
    script = torch.zeros(1, 2, 1, 8, 8)
    run_script(script, [LatentJitter(0.1), watch], z=z)
    plain = watch.seen
    last = z.to(memory_format=torch.channels_last)
    run_script(script, [LatentJitter(0.1), watch], z=last)
    assert torch.equal(torch.stack(plain), torch.stack(watch.seen))


def test_no_jitter_leaves_the_latent_and_the_random_stream():
    z, watch = torch.rand(1, 2, 8, 8), Watch()
    state = run_script(torch.zeros(1, 2, 1, 8, 8), [LatentJitter(0.0), watch], z=z)
    assert torch.equal(watch.seen[-1], z)
    assert state.generators[0].get_state().equal(torch.Generator().manual_seed(0).get_state())


LOSSES = torch.tensor([[5.0, 2.0, 1.0, 3.0, 0.99], [5.0, 4.0, torch.nan, 0.0, 0.0]])


@pytest.mark.parametrize(("min_improvement", "steps"), [(0.0, [4, 1]), (0.1, [2, 1])])
def test_best_iterate(min_improvement: float, steps: list[int]):
    script, hook = random_script(2, 5), BestIterate(min_improvement=min_improvement)
    state = run_script(script, [hook], losses=LOSSES)
    assert hook.best_steps.tolist() == steps
    torch.testing.assert_close(state.output, script[[0, 1], steps])


def test_best_iterate_keeps_the_averaged_output_and_other_curves():
    script = random_script(1, 5)
    ema = OutputEMA(0.5, bias_correction=True)
    state = run_script(
        script, [ema, BestIterate(min_improvement=0.0)], losses=LOSSES[:1, [0, 1, 2, 3, 3]]
    )
    torch.testing.assert_close(state.output, run_script(script[:, :3], [ema]).output)

    class Score(FitCallback):
        def on_step_end(self, state):
            state.record("score", torch.full((len(state.active),), abs(state.step - 1.0)))

    state = run_script(script, [Score(), BestIterate("score", min_improvement=0.0)])
    torch.testing.assert_close(state.output, script[:, 1])


def test_oracle_records_both_curves_and_changes_nothing():
    script, x = random_script(3, 6), torch.rand(1, 3, 4, 5)
    oracle, ema = OraclePSNR(), OutputEMA(0.5, bias_correction=True)
    losses = torch.ones(3, 6)
    losses[2, 3] = torch.nan
    state = run_script(script, [ema, oracle], truths=[x, None, x], losses=losses)
    raw = -10 * (script[0] - x).square().mean(dim=(1, 2, 3)).log10()
    torch.testing.assert_close(state.curves["psnr_raw_db"][0], raw)
    expected = -10 * (state.output[0] - x[0]).square().mean().log10()
    torch.testing.assert_close(state.curves["psnr_db"][0, -1], expected)
    assert state.curves["psnr_db"][1].isnan().all()
    assert state.curves["psnr_db"][2].isfinite().tolist() == [True] * 4 + [False] * 2
    without = run_script(script, [OutputEMA(0.5, bias_correction=True)], losses=losses)
    torch.testing.assert_close(state.output, without.output)
    best = state.curves["psnr_db"][0].max()
    assert oracle.best_psnr_db[0] == best
    assert state.curves["psnr_db"][0, oracle.best_steps[0]] == best
    assert oracle.best_psnr_db[1].isnan()
    assert oracle.best_steps[1] == -1


def test_peak_of_curve_ignores_gaps():
    curves = torch.tensor([[torch.nan, 1.0, 4.0, 2.0], [torch.inf, 1.0, 0.0, 0.0]])
    values, steps = peak_of_curve(curves)
    assert values.tolist() == [4.0, torch.inf]
    assert steps.tolist() == [2, 0]


def test_progress_shows_name_loss_and_psnr(capsys: pytest.CaptureFixture[str]):
    hooks = [OraclePSNR(), FitProgress(refresh_steps=2, leave=True, force=True)]
    script = random_script(1, 6)
    run_script(script, hooks, truths=[script[0, :1] + 0.1])
    text = capsys.readouterr().err
    assert "image0: 100%" in text
    assert "5/5" in text
    assert "loss 1.00e+00, PSNR " in text


def test_progress_of_a_batch_that_stops_early(capsys: pytest.CaptureFixture[str]):
    losses = torch.ones(2, 8)
    losses[0, 1] = losses[1, 4] = torch.nan
    run_script(
        random_script(2, 8),
        [FitProgress(refresh_steps=1, leave=True, force=True)],
        losses=losses,
    )
    text = capsys.readouterr().err
    assert "2 images" in text
    assert "4/7" in text
    assert "PSNR" not in text


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    hook = FitProgress(refresh_steps=1, leave=True)
    run_script(random_script(1, 3), [hook])
    hook.on_exception(None, None, None)
    assert capsys.readouterr().err == ""


def no_curve():
    run_script(random_script(1, 2), [BestIterate("variance", min_improvement=0.0)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OutputEMA(1.0, bias_correction=True), r"decay must be in \[0, 1\), got 1.0"),
        (lambda: OutputEMA(-0.1, bias_correction=True), r"decay must be in \[0, 1\), got -0.1"),
        (lambda: LatentJitter(-0.1), "std must be finite and at least 0, got -0.1"),
        (lambda: LatentJitter(float("nan")), "std must be finite and at least 0, got nan"),
        (lambda: BestIterate(min_improvement=1.0), r"min_improvement must be in \[0, 1\), got 1.0"),
        (
            lambda: BestIterate("psnr_db", min_improvement=0.0),
            "criterion 'psnr_db' reads the ground truth",
        ),
        (no_curve, "no curve 'variance' to minimise; recorded are loss"),
        (lambda: FitProgress(refresh_steps=0, leave=True), "refresh_steps must be at least 1"),
    ],
)
def test_bad_arguments(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("none", []),
        ("dip", ["LatentJitter", "OutputEMA"]),
        ("gp_dip", ["LatentJitter", "LangevinNoise", "PosteriorMean"]),
        ("jitter", ["LatentJitter"]),
        ("es_wmv", ["LatentJitter", "ESWMV"]),
        ("es_emv", ["LatentJitter", "ESEMV"]),
        ("es_emv_meta", ["ESEMV"]),
        ("sv_es", ["LatentJitter", "SelfValidation"]),
        ("discrepancy", ["LatentJitter", "DiscrepancyPrinciple"]),
        ("discrepancy_meta", ["DiscrepancyPrinciple"]),
    ],
)
def test_presets_build_hooks_that_run(name: str, classes: list[str], repo: Path):
    nodes = OmegaConf.load(repo / "conf" / "callbacks" / f"{name}.yaml")
    assert isinstance(nodes, DictConfig)
    hooks = []
    for node in nodes.values():
        arguments = {key: value for key, value in node.items() if not key.startswith("_")}
        hooks.append(get_object(node["_target_"])(**arguments))
    shape = (3, 4, 5)
    problems = [InverseProblem(torch.zeros(1, *shape), Denoising(GaussianNoise(0.1)), shape)] * 2
    state = run_script(random_script(2, 4), copy.deepcopy(hooks), problems=problems)
    assert state.output.isfinite().all()
    assert [type(hook).__name__ for hook in hooks] == classes
