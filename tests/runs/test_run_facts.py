from pathlib import Path

import pytest

from clouds.errors import InputError
from clouds.runs import run_facts

BAD = [b"{", b"[]", b"\xff{}", b'{"started": 1}', b'{"records": {"folder": "a"}}']
BAD += [b'{"records": []}', b'{"versions": {"keras": 3}}', b'{"best": {"loss": "1"}}']
BAD += [b'{"epochs": "3"}', b"[" * 100_000, b'{"started": "now", "checksum": "0"}']


@pytest.mark.parametrize("contents", BAD)
def test_damaged_facts_are_refused_by_name(tmp_path, contents):
    (tmp_path / run_facts.FILE).write_bytes(contents)
    with pytest.raises(InputError, match=r"run.json is damaged"):
        run_facts.read(tmp_path)
    with pytest.raises(InputError, match=r"run.json is damaged"):
        run_facts.add(tmp_path, {"epochs": 1})


def test_facts_are_added_and_the_start_stays(tmp_path):
    assert run_facts.read(tmp_path) == {}
    run_facts.add(tmp_path, {"started": "now", "epochs": 1})
    run_facts.add(tmp_path, {"started": "later", "epochs": 2})
    assert run_facts.read(tmp_path) == {"started": "now", "epochs": 2}


def write(path, text):
    with run_facts.replacing(path) as part:
        Path(part).write_text(text)


def check(path):
    return run_facts.check_file(path, "Do something.")


def test_a_changed_file_is_refused_unless_no_checksum_is_stored(tmp_path):
    path = tmp_path / "weights"
    path.write_text("of an earlier version")
    check(path)
    for text in ("first", "second"):
        write(path, text)
        check(path)
    path.write_text("secone")
    with pytest.raises(InputError, match=r"weights is damaged .* Do something."):
        check(path)
    (tmp_path / run_facts.FILE).unlink()
    check(path)


def test_a_file_whose_replacement_was_cut_off_is_still_valid(tmp_path):
    path = tmp_path / "weights"
    write(path, "first")
    for text in ("second", "third"):
        before = path.read_text()
        write(path, text)
        path.write_text(before)
        check(path)
    # Damage is not taken for such a file later.
    path.write_text("firsu")
    write(path, "fourth")
    path.write_text("firsu")
    with pytest.raises(InputError, match="weights is damaged"):
        check(path)
