"""How close stopping rules come to the best step: rows, tables and curves of early_stopping.py."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metadip.report import atomic_path, markdown_table

NOISES = ("gaussian", "impulse", "shot", "speckle")
LEVELS = ("low", "medium", "high")
RULES = ("es_wmv", "es_emv", "sv_es")
TITLES = {"es_wmv": "ES-WMV", "es_emv": "ES-EMV", "sv_es": "SV-ES"}
COLOURS = {"es_wmv": "#d1662c", "es_emv": "#2a8a4a", "sv_es": "#8b3fa8"}
BUDGET_STEPS = 5000  # steps of the authors' demonstration of ES-WMV without stopping


def fits_of(entries: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per noise, level, picture and rule; PSNR and gaps to three digits."""
    rows = []
    for (noise, level), by_name in entries.items():
        for image, run in by_name.items():
            curve = run["curves"]["psnr_raw_db"]
            best = max(curve)
            for rule, told in run["rules"].items():
                row = {"noise": noise, "level": level, "image": image, "rule": rule}
                row |= {"noisy_db": run["noisy_psnr_db"], "best_psnr_db": best,
                        "best_step": curve.index(best), "last_psnr_db": curve[-1],
                        "psnr_db": told["psnr_db"], "gap_db": best - told["psnr_db"],
                        "chosen_step": told["chosen_step"], "stop_step": told["stop_step"],
                        "seconds": run["seconds"]}  # fmt: skip
                rows.append({k: round(v, 3) if isinstance(v, float) else v
                             for k, v in row.items()})  # fmt: skip
    return rows


def means_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of ``rows_of`` as a CSV has them, steps to whole ones."""
    means = []
    for row in rows:
        mean = {"noise": row["noise"], "level": row["level"], "count": row["pictures"],
                "noisy_db": round(row["noisy"], 2), "best_psnr_db": round(row["best"], 2),
                "best_step": round(row["best_step"]),
                "last_psnr_db": round(row["last"], 2)}  # fmt: skip
        for rule in (key.removesuffix("_gap") for key in row if key.endswith("_gap")):
            mean[f"{rule}_gap_db"] = round(row[f"{rule}_gap"], 2) + 0.0  # no -0.0
            mean[f"{rule}_stop_step"] = round(row[f"{rule}_stop"])
        means.append(mean)
    return means


def rows_of(entries: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per noise and level, with means over its images."""
    rows = []
    for (noise, level), by_name in sorted(
        entries.items(), key=lambda item: (NOISES.index(item[0][0]), LEVELS.index(item[0][1]))
    ):
        runs = list(by_name.values())
        best = [max(run["curves"]["psnr_raw_db"]) for run in runs]
        row: dict[str, Any] = {"noise": noise, "level": level, "pictures": len(runs)}
        row |= {"noisy": _mean(run["noisy_psnr_db"] for run in runs), "best": _mean(best)}
        row["best_step"] = _mean(
            run["curves"]["psnr_raw_db"].index(peak) for run, peak in zip(runs, best, strict=True)
        )
        row["last"] = _mean(run["curves"]["psnr_raw_db"][-1] for run in runs)
        for name in runs[0]["rules"]:
            told = [run["rules"][name] for run in runs]
            gaps = [peak - entry["psnr_db"] for peak, entry in zip(best, told, strict=True)]
            row[f"{name}_gap"] = _mean(gaps)
            row[f"{name}_stop"] = _mean(entry["stop_step"] for entry in told)
            row[f"{name}_saved"] = 1 - row[f"{name}_stop"] / BUDGET_STEPS
            row[f"{name}_stopped"] = sum(entry["stopped"] for entry in told)
        rows.append(row)
    return rows


def _mean(values: Any) -> float:
    return statistics.fmean(values)


def table_of(rows: Sequence[Mapping[str, Any]], rules: Sequence[str]) -> str:
    """Return the Markdown table, with the mean over noises and levels in the last row."""
    titles = {"noise": "noise", "level": "level", "pictures": "pictures", "noisy": "noisy (dB)",
              "best": "best step (dB)", "best_step": "at", "last": "last step (dB)"}  # fmt: skip
    formats = {"noisy": ".2f", "best": ".2f", "best_step": ".0f", "last": ".2f"}
    for name in rules:
        titles |= {f"{name}_gap": f"{TITLES[name]} gap (dB)", f"{name}_stop": "stops at",
                   f"{name}_saved": f"saved of {BUDGET_STEPS}"}  # fmt: skip
        formats |= {f"{name}_gap": ".2f", f"{name}_stop": ".0f", f"{name}_saved": ".0%"}
    mean = {key: _mean(row[key] for row in rows) for key in formats}
    return markdown_table([*rows, {"noise": "mean", **mean}], titles, formats)


def save_figure(path: Path, entries: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Plot the PSNR of the first image of every noise and level, and where the rules stop."""
    from matplotlib.figure import Figure

    noises = [n for n in NOISES if any(key[0] == n for key in entries)]
    levels = [v for v in LEVELS if any(key[1] == v for key in entries)]
    size = (2.9 * len(levels) + 0.6, 2.0 * len(noises) + 0.5)
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
    grid = figure.subplots(len(noises), len(levels), squeeze=False)
    for (noise, level), by_name in entries.items():
        ax = grid[noises.index(noise)][levels.index(level)]
        name, run = next(iter(by_name.items()))
        ax.plot(run["curves"]["psnr_raw_db"], color="#1f5fa8", linewidth=1, label="DIP, each step")
        for rule, told in run["rules"].items():
            ax.plot(told["chosen_step"], told["psnr_db"], "o", color=COLOURS[rule], markersize=5,
                    label=f"{TITLES[rule]} returns")  # fmt: skip
            ax.axvline(told["stop_step"], color=COLOURS[rule], linestyle=":", linewidth=1)
        ax.set_title(f"{noise}, {level} ({name})", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e4e4e4", linewidth=0.6)
    handles = grid[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel("step (dotted: where the rule stops)", fontsize=8)
    figure.supylabel("PSNR (dB)", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
