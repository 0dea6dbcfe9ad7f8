"""Logs of an interrupted run are kept when it is resumed."""

from metadip.report import keep_log


def test_earlier_logs_are_numbered_in_order_of_time(tmp_path):
    for text in ("first", "second"):
        (tmp_path / "metrics.csv").write_text(text)
        keep_log(tmp_path)
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "metrics.1.csv").read_text() == "first"
    assert (tmp_path / "metrics.2.csv").read_text() == "second"


def test_a_new_run_has_no_log_to_keep(tmp_path):
    keep_log(tmp_path)
    assert list(tmp_path.iterdir()) == []
