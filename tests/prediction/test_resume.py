import pytest

from clouds.errors import InputError
from clouds.prediction.journal import Entry
from clouds.prediction.resume import Results

KNOWN = {"version": 1, "bbox": (0.0, 1.0), "order": "a"}
ENTRY = Entry(image="a.jpg", plain=[], cleaned=["1 3", "", "", ""])


def started(folder, command="request", known=KNOWN):
    results = Results(folder, command, known)
    results.check()
    results.start(overwrite=False)
    return results


def test_what_is_answered_is_kept_until_all_is(tmp_path):
    started(tmp_path).journal.add([ENTRY])
    again = started(tmp_path)
    assert list(again.journal.entries()) == [ENTRY]
    again.end({"b.jpg": "torn"})
    assert not started(tmp_path).finished([])
    again = started(tmp_path)
    assert "a.jpg" in again.journal
    again.end({}, run=["r"])
    assert [path.name for path in tmp_path.iterdir()] == ["request.json"]
    ended = Results(tmp_path, "request", KNOWN)
    assert (ended.stored["images"], ended.stored["run"]) == (1, ["r"])
    assert ended.finished(["request.json"])
    assert not ended.finished(["submission_post.csv"])


def test_other_settings_are_refused_and_told(tmp_path):
    started(tmp_path).journal.add([ENTRY])
    for change, message in (
        ({"version": 2}, "version 1, not 2"),
        ({"order": "b"}, "other images or another order"),
        ({"bbox": None}, "bbox .*, not null"),
    ):
        with pytest.raises(
            InputError, match=f"predictions: {message}. Give another folder"
        ):
            Results(tmp_path, "request", KNOWN | change).check()
    replaced = Results(tmp_path, "request", KNOWN | {"version": 2})
    replaced.start(overwrite=True)
    assert not len(replaced.journal)


@pytest.mark.parametrize(
    "name", ["submission.csv", "masks.geojson", "predict.json", "predict.jsonl.part"]
)
def test_what_is_of_unknown_settings_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} of unknown settings"):
        started(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_journal_of_which_nothing_can_be_read_is_begun_anew(tmp_path):
    started(tmp_path)
    path = tmp_path / "request.jsonl.part"
    path.write_bytes(path.read_bytes()[:-1])
    assert not len(started(tmp_path).journal)


def test_damaged_results_are_told(tmp_path):
    (tmp_path / "request.json").write_text("{")
    with pytest.raises(InputError, match="request.json is damaged"):
        Results(tmp_path, "request", KNOWN)


def test_a_finished_folder_of_a_version_without_a_setting_is_still_finished(tmp_path):
    results = started(tmp_path)
    results.end({})
    later = Results(tmp_path, "request", {**KNOWN, "places": None})
    assert later.finished([])
    assert not Results(tmp_path, "request", {**KNOWN, "places": "p"}).finished([])


def test_other_places_are_refused_once_the_journal_is_gone(tmp_path):
    results = Results(tmp_path, "request", KNOWN, {"places": "one"})
    results.start(overwrite=False)
    results.end({}, ["b.jpg"])
    mended = Results(tmp_path, "request", KNOWN, {"places": "two"})
    assert not mended.finished([])
    mended.check()
    mended.end({})
    assert Results(tmp_path, "request", KNOWN, {"places": "two"}).finished([])
    with pytest.raises(InputError, match="holds other predictions: other places"):
        Results(tmp_path, "request", KNOWN, {"places": "one"}).check()
