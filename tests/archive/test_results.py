import csv
import json

import pytest

from clouds.archive import results
from clouds.errors import InputError
from clouds.schema import MaskSpec

SPEC = MaskSpec(("A", "B"), (2, 3))
GOOD = {"image": "a.jpg", "rle": ["1 2", ""], "scores": [0.5, 0.25]}
BAD = {"image": "b.jpg", "failed": "b.jpg cannot be decoded"}


def test_a_chunk_is_read_in_the_order_of_its_images(tmp_path):
    results.write_chunk(str(tmp_path), 3, ["b.jpg", "a.jpg"], [GOOD, BAD], SPEC)
    assert results.read_chunk(str(tmp_path), 3) == [BAD, GOOD]
    assert results.read_chunk(str(tmp_path), 4) is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([GOOD], "1 results for 2 images; 1 have none, first .'b.jpg'"),
        ([GOOD, GOOD, BAD], "3 results for 2 images"),
        ([GOOD | {"rle": ["1 2"]}, BAD], "a.jpg has 1 masks"),
        ([GOOD | {"rle": ["7 1", ""]}, BAD], "a.jpg"),
    ],
)
def test_anything_but_one_valid_result_per_image_is_a_fault(tmp_path, found, message):
    with pytest.raises((RuntimeError, InputError), match=message):
        results.write_chunk(str(tmp_path), 0, ["a.jpg", "b.jpg"], found, SPEC)
    assert not list(tmp_path.iterdir())


def test_a_damaged_chunk_is_named(tmp_path):
    results.write_chunk(str(tmp_path), 0, ["a.jpg"], [GOOD], SPEC)
    path = tmp_path / "chunk-00000.json"
    path.write_text(path.read_text().replace("1 2", "1 3"))
    with pytest.raises(InputError, match=r"chunk-00000\.json is damaged"):
        results.read_chunk(str(tmp_path), 0)


def test_tables_have_a_row_per_mask_score_and_failure(tmp_path):
    counts = results.write_tables(str(tmp_path), iter([GOOD, BAD]), SPEC.labels)
    assert counts == (1, 1)
    with (tmp_path / results.SUBMISSION).open() as file:
        assert [*csv.reader(file)] == [
            ["Image_Label", "EncodedPixels"],
            ["a.jpg_A", "1 2"],
            ["a.jpg_B", ""],
        ]
    assert (tmp_path / results.SCORES).read_text() == (
        "image,A,B\na.jpg,0.500000,0.250000\n"
    )
    assert (tmp_path / results.FAILED).read_text() == (
        "image,reason\nb.jpg,b.jpg cannot be decoded\n"
    )


def test_clearing_leaves_other_files(tmp_path):
    results.write_chunk(str(tmp_path), 0, ["a.jpg"], [GOOD], SPEC)
    results.write_tables(str(tmp_path), iter([GOOD]), SPEC.labels)
    (tmp_path / "notes.json").write_text(json.dumps({}))
    results.clear(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]
