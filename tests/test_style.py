"""Sizes, names, docstrings and quick imports, as CONTRIBUTING.md asks for them."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
CODE = sorted(
    [file for folder in ("src", "tests", "benchmarks") for file in (REPO / folder).rglob("*.py")]
    + list(REPO.glob("*.py"))
)
PACKAGE = [file for file in CODE if REPO / "src" in file.parents]
HEAVY = ("learn2learn", "deepinv", "wandb", "kornia", "matplotlib")
TARGETS = (
    *("help", "env", "install", "demo", "format", "lint", "type"),
    *("test", "test-all", "attack", "smoke", "check", "bench", "docs", "clean"),
)

# Written in pieces, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~$}\])-])/(" + "|".join(("work", "root", "home")) + r")/\w")
INDEX_HOST = re.compile(r"\b(" + "|".join(("pypi" + r"\.org", "python" + r"hosted\.org")) + r")\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(file: Path) -> str:
    """Return the path of a file in the repository, for messages and test ids."""
    return file.relative_to(REPO).as_posix()


def body_lines(node: Function) -> int:
    """Return the number of source lines of a function, its docstring not counted."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> list[str]:
    """Return the public functions and classes below ``node`` that lack a docstring."""
    found = []
    for child in node.body:
        if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
            continue
        overload = any("overload" in ast.unparse(mark) for mark in child.decorator_list)
        if not overload and not ast.get_docstring(child):
            found.append(prefix + child.name)
        if isinstance(child, ast.ClassDef):
            found += undocumented(child, f"{prefix}{child.name}.")
    return found


def tracked_text() -> list[Path]:
    """Return the text files of the checkout that git does not ignore, or skip outside git."""
    if not (REPO / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout")
    command = ["git", "-c", f"safe.directory={REPO}", "ls-files", "-coz", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPO, capture_output=True, check=True).stdout
    files = [REPO / name for name in names.decode().split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()[:8192]]


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_files_and_functions_are_short(file: Path):
    source = file.read_text("utf-8")
    assert len(source.splitlines()) <= MAX_FILE_LINES
    sizes = {
        node.name: body_lines(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, Function)
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("file", PACKAGE, ids=name_of)
def test_public_names_have_docstrings(file: Path):
    tree = ast.parse(file.read_text("utf-8"))
    assert ast.get_docstring(tree), "the module has none"
    assert undocumented(tree) == []


def test_no_module_for_leftovers():
    assert [name_of(file) for file in CODE if file.name in {"utils.py", "helpers.py"}] == []


def test_no_machine_paths_or_index_hosts():
    found = []
    for file in tracked_text():
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
            if MACHINE_PATH.search(line) or INDEX_HOST.search(line):
                found.append(f"{name_of(file)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_the_checks_can_fail():
    long = ast.parse("def f():\n" + "    x = 1\n" * 41).body[0]
    documented = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1').body[0]
    assert isinstance(long, Function)
    assert isinstance(documented, Function)
    assert body_lines(long) == 42
    assert body_lines(documented) == 2
    source = 'def f(): ...\nclass C:\n    """Say."""\n    def g(self): ...\n    def _h(self): ...'
    assert undocumented(ast.parse(source)) == ["f", "C.g"]
    assert MACHINE_PATH.search("open('/" + "root/x')")
    assert not MACHINE_PATH.search("docs/" + "work/x and ~/" + "work/x")
    assert INDEX_HOST.search("https://pypi" + ".org/simple")


def test_import_is_quick():
    """``import metadip`` leaves the heavy and optional libraries alone."""
    code = f"import metadip, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_makefile_has_every_target_with_a_line_of_help():
    makefile = (REPO / "Makefile").read_text("utf-8")
    assert [t for t in TARGETS if not re.search(rf"^{t}:.*## \w", makefile, re.MULTILINE)] == []


def test_ci_runs_a_command_of_the_readme():
    last = (REPO / ".ci" / "run").read_text("utf-8").strip().splitlines()[-1]
    assert last.startswith("exec make ")
    assert last.removeprefix("exec ") in (REPO / "README.md").read_text("utf-8")


def test_no_two_modules_share_a_name():
    names = [file.name for file in PACKAGE if file.name not in ("__init__.py", "__main__.py")]
    assert sorted(names) == sorted(set(names))
