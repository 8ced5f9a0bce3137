import dataclasses
import itertools
import json

import numpy as np
import pytest

from clouds import rle
from clouds.prediction.journal import Entry, Journal

SETTINGS = {"rule": [0.5], "images": "Füße"}


def entry(image, first=1):
    texts = [f"{first} 3", "", f"{first + 9} 1", ""]
    return Entry(image=image, plain=texts, cleaned=texts[::-1], scores=[0.5, 0, 1, 0])


A, B, C = entry("a.jpg"), entry("b.jpg", 5), entry("ç.jpg", 7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def test_entries_are_read_in_the_order_asked_for(path):
    journal = Journal(path)
    assert journal.settings is None
    journal.start(SETTINGS)
    journal.add([A, B])
    journal.add([C])
    for again in (journal, Journal(path)):
        assert (again.settings, len(again)) == (SETTINGS, 3)
        assert "b.jpg" in again
        assert "d.jpg" not in again
        assert list(again.entries()) == [A, B, C]
        assert list(again.entries(["ç.jpg", "d.jpg", "a.jpg"])) == [C, A]


def test_what_is_torn_anywhere_is_cut_off_and_added_again(path):
    journal = Journal(path)
    journal.start(SETTINGS)
    ends = [path.stat().st_size]
    for one in (A, B):
        journal.add([one])
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for (lost, (start, end)), place in itertools.product(
        enumerate(itertools.pairwise(ends)), (0, 1, 20, -1)
    ):
        torn = start + place if place >= 0 else end - 1
        path.write_bytes(whole[:torn])
        resumed = Journal(path)
        assert list(resumed.entries()) == [A, B][:lost]
        resumed.add([A, B][lost:])
        assert path.read_bytes() == whole


def test_a_journal_whose_first_line_is_torn_has_no_settings(path):
    Journal(path).start(SETTINGS)
    path.write_bytes(path.read_bytes()[:-1])
    journal = Journal(path)
    assert (journal.settings, len(journal)) == (None, 0)
    journal.start(SETTINGS)
    journal.add([B])
    assert list(Journal(path).entries()) == [B]


def test_lines_after_damaged_ones_are_not_trusted(path):
    journal = Journal(path)
    journal.start(SETTINGS)
    journal.add([A])
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(40) + b"\n" + whole.splitlines(keepends=True)[1])
    resumed = Journal(path)
    assert list(resumed.entries()) == [A]
    resumed.add([B])
    assert list(Journal(path).entries()) == [A, B]


def test_a_journal_of_an_earlier_version_without_checksums_resumes(path):
    lines = [SETTINGS, *map(dataclasses.asdict, (A, B))]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    old = Journal(path)
    assert old.settings == SETTINGS
    assert list(old.entries()) == [A, B]
    old.add([C])
    assert path.read_text().splitlines()[-1].count('"checksum"') == 1
    assert list(Journal(path).entries()) == [A, B, C]
    # Without a checksum, what cannot be an entry still ends the trusted part.
    path.write_text(json.dumps(SETTINGS) + '\n{"image": "a.jpg", "plain": 3}\n')
    assert len(Journal(path)) == 0


def test_a_journal_begun_anew_forgets_its_entries(path):
    journal = Journal(path)
    journal.start(SETTINGS)
    journal.add([A, B])
    journal.start({})
    assert len(journal) == 0
    assert "a.jpg" not in journal
    assert (Journal(path).settings, len(Journal(path))) == ({}, 0)


def test_masks_are_those_of_the_cleaned_texts():
    assert B.masks((350, 525)).shape == (350, 525, 4)
    for label, text in enumerate(B.cleaned):
        np.testing.assert_array_equal(
            B.masks((350, 525))[..., label], rle.decode(text, (350, 525))
        )
    assert B.masks((350, 525)).sum() == 4
