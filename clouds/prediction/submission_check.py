"""Checks a submission as the competition would, and names every fault of it.

A submission is the csv of `clouds.data.annotations`, uncompressed, whose runs count on
`schema.SUBMISSION_SIZE`. Rows are numbered as in an editor; the header is row 1.
"""

import collections
import contextlib
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds import rle, schema
from clouds.config.prediction import SubmissionCheck
from clouds.data import annotations
from clouds.errors import InputError
from clouds.text import counted

MOST = 20
"""Faults that are listed; of each kind at least one, the others are counted."""

_ENOUGH = 20


class Fault(NamedTuple):
    """One fault of a submission.

    Attributes:
      kind: what it is, in a word or two; faults are counted by it.
      row: where it is.
      text: what was expected, what was received, where, and what to do.
    """

    kind: str
    row: int
    text: str


class Row(NamedTuple):
    """One row of a submission: its number, its two fields."""

    number: int
    name: str
    text: str


def check(settings: SubmissionCheck) -> None:
    """Prints what a valid submission holds, or every fault of another.

    Warns of what is allowed but hardly meant, such as masks that are all empty.

    Args:
      settings: the submission, the sample that it must follow, and its grid.

    Raises:
      InputError: the file has faults, which are listed on stderr before, or it or
        the sample cannot be read.
    """
    path = settings.file
    rows, faults = _rows(path)
    faults += _name_faults(rows, path)
    if settings.sample_submission:
        faults += _order_faults(
            rows, path, annotations.read(settings.sample_submission)
        )
    runs, broken = _runs(rows, settings)
    faults += broken
    if faults:
        _list(faults)
        raise InputError(
            f"A submission must be without faults. Received: {len(faults)}, in {path}, "
            "as listed above. Mend them, and check again."
        )
    for warning in _warnings(runs, settings.grid):
        print(f"submit-check: warning: {warning}", file=sys.stderr)
    print(_summary(runs, settings))


def _rows(path: str) -> tuple[list[Row], list[Fault]]:
    lines = _text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    fields = [
        [field.removeprefix('"').removesuffix('"') for field in line.split(",")]
        for line in (line.removesuffix("\r") for line in lines)
    ]
    faults = []
    if not fields or fields[0] != annotations.COLUMNS:
        received = f"'{lines[0].strip()[:80]}'" if lines else "an empty file"
        names = ",".join(annotations.COLUMNS)
        text = f"The header must be {names}. Received: {received}, in {path}, row 1."
        if not fields or len(fields[0]) != len(annotations.COLUMNS):
            # Without the two columns all rows are at fault, which tells no more.
            raise InputError(f"{text} Write those two columns, and no index.")
        faults.append(Fault("header", 1, f"{text} Correct it."))
    if len(fields) == 1:
        raise InputError(
            f"A submission must have a row for each image and label. Received: none, "
            f"in {path}."
        )
    rows = []
    for number, row in enumerate(fields[1:], 2):
        if len(row) == len(annotations.COLUMNS):
            rows.append(Row(number, *row))
            continue
        received = f"{len(row)} fields" if row != [""] else "an empty line"
        text = (
            f"A row must have two fields. Received: {received}, in {path}, row "
            f"{number}. Put one comma after the label, and remove empty lines."
        )
        faults.append(Fault("fields", number, text))
    return rows, faults


def _text(path: str) -> str:
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise InputError(
            f"FILE must be a submission's csv. Received: '{path}', which is no file. "
            "Check the path."
        )
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    if content.startswith(b"\xef\xbb\xbf"):
        raise InputError(
            "A submission must be UTF-8 text without a byte order mark. Received: "
            f"one, at the start of {path}. Write it with the encoding utf-8."
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"A submission must be UTF-8 text. Received: byte "
            f"0x{content[error.start]:02x}, in {path}, row {row}. Write it with the "
            "encoding utf-8; unpack it if it is compressed."
        ) from error


def _name_faults(rows: list[Row], path: str) -> list[Fault]:
    faults, first = [], {}
    for row in rows:
        image, _, label = row.name.rpartition("_")
        if label not in schema.LABELS or not image:
            text = (
                f"Cloud label must be one of {', '.join(schema.LABELS)}. Received: "
                f"'{label}', in {path}, row {row.number}. Check that its first column "
                "reads <image>.jpg_<label>."
            )
            faults.append(Fault("label", row.number, text))
        elif row.name in first:
            text = (
                f"Each image and label must have one row. Received: {row.name} twice, "
                f"in {path}, rows {first[row.name]} and {row.number}. Remove one of "
                "them."
            )
            faults.append(Fault("twice", row.number, text))
        else:
            first[row.name] = row.number
    return faults + _incomplete(first, path)


def _incomplete(numbers: dict[str, int], path: str) -> list[Fault]:
    begins = {}
    for name, number in numbers.items():
        begins.setdefault(name.rpartition("_")[0], number)
    return [
        Fault(
            "label without row",
            number,
            "Each image must have a row for each label. Received: none for "
            f"{image}_{label}, in {path}; {image} begins in row {number}. Add it, "
            "with an empty second column if the image lacks the label.",
        )
        for image, number in begins.items()
        for label in schema.LABELS
        if f"{image}_{label}" not in numbers
    ]


def _order_faults(rows: list[Row], path: str, sample: annotations.Table) -> list[Fault]:
    wanted = {
        f"{image}_{label}": int(number)
        for image, numbers in zip(sample.images, sample.rows, strict=True)
        for label, number in zip(schema.LABELS, numbers, strict=True)
    }
    wanted = dict(sorted(wanted.items(), key=lambda item: item[1]))
    found = {row.name: row.number for row in reversed(rows)}
    missing = [name for name in wanted if name not in found]
    extra = [row for row in rows if row.name not in wanted]
    common = [name for name in wanted if name in found]
    ours = sorted(common, key=found.get)
    moved = [pair for pair in zip(ours, common, strict=True) if pair[0] != pair[1]]
    start = f"Rows must be those of {sample.path}, in its order. Received:"
    faults = []
    if missing:
        number = wanted[missing[0]]
        text = (
            f"{start} {counted(len(missing), 'row')} missing, in {path}, the first of "
            f"them {missing[0]}, row {number} of the sample. Add them."
        )
        faults.append(Fault("missing rows", number, text))
    if extra:
        number = extra[0].number
        text = (
            f"{start} {counted(len(extra), 'row')} that it lacks, in {path}, the first "
            f"of them '{extra[0].name}', row {number}. Remove them."
        )
        faults.append(Fault("extra rows", number, text))
    if moved:
        name, instead = moved[0]
        text = (
            f"{start} another order in {counted(len(moved), 'row')}, in {path}, the "
            f"first of them row {found[name]} with {name} instead of {instead}, row "
            f"{wanted[instead]} of the sample. Sort them like the sample."
        )
        faults.append(Fault("order", found[name], text))
    return faults


def _runs(rows: list[Row], settings) -> tuple[dict[Row, np.ndarray], list[Fault]]:
    """Parses all texts: int64[R, 2] of each row without a fault, and the faults."""
    runs, faults = {}, []
    for row in rows:
        where = f"{settings.file}, row {row.number}"
        try:
            runs[row] = rle.parse(row.text, settings.grid, where=where)
        except InputError as error:
            fault = Fault("runs", row.number, str(error))
            if settings.grid != schema.GRID and _fits(row.text, schema.GRID):
                text = (
                    f"Runs must count on {_size(settings.grid)} pixels. Received: runs "
                    f"that fit {_size(schema.GRID)}, in {where}. Resize the mask "
                    "before encoding it."
                )
                fault = Fault("runs of another grid", row.number, text)
            faults.append(fault)
    return runs, faults


def _fits(text: str, grid: rle.Size) -> bool:
    with contextlib.suppress(InputError):
        rle.parse(text, grid)
        return True
    return False


def _list(faults: list[Fault]) -> None:
    seen = collections.Counter()
    ranked = []
    for fault in sorted(faults, key=lambda fault: fault.row):
        ranked.append((seen[fault.kind], fault))
        seen[fault.kind] += 1
    # The first of every kind come before the second of any.
    listed = [fault for _, fault in sorted(ranked, key=lambda pair: pair[0])[:MOST]]
    for fault in sorted(listed, key=lambda fault: fault.row):
        print(f"submit-check: {' '.join(fault.text.split())}", file=sys.stderr)
    if len(faults) > len(listed):
        kinds = ", ".join(f"{kind} {number}" for kind, number in seen.items())
        more = counted(len(faults) - len(listed), "more fault")
        print(f"submit-check: … and {more}; all by kind: {kinds}", file=sys.stderr)


def _warnings(runs: dict[Row, np.ndarray], grid: rle.Size) -> list[str]:
    masks = {row: found for row, found in runs.items() if len(found)}
    if not masks:
        return ["all masks are empty. Check thresholds and minimum sizes."]
    warnings = []
    full = {row.name.rpartition("_")[2] for row in masks}
    empty = [label for label in schema.LABELS if label not in full]
    if empty:
        warnings.append(f"all masks of {', '.join(empty)} are empty.")
    if len(masks) == len(runs):
        warnings.append("no mask is empty, as if every image had all labels.")
    last = max(int(found[-1].sum()) - 1 for found in masks.values())
    height, width = schema.NETWORK_SIZE
    if len(masks) >= _ENOUGH and last <= height * width < grid[0] * grid[1]:
        warnings.append(
            f"no run ends beyond pixel {last}, as if they counted on "
            f"{_size(schema.NETWORK_SIZE)} pixels instead of {_size(grid)}. Resize "
            "masks before encoding them."
        )
    return warnings


def _summary(runs: dict[Row, np.ndarray], settings) -> str:
    areas = {label: [] for label in schema.LABELS}
    for row, found in runs.items():
        areas[row.name.rpartition("_")[2]].append(int(found[:, 1].sum()))
    pixels = settings.grid[0] * settings.grid[1]
    parts = []
    for label, of_label in areas.items():
        masks = [area for area in of_label if area]
        part = f"{label} {len(masks) / len(of_label):.1%}"
        if masks:
            part += f" (mean area {np.mean(masks) / pixels:.1%})"
        parts.append(part)
    total = sum(bool(area) for of_label in areas.values() for area in of_label)
    sample = settings.sample_submission
    order = f" in the order of {sample}," if sample else ""
    return (
        f"{settings.file}: valid; {counted(len(runs), 'row')},{order} "
        f"{counted(len(runs) // len(schema.LABELS), 'image')}, "
        f"{counted(total, 'mask')} not empty: "
        f"{', '.join(parts)}; areas are shares of {_size(settings.grid)} pixels."
    )


def _size(size: rle.Size) -> str:
    return "x".join(map(str, size))
