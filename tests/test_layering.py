"""Imports go one way, and each outside library enters where the design says."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "metadip"

# A module imports only what stands above it here; "metadip" is the package's own __init__.py.
LAYERS = (
    "types", "limits", "argument_types", "registry", "files", "metrics", "seeding", "settings",
    "hints", "variants", "composing", "unread", "config", "prior_files", "paths", "signals",
    "command_line",
    "data", "physics", "tasks", "priors", "fitting", "checkpoint", "callbacks", "meta", "methods",
    "report", "runs", "demo", "metadip", "__main__",
)  # fmt: skip

# Outside library -> the modules (a folder ends with /) that may import it.
SEAMS: dict[str, tuple[str, ...]] = {
    "learn2learn": ("meta/learn2learn_maml.py",),
    "hydra": ("composing.py", "unread.py", "config.py"),
    "omegaconf": ("composing.py", "unread.py", "config.py"),
    "deepinv": ("physics/", "tasks/", "methods/"),
    "kornia": ("fitting/objectives.py", "physics/jpeg.py"),
    "torchmetrics": ("metrics.py", "meta/"),
    "huggingface_hub": ("prior_files.py",),
    "wandb": (),  # through Lightning's logger only
}
TYPES_ONLY = {"deepinv": ("types.py",)}  # allowed under TYPE_CHECKING


class Import(NamedTuple):
    """One imported module, in full."""

    line: int
    module: str
    for_types: bool


def find_imports(source: str, path: str) -> Iterator[Import]:
    """Yield every import of ``source``, a module at ``path`` below the package, at any depth."""
    tree = ast.parse(source)
    guarded = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for module in imported_modules(node, path):
            yield Import(getattr(node, "lineno", 0), module, id(node) in guarded)


def imported_modules(node: ast.AST, path: str) -> list[str]:
    """Return the full names that one statement imports, ``from a import b`` as ``a.b``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ("metadip", *PurePosixPath(path).parent.parts)
            parts = package[: len(package) - node.level + 1]
            base = ".".join([*parts, base] if base else parts)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        first = node.args[0] if node.args else None
        return (
            [first.value]
            if isinstance(first, ast.Constant) and isinstance(first.value, str)
            else []
        )
    return []


def layer_of(path: str) -> str:
    """Return the layer of a module at ``path`` below the package."""
    name = PurePosixPath(path).parts[0].removesuffix(".py")
    return "metadip" if name == "__init__" else name


def violations(source: str, path: str) -> list[str]:
    """Return one line for each import of ``source`` that the design forbids."""
    own = layer_of(path)
    if own not in LAYERS:
        return [f"{path}: layer {own!r} has no place in LAYERS"]
    found = []
    for line, module, for_types in find_imports(source, path):
        top, *rest = module.split(".")
        where = f"{path}:{line}: imports {module}"
        if top == "metadip":
            target = rest[0] if rest and rest[0] in LAYERS else "metadip"
            if LAYERS.index(target) > LAYERS.index(own):
                found.append(f"{where}, which comes after {own}")
        elif top in SEAMS:
            allowed = SEAMS[top] + (TYPES_ONLY.get(top, ()) if for_types else ())
            if not any(
                path == place or (place[-1] == "/" and path.startswith(place)) for place in allowed
            ):
                found.append(f"{where}, allowed only in {', '.join(allowed) or 'no module'}")
    return found


def test_package_keeps_to_the_layers_and_seams():
    files = sorted(SRC.rglob("*.py"))
    assert files
    found = [
        line
        for file in files
        for line in violations(file.read_text("utf-8"), file.relative_to(SRC).as_posix())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("data/x.py", "from metadip.physics import noise", "comes after data"),
        ("physics/x.py", "from metadip.tasks import inpainting", "comes after physics"),
        ("data/x.py", "import metadip.runs as r", "comes after data"),
        ("data/x.py", "from metadip import runs", "comes after data"),
        ("data/x.py", "from ..fitting import fit", "comes after data"),
        ("data/x.py", "from .. import load", "comes after data"),
        ("data/deep/x.py", "from ...meta import learners", "comes after data"),
        ("types.py", "from .config import main", "comes after types"),
        ("fitting/x.py", "def f():\n    from metadip.methods import a", "comes after fitting"),
        ("priors/x.py", "if TYPE_CHECKING:\n    from metadip.meta import a", "comes after priors"),
        ("priors/x.py", "importlib.import_module('metadip.meta')", "comes after priors"),
        ("runs.py", "import metadip.demo", "comes after runs"),
        ("odd/x.py", "", "no place in LAYERS"),
        ("meta/learners.py", "import learn2learn", "only in meta/learn2learn_maml.py"),
        ("runs.py", "from omegaconf import OmegaConf", "only in composing.py, unread.py"),
        ("runs.py", "def f():\n    import hydra.utils", "only in composing.py, unread.py"),
        ("types.py", "import deepinv", "only in physics/, tasks/, methods/"),
        ("report/x.py", "if TYPE_CHECKING:\n    import deepinv", "only in physics/, tasks/"),
        ("callbacks/x.py", "from kornia.losses import tv", "only in fitting/objectives.py, ph"),
        ("runs.py", "import torchmetrics", "only in metrics.py"),
        ("runs.py", "import wandb", "only in no module"),
    ],
)  # fmt: skip
def test_the_checker_finds(path: str, source: str, message: str):
    assert [message in line for line in violations(source, path)] == [True]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("runs.py", "from metadip.meta import learners\nfrom . import data"),
        ("meta/x.py", "from .learners import build\nfrom metadip.meta import y"),
        ("types.py", "if TYPE_CHECKING:\n    from deepinv.physics import Physics"),
        ("physics/x.py", "import deepinv as dinv\nimport torch"),
        ("tasks/x.py", "from metadip.physics import noise\nimport deepinv"),
        ("__init__.py", "from metadip.runs import load"),
        ("report/x.py", "from lightning.pytorch.loggers import WandbLogger"),
    ],
)
def test_the_checker_accepts(path: str, source: str):
    assert violations(source, path) == []
