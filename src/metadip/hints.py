"""What others call our settings, what they were called before, and the nearest known word."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# Former names of settings, and their present ones: a key, or a choice such as task=noise.
RENAMED = {
    "method.callbacks": "callbacks",
    "method.execution": "fit",
    "method.rescale": "rescale",
    "objective.data_term": "objective=mse, l1 or huber",
    "objective.huber_delta": "objective.data.delta",
    "objective.tv_weight": "objective.terms.tv.weight",
}

# What others call our settings and choices -> what to write here.
SYNONYMS = {
    "sigma": "task.noise_std in [0, 1] intensity, 25 of 255 is task.noise_std=0.098",
    "noise": "task.noise_std in [0, 1] intensity, 25 of 255 is task.noise_std=0.098",
    "mask": "task=inpaint task.mask=FILE",
    "ratio": "task.ratio with task=cs, cpr, inpaint or spc",
    "factor": "task=sr task.factor=NUMBER",
    "kernel": "task=deblur task.kernel=FILE",
    "scale": "task=sr task.factor=NUMBER",
    "image": "input=FILE",
    "output": "out=FOLDER",
    "iterations": "fit.steps=NUMBER",
    "task=superres": "task=sr",
    "task=superresolution": "task=sr",
    "task=super_resolution": "task=sr",
    "task=deconvolution": "task=deblur",
    "task=tomography": "task=ct",
    "task=radon": "task=ct",
    "task=dejpeg": "task=jpeg",
    "task=singlepixel": "task=spc",
    "task=single_pixel": "task=spc",
    "method=deep_image_prior": "method=dip",
    "method=nonlocal_means": "method=nlm",
}


def meant(word: str) -> str:
    """Return ``, did you mean ...?`` for what others call a setting, or an empty string."""
    return f", did you mean {SYNONYMS[word]!r}?" if word in SYNONYMS else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ``, did you mean ...?`` with the nearest known word, or an empty string."""
    same = [name for name in known if name.rpartition(".")[2] == word]
    close = same[:1] or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:
        tails = {name.rpartition(".")[2]: name for name in known}
        tail = difflib.get_close_matches(word.rpartition(".")[2], tails, n=1, cutoff=0.6)
        close = [tails[tail[0]]] if tail else []
    return f", did you mean {close[0]!r}?" if close else ""
