"""Submissions broken in every way, each with its own reason."""

import gzip
import re

import numpy as np
import pytest

from clouds import rle, schema
from clouds.cli import main

HEADER = "Image_Label,EncodedPixels"
IMAGES = ("a.jpg", "b_1.jpg", "c.jpg")
NAMES = [f"{image}_{label}" for image in IMAGES for label in schema.CLOUDS.labels]
ROWS = [f"{name},{'' if n % 3 else '1 350 700 2'}" for n, name in enumerate(NAMES)]
"""Rows 2 to 13 of a valid submission."""


def write(path, rows=ROWS, header=HEADER):
    path.write_text("".join(f"{line}\n" for line in (header, *rows)))
    return str(path)


def replaced(place, row):
    return [*ROWS[:place], row, *ROWS[place + 1 :]]


@pytest.fixture
def check(tmp_path, capsys):
    """Checks rows or bytes: the exit code, stdout and the lines of stderr."""

    def run(content, *flags, header=HEADER):
        path = tmp_path / "submission.csv"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write(path, content, header)
        code = main.main(["submit-check", str(path), *flags])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


def test_a_valid_submission_is_summarised(check, tmp_path):
    sample = write(tmp_path / "sample.csv", [f"{name},1 1" for name in NAMES])
    code, out, err = check(ROWS, "--sample-submission", sample)
    assert (code, err) == (0, [])
    assert "12 rows" in out
    assert "3 images, 4 masks not empty" in out
    assert "Fish 33.3% (mean area 0.2%)" in out
    assert "in the order of" in out


def test_the_public_submission_is_valid(real_data, capsys):
    path = real_data / "submissions/public_350x525.csv"
    if not path.is_file():
        pytest.skip(f"no public submission at {path}")
    assert main.main(["submit-check", str(path)]) == 0
    assert "14,792 rows, 3,698 images, 871 masks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", f"is empty. It needs the columns {HEADER}"),
        (f"{HEADER}\n".encode(), "has no rows"),
        (b"id,Image_Label,EncodedPixels\n0,a.jpg_Fish,\n", "Received: 'id,Image_Label"),
        (
            f"{HEADER}\na.jpg_F\xefsh,\n".encode("latin-1"),
            "row 2: byte 0xef is not UTF-8",
        ),
        (HEADER.encode("utf-16"), "row 1: byte 0xff is not UTF-8"),
        (HEADER.encode("utf-8-sig"), "starts with a byte order mark"),
        (gzip.compress(b"x", mtime=0), "is not UTF-8.* is compressed, decompress it"),
    ],
)
def test_a_file_that_is_no_submission_is_rejected_with_the_reason(
    check, content, reason
):
    code, out, err = check(content)
    assert (code, out, len(err)) == (2, "", 1)
    assert re.search(reason, err[0])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            replaced(3, "a.jpg_Suger,"),
            "row 5: unknown label 'Suger'. Expected one of Fish",
        ),
        (replaced(3, "Sugar,1 1"), "row 5: unknown label 'Sugar'"),
        (replaced(3, "a.jpg_Sugar"), "row 5: 1 fields instead of 2"),
        (replaced(3, "a.jpg_Sugar,1,2"), "row 5: 3 fields"),
        ([*ROWS, ""], "row 14: an empty line"),
        ([*ROWS, ROWS[2]], "row 14: duplicate of row 4, a.jpg_Gravel"),
        (ROWS[:-1], "no row for c.jpg_Sugar; c.jpg starts in row 10"),
        (replaced(0, "a.jpg_Fish,1 2 3"), "row 2, run 2: the last run has no length"),
        (replaced(0, "a.jpg_Fish,1.0 2.0"), "not an integer. Received: '1.0'"),
        (replaced(0, "a.jpg_Fish,nan"), "not an integer. Received: 'nan'"),
        (replaced(0, "a.jpg_Fish,0 2"), "row 2, run 1: a start must be 1"),
        (replaced(0, "a.jpg_Fish,5 0"), "row 2, run 1: a length must be"),
        (replaced(0, "a.jpg_Fish,1 5 3 1"), "row 2, run 2: .* must not overlap"),
        (replaced(0, "a.jpg_Fish,9 2 3 1"), "row 2, run 2: runs must be sorted"),
        (
            replaced(0, "a.jpg_Fish,9999999 1"),
            "row 2, run 1: the run exceeds the 350x525",
        ),
        (
            replaced(0, "a.jpg_Fish,183751 5"),
            "row 2: runs of a grid of 1400x2100 instead of 350",
        ),
    ],
)
def test_each_error_has_its_own_reason_and_row(check, rows, reason):
    code, out, err = check(rows)
    assert (code, out) == (2, "")
    assert re.search(reason, "\n".join(err[:-1]))
    assert re.search(r"error: .* has \d errors?, listed above", err[-1])


def test_a_wrong_header_is_an_error_in_addition_to_those_of_the_rows(check):
    code, _, err = check(replaced(4, "b_1.jpg_Fish,0 1"), header="Image,EncodedPixels")
    assert (code, len(err)) == (2, 3)
    assert "Received: 'Image,EncodedPixels'" in err[0]
    assert "row 6" in err[1]


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        (ROWS[4:], ["4 rows missing, first a.jpg_Fish, row 2 of the sample"]),
        (
            [*ROWS, *(f"d.jpg_{label}," for label in schema.CLOUDS.labels)],
            ["4 additional rows, first 'd.jpg_Fish', row 14"],
        ),
        (
            [ROWS[1], ROWS[0], *ROWS[2:]],
            ["2 rows in another order, .* with a.jpg_Flower instead of a.jpg_Fish"],
        ),
        (
            [
                *ROWS[8:],
                *(f"d.jpg_{label}," for label in schema.CLOUDS.labels),
                *ROWS[4:8],
            ],
            ["4 rows missing", "4 additional rows", "8 rows in another order"],
        ),
    ],
)
def test_rows_must_be_those_of_the_sample_in_its_order(check, tmp_path, rows, reasons):
    sample = write(tmp_path / "sample.csv", [f"{name},1 1" for name in NAMES])
    assert check(rows)[0] == 0
    code, _, err = check(rows, "--sample-submission", sample)
    assert (code, len(err)) == (2, len(reasons) + 1)
    for reason in reasons:
        assert re.search(reason, "\n".join(err))


def test_many_errors_are_counted_and_the_first_of_every_kind_listed(check):
    rows = [f"{n}.jpg_{label},0 1" for n in range(9) for label in schema.CLOUDS.labels]
    code, _, err = check([*rows, "9.jpg_Fsh,"])
    assert (code, len(err)) == (2, 22)
    assert "'Fsh'" in err[19]
    assert err[20].endswith("… and 17 more errors; all by kind: runs 36, label 1")
    assert "has 37 errors, listed above" in err[21]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_quotes_and_either_line_end_are_allowed(check, end, quote):
    fields = [line.split(",") for line in (HEADER, *ROWS)]
    lines = [",".join(f"{quote}{field}{quote}" for field in row) for row in fields]
    assert check("".join(line + end for line in lines).encode())[::2] == (0, [])
    assert check(end.join(lines).encode())[0] == 0


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ([f"{name}," for name in NAMES], "all masks are empty"),
        ([f"{name},1 1" for name in NAMES], "no mask is empty"),
        (ROWS[:1] + [f"{name}," for name in NAMES[1:]], "Flower, Gravel, Sugar are em"),
    ],
)
def test_content_that_is_hardly_intended_is_warned_of(check, rows, warning):
    code, out, err = check(rows)
    assert (code, len(err)) == (0, 1)
    assert "valid" in out
    assert err[0].startswith("submit-check: warning: ")
    assert warning in err[0]


def test_runs_on_the_networks_grid_are_warned_of(check):
    mask = np.zeros(schema.NETWORK_SIZE, bool)
    mask[100:, 200:] = True
    texts = [rle.encode(mask), ""]
    names = [f"{n}.jpg_{label}" for n in range(10) for label in schema.CLOUDS.labels]
    rows = [f"{name},{texts[n // 5 % 2]}" for n, name in enumerate(names)]
    code, _, err = check(rows)
    assert (code, len(err)) == (0, 1)
    assert "after pixel 153600, as on a grid of 320x480 instead of 350" in err[0]
    assert check(rows, "--grid", "320x480")[2] == []


def test_another_grid_may_be_given(check):
    rows = replaced(0, "a.jpg_Fish,2939999 2")
    assert check(rows, "--grid", "1400x2100")[0] == 0
    assert "instead of 14x21" in check(rows, "--grid", "14x21")[2][0]


def test_a_name_with_a_comma_is_valid_if_quoted(check):
    rows = [f'"a,b.jpg_{label}",' for label in schema.CLOUDS.labels]
    assert check(rows)[0] == 0


def test_a_missing_file_or_sample_is_named(check, tmp_path, capsys):
    assert main.main(["submit-check", str(tmp_path / "none.csv")]) == 2
    assert "none.csv' does not exist" in capsys.readouterr().err
    assert check(ROWS, "--sample-submission", str(tmp_path))[0] == 2


def test_blanks_are_an_empty_field(tmp_path, capsys):
    rows = [f"a.jpg_{label}, \n" for label in schema.CLOUDS.labels[1:]]
    path = tmp_path / "submission.csv"
    path.write_text("Image_Label,EncodedPixels\na.jpg_Fish,1 5\n" + "".join(rows))
    assert main.main(["submit-check", str(path)]) == 0
    assert "1 mask not empty" in capsys.readouterr().out
