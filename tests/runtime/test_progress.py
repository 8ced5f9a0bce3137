import io
import sys

import pytest

from clouds.runtime import progress


@pytest.fixture
def always(monkeypatch, caplog):
    """Has every step logged."""
    monkeypatch.setattr(progress, "_SECONDS", 0)
    caplog.set_level("INFO", progress.__name__)


def test_without_a_terminal_lines_are_logged(always, caplog, capsys):
    with progress.bar(desc="predict", unit="image", total=9, initial=2) as bar:
        bar.update(3)
        bar.set_postfix_str("loss 0.5", refresh=False)
        bar.update(4)
    *_, middle, last = caplog.messages
    assert middle.startswith("predict: 5 of 9 images, ") and middle.endswith(" left")
    assert " images/s, " in middle
    assert last.endswith("00:00 left, loss 0.5")
    assert capsys.readouterr() == ("", "")


def test_what_is_gone_through_is_counted(always, caplog):
    assert list(progress.bar([5, 6], desc="verify", unit="shard")) == [5, 6]
    assert caplog.messages[-1].startswith("verify: 2 of 2 shards, ")


def test_what_takes_less_than_a_minute_is_not_logged(caplog):
    caplog.set_level("INFO", progress.__name__)
    assert list(progress.bar(range(9), desc="x", unit="y")) == [*range(9)]
    assert caplog.messages == []


def test_on_a_terminal_there_is_a_bar_and_no_line(always, caplog, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress.bar(range(3), desc="predict", unit="image"))
    assert "predict: 100%|" in terminal.getvalue()
    assert caplog.messages == []
