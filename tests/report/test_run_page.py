"""The page of a run: what it shows, and that names and texts are only text."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

from metadip.report import run_page, save_image, write_run_page


class Links(HTMLParser):
    """Collect what a page loads or links to, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [unquote(str(v)) for k, v in attrs if k in ("src", "href")]


def metrics_of(*names: str, **change: Any) -> dict[str, Any]:
    entry = {"psnr_db": 30.125, "ssim": None, "seconds": 1.0, "steps": 5, "stop_step": 5,
             "stop_reason": "converged", "trust": {"doubt": None}}  # fmt: skip
    images = [{**entry, "name": name, **change} for name in names]
    return {"images": images, "mean": {"psnr_db": 31.0}, "method": "metadip", "task": "denoise",
            "ckpt": "photo", "seed": 0}  # fmt: skip


def page_of(out: Path, metrics: dict[str, Any], *, single: bool = False) -> str:
    write_run_page(out, metrics, single=single)
    return (out / "report.html").read_text("utf-8")


def test_a_folder_shows_every_image_with_its_numbers(tmp_path: Path):
    (tmp_path / "a 1").mkdir()
    (tmp_path / "a 1" / "curves.png").touch()
    text = page_of(tmp_path, metrics_of("a 1", "b#2"))
    found = Links(text).links
    assert "a 1/comparison.png" in found
    assert "a 1/curves.png" in found
    assert "b#2/comparison.png" in found
    assert "b#2/curves.png" not in found
    assert text.count("<td>30.12</td>") == 2
    assert text.count("<td>31.00</td>") == 1  # the mean
    assert "method=metadip, task=denoise, ckpt=photo, seed=0" in text
    assert "step 5: converged" in text


def test_a_single_image_has_its_pictures_in_the_run_folder_and_no_mean(tmp_path: Path):
    text = page_of(tmp_path, metrics_of("photo"), single=True)
    assert "comparison.png" in Links(text).links
    assert ">mean<" not in text


def test_a_slider_wipes_the_measurement_over_the_reconstruction(tmp_path: Path):
    save_image(tmp_path / "measured.png", torch.rand(3, 8, 8))
    save_image(tmp_path / "reconstruction.png", torch.rand(3, 8, 8))
    page = Links(page_of(tmp_path, metrics_of("a'b"), single=True))
    assert page.tags.count("input") == 1
    assert page.links[-3:] == ["reconstruction.png", "measured.png", "comparison.png"]
    assert 'class="stack small"' in (tmp_path / "report.html").read_text("utf-8")
    save_image(tmp_path / "reconstruction.png", torch.rand(3, 8, 256))
    assert 'class="stack"' in page_of(tmp_path, metrics_of("a"), single=True)


def test_without_a_picture_of_the_measurement_there_is_no_slider(tmp_path: Path):
    assert "input" not in Links(page_of(tmp_path, metrics_of("a"), single=True)).tags


def test_settings_are_shown_as_text(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("note: <b>$x</b>\n")
    assert "note: &lt;b&gt;$x&lt;/b&gt;" in page_of(tmp_path, metrics_of("a"), single=True)


def test_names_and_reasons_are_text(tmp_path: Path):
    name = "<script>x</script>&'\""
    doubt = {"trust": {"doubt": "<b>far</b>"}, "stop_reason": "<i>"}
    text = page_of(tmp_path, metrics_of(name, **doubt), single=True)
    assert not {"script", "b", "i"} & set(Links(text).tags)
    assert "&lt;b&gt;far&lt;/b&gt;" in text


def test_a_large_folder_shows_the_pictures_of_the_first(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(run_page, "MOST_IMAGES", 2)
    text = page_of(tmp_path, metrics_of("a", "b", "c"))
    assert Links(text).tags.count("img") == 2
    assert "The pictures of 1 more lie in their folders." in text
    assert text.count("<td>30.12</td>") == 3


@pytest.mark.parametrize("file", ["config.yaml", "environment.json", "metrics.json"])
def test_it_leads_to_what_lies_beside_it(tmp_path: Path, file: str):
    assert file in Links(page_of(tmp_path, metrics_of("a"), single=True)).links
