"""Where a result comes from."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from metadip.report import provenance


def test_a_package_that_is_not_installed_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def version(name: str) -> str:
        if name == "learn2learn":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    provenance.save_provenance(tmp_path, config_yaml="seed: 0\n", more=3)
    found = json.loads((tmp_path / "environment.json").read_text())
    assert (found["learn2learn"], found["torch"], found["more"]) == (None, "1.0", 3)
    assert (tmp_path / "config.yaml").read_text() == "seed: 0\n"
