"""The report to browse: what it holds, and how it works in a browser."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metadip.report import read_cells
from metadip.report.benchmark.page import CURVE_POINTS, write_page
from metadip.report.benchmark.score_cells import judge
from metadip.report.benchmark.summary import summarize
from tests.report.made_up_cells import fill_folder, make_table, write

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
NEVER_CLOSED = {"meta", "input", "img", "br"}
# Reports errors, then what a reader would see and do, in the title of the document.
FIRST = """<script>const errors = [];
addEventListener("error", (event) => errors.push(event.message));
console.error = console.warn = (...told) => errors.push(told.join(" "));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
</script>"""
LAST = """<script>addEventListener("load", () => {
  const front = () => getComputedStyle(document.querySelector(".front")).clipPath;
  const legend = () => find("legend").textContent;
  const state = { errors, width: innerWidth, clips: [front()], legends: [legend()] };
  const range = document.querySelector(".stack input");
  range.value = 20;
  range.dispatchEvent(new Event("input"));
  state.clips.push(front());
  range.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  state.other = document.querySelectorAll(".stack input")[1].value;
  state.paths = [...document.querySelectorAll("#plot path")].map((path) => path.getAttribute("d"));
  find("cursor").value = 0;
  find("cursor").dispatchEvent(new Event("input"));
  state.legends.push(legend());
  for (const [id, value] of [["quantity", "nmse"], ["curve", "psnr_raw_db"], ["place", "3"]]) {
    find(id).value = value;
    find(id).dispatchEvent(new Event("change"));
  }
  find("log").click();
  find("left").value = MEASURED;
  find("left").dispatchEvent(new Event("change"));
  state.caption = document.querySelector("figcaption").textContent;
  for (const details of document.querySelectorAll("details")) details.open = true;
  state.scrollWidth = document.documentElement.scrollWidth;
  state.unlabelled = [...document.querySelectorAll("select, input")].filter(
    (field) => !field.closest("label") && !field.getAttribute("aria-label")).length;
  state.unlabelled += [...document.images].filter((picture) => !picture.alt).length;
  state.outside = performance.getEntriesByType("resource").filter(
    (entry) => !entry.name.startsWith("data:")).length;
  parent.postMessage(JSON.stringify(state), "*");
});</script>"""
# A window is at least 500 px wide, a frame in it as wide as wanted.
FRAME = """<!doctype html><script>addEventListener("message", (event) => {{
  document.title = event.data;
}});</script><iframe src="probed.html" style="width: {width}px; height: 1000px; border: 0">"""


class Balance(HTMLParser):
    """Collects open elements, and what is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in NEVER_CLOSED else []
        self.links += [f"{key}={value}" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table")
    fill_folder(out)
    table = make_table()
    cells = judge(read_cells(out), table)
    write_page(out, table, cells, summarize(table, cells), max_images=2)
    return out


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_page_is_whole_and_fetches_nothing(folder: Path):
    page = (folder / "report.html").read_text("utf-8")
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert balance.links == []
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page


def test_text_is_escaped(folder: Path):
    page = (folder / "report.html").read_text("utf-8")
    assert "Denoising &amp; sensing" in page
    assert "&lt;b&gt;Better&lt;/b&gt;" in page
    assert "DIP &lt;1000&gt;" in page
    assert "made_up &lt;/script&gt;" in page
    assert "<1000>" not in page
    assert embedded(page)["methods"]["dip"] == "DIP <1000>"


def test_embedded_images_and_curves(folder: Path):
    data = embedded((folder / "report.html").read_text("utf-8"))
    assert [(place["task"], place["set"]) for place in data["places"]] == [
        ("denoise_25", "shapes"), ("denoise_25", "waves"), ("cs", "shapes"), ("cs", "waves"),
    ]  # fmt: skip
    for place in data["places"]:
        assert list(place["images"]) == ["a1", "b2"]
        curve = place["images"]["a1"]["results"]["dip"]["curves"]["psnr_db"]
        assert len(curve) <= CURVE_POINTS
        assert (curve[0][0], curve[-1][0]) == (0, 1000)
        assert [step for step, _ in curve] == sorted({step for step, _ in curve})
        assert list(place["images"]["b2"]["results"]) == ["metadip", "dip"]
    assert list(data["truths"]["waves"]) == ["a1", "b2"]
    assert data["truths"]["waves"]["a1"]["picture"].startswith("data:image/png;base64,")


def test_large_pictures_are_compressed(tmp_path: Path):
    fill_folder(tmp_path, side=272, images=["a"])
    write(tmp_path, make_table(tasks={"cs": "cs"}, sets={"waves": "waves"}))
    data = embedded((tmp_path / "report.html").read_text("utf-8"))
    assert data["truths"]["waves"]["a"]["picture"].startswith("data:image/webp;base64,")


def browse(tmp_path: Path, page: Path, *options: str) -> str:
    """Run the browser on a page and return what it prints; the errors of the page are in it."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", *options,
    ]  # fmt: skip
    done = subprocess.run(
        [*command, page.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason=f"needs one of {', '.join(BROWSERS)}")
@pytest.mark.parametrize("width", [1400, 400])
def test_in_a_browser(folder: Path, tmp_path: Path, width: int):
    page = (folder / "report.html").read_text("utf-8")
    (tmp_path / "probed.html").write_text(
        page.replace("<style>", f"{FIRST}<style>").replace("</body>", f"{LAST}</body>"), "utf-8"
    )
    framed = tmp_path / "framed.html"
    framed.write_text(FRAME.format(width=width), "utf-8")
    dom = browse(tmp_path, framed, "--window-size=1500,1100", "--dump-dom")
    found = re.search(r"<title>(.*?)</title>", dom)
    assert found
    state = json.loads(unescape(found[1]))
    assert state["errors"] == []
    assert state["width"] == width
    assert state["scrollWidth"] <= width
    assert state["outside"] == state["unlabelled"] == 0
    assert state["clips"] == ["inset(0px 50% 0px 0px)", "inset(0px 80% 0px 0px)"]
    assert state["other"] == "22"
    assert state["caption"] == "measured"
    assert len(state["paths"]) == 3  # MetaDIP and DIP, and TV's level
    assert not any(path is None or "NaN" in path for path in state["paths"])
    assert state["legends"][0] != state["legends"][1]
    picture = tmp_path / "picture.png"
    size = f"--window-size={width},1000"
    browse(tmp_path, folder / "report.html", size, f"--screenshot={picture}")
    with Image.open(picture) as image:
        assert image.size == (width, 1000)
        assert len(set(image.convert("RGB").resize((40, 40)).get_flattened_data())) > 20
