"""Names of images in results, from those of their files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

# Names of files that reports write beside the images' folders.
RESERVED = (
    *("entries", "config.yaml", "contact_sheet.png", "environment.json", "report.html"),
    *("inputs.json", "metrics.json"),
)
NAME_BYTES = 150  # of a name in results; file systems allow 255, with suffixes and more


def image_names(paths: Sequence[Path], root: str | Path) -> list[str]:
    """Name images by file stem or, where that is taken, by path below ``root``, ``__`` for ``/``.

    No two names are equal, even on file systems that ignore case, and each can name a file: control
    characters and what is not UTF-8 become ``_``, long names are cut and end in a hash.
    """
    base = Path(root).parent if Path(root).is_file() else root
    whole = [_file_name(p.relative_to(base).as_posix().replace("/", "__")) for p in paths]
    names = [_file_name(p.stem) for p in paths]
    while True:  # a whole name may be the stem of another file: a.png beside a.png.png
        counts = Counter(map(str.casefold, [*names, *RESERVED]))
        clash = [i for i, n in enumerate(names) if counts[n.casefold()] > 1 and n != whole[i]]
        if not clash:
            return _numbered(names)
        for i in clash:
            names[i] = whole[i]


def _file_name(text: str) -> str:
    """Return a text as the name of a file."""
    readable = "".join(c if c.isprintable() else "_" for c in text)
    name = f"_{readable[1:]}" if readable.startswith(".") else readable
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{name.encode()[: NAME_BYTES - 9].decode('utf-8', 'ignore')}~{digest}"


def _numbered(names: Sequence[str]) -> list[str]:
    """Give names that are still equal a number."""
    taken, unique = {name.casefold() for name in (*names, *RESERVED)}, list[str]()
    used = set(RESERVED)
    for name in names:
        free = name
        numbers = (f"{name}.{number}" for number in count(2))
        while free.casefold() in used or (free != name and free.casefold() in taken):
            free = next(numbers)
        used.add(free.casefold())
        unique.append(free)
    return unique
