"""The site: all pages are reachable, links lead somewhere, and all that is public is described."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
DOCS, EXAMPLES = REPO / "docs", REPO / "examples"
BUILT = (DOCS / "gallery", DOCS / "api" / "generated")  # by `make docs`
PAGES = sorted(
    page
    for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")]
    if not any(folder in page.parents for folder in (*BUILT, DOCS / "_templates"))
    and page.name != "sg_execution_times.rst"
)
SCRIPTS = sorted(EXAMPLES.rglob("*.py"))
PACKAGES = sorted(
    file.parent.relative_to(REPO / "src").as_posix().replace("/", ".")
    for file in (REPO / "src" / "metadip").glob("**/__init__.py")
    if "__all__" in file.read_text("utf-8")
)
INSIDE = {"metadip.report.benchmark"}  # its public names are those of metadip.report
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$|^\.\. toctree::\n((?:   .*\n|\n)+)", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROLE = re.compile(r":doc:`(?:[^`<]*<)?([^`>]+)>?`")
MENTIONED = re.compile(r"(?<![\w/.])(docs/[\w/.]+\.(?:md|png|jpg))")


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def children(page: Path) -> list[Path]:
    """Return the pages in the toctrees of a page, built ones excepted."""
    found = []
    for match in TOCTREE.finditer(page.read_text("utf-8")):
        for line in (match[1] or match[2]).splitlines():
            entry = re.sub(r"^.*<(.+)>$", r"\1", line.strip())
            if not entry or entry.startswith(":") or entry.startswith("gallery/"):
                continue
            files = [page.parent / f"{entry}{suffix}" for suffix in (".md", ".rst")]
            there = [file.resolve() for file in files if file.is_file()]
            assert there, f"{name_of(page)}: there is no page '{entry}'"
            found += there
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as MyST makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    included = re.search(r"^```\{include\} (.+)$", page.read_text("utf-8"), re.M)
    if included:
        text = (page.parent / included[1]).read_text("utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def leads_nowhere(page: Path, target: str) -> bool:
    """Return whether a link of a page to a file or an anchor has no end."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if DOCS / "gallery" in file.parents:
        script = EXAMPLES / file.relative_to(DOCS / "gallery").with_suffix(".py")
        return not script.is_file() and file.name != "index.rst"
    return not file.exists() or (bool(anchor) and anchor not in anchors(file))


def test_every_page_is_reachable_from_the_index():
    reached, left = set[Path](), [DOCS / "index.md"]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            left += children(page)
    assert [name_of(page) for page in PAGES if page not in reached] == []
    assert len(reached) > 40


@pytest.mark.parametrize("page", [*PAGES, REPO / "README.md"], ids=name_of)
def test_links_lead_somewhere(page: Path):
    text = page.read_text("utf-8")
    targets = [t for t in LINK.findall(text) if not re.match(r"https?:", t)]
    targets += re.findall(r"^```\{include\} (.+)$", text, re.M)
    assert [target for target in targets if leads_nowhere(page, target)] == []


def test_documents_that_are_mentioned_exist():
    files = [REPO / n for n in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    for folder in ("conf", "src", "benchmarks", "docs", "examples"):
        files += [f for f in (REPO / folder).rglob("*.*") if f.suffix in (".md", ".yaml", ".py")]
    missing = [
        f"{name_of(file)}: {path}"
        for file in files
        if not any(folder in file.parents for folder in BUILT)
        for path in MENTIONED.findall(file.read_text("utf-8"))
        if not (REPO / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("package", [p for p in PACKAGES if p not in INSIDE])
def test_every_public_name_is_in_the_reference(package: str):
    module = importlib.import_module(package)
    text = (DOCS / "api" / f"{package.removeprefix('metadip.')}.rst").read_text("utf-8")
    listed = set(re.findall(r"^   ([A-Za-z]\w+)$", text, re.M))
    listed |= set(re.findall(rf"`{package}\.(\w+) <", text))
    assert set(module.__all__) - {"__version__"} - listed == set()
    assert {name for name in listed if not hasattr(module, name)} == set()


def test_every_task_has_an_example():
    tasks = {file.stem for file in (REPO / "conf" / "task").glob("*.yaml")}
    shown = {file.stem.removeprefix("plot_") for file in (EXAMPLES / "1_tasks").glob("*.py")}
    training = "".join(file.read_text("utf-8") for file in (EXAMPLES / "4_training").glob("*.py"))
    assert tasks - shown == {"mixture"}  # draws among the others, for training
    assert shown <= tasks
    assert '"task=mixture"' in training


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_examples_compile_and_refer_to_pages(script: Path):
    text = script.read_text("utf-8")
    tree = ast.parse(text)
    title, bar = (ast.get_docstring(tree) or "").splitlines()[:2]
    assert script.name.startswith("plot_")
    assert set(bar) == {"="}
    assert len(bar) == len(title)
    for target in ROLE.findall(text):
        assert any((DOCS / f"{target.lstrip('/')}{end}").is_file() for end in (".md", ".rst"))
    compile(tree, str(script), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_examples_run(script: Path, tmp_path: Path):
    code = f"import matplotlib, runpy; matplotlib.use('agg'); runpy.run_path({str(script)!r})"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_checks_can_fail(tmp_path: Path):
    page = DOCS / "index.md"
    assert leads_nowhere(page, "nowhere.md")
    assert leads_nowhere(page, "own.md#nothing")
    assert not leads_nowhere(page, "own.md#your-data")
    assert leads_nowhere(page, "gallery/1_tasks/plot_nothing.rst")
    assert MENTIONED.findall("see `docs/results.md`, x/docs/y.md") == ["docs/results.md"]
