"""Checks a submission as the competition would, and lists its errors.

A submission is the csv of `clouds.data.annotations`, not compressed. Its labels are
those of the sample submission; without one, its own.
"""

import collections
import contextlib
import sys

import numpy as np

from clouds import rle, schema
from clouds.config.prediction import SubmissionCheck
from clouds.data import annotations
from clouds.data.masks import csv_rows
from clouds.data.masks.csv_rows import HEADERS, STANDARD, Fault, Row
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.schema import CLOUDS
from clouds.text import counted

LISTED = 20
"""Maximum number of errors listed, at least one of each kind; the rest are counted."""

_ENOUGH_MASKS = 20


def check(settings: SubmissionCheck) -> None:
    """Prints a summary of a valid submission, or lists the errors of another one.

    Warns of valid content that is hardly intended, such as only empty masks.

    Args:
      settings: the submission, an optional sample submission, and the grid.

    Raises:
      InputError: the file has errors, which are listed on stderr before, or it or the
        sample cannot be read.
    """
    path = settings.file
    sample = settings.sample_submission and annotations.read(settings.sample_submission)
    header = sample.header if sample else STANDARD
    if settings.submission_format not in (None, header.form):
        header = HEADERS[settings.submission_format]
    labels = sample.labels if sample else ()
    rows, faults, _ = csv_rows.read_rows(path, labels=labels, strict=header)
    if not rows and not faults:
        raise InputError(f"{path} has no rows. It needs one per image and label.")
    if not sample:
        labels = annotations.find_labels(rows, path) if rows else CLOUDS.labels
    faults += annotations.check_names(rows, path, labels, header)
    if sample:
        faults += _check_order(rows, path, sample)
    runs, malformed = _parse_runs(rows, settings)
    faults += malformed
    if faults:
        _print(faults)
        raise InputError(
            f"{path} has {counted(len(faults), 'error')}, listed above. Correct them, "
            "and check again."
        )
    for warning in _warnings(runs, settings.grid, labels):
        print(f"submit-check: warning: {warning}", file=sys.stderr)
    print(_summary(runs, settings, labels))


def _check_order(rows: list[Row], path: str, sample: Table) -> list[Fault]:
    expected = {
        f"{image}_{label}": int(number)
        for image, numbers in zip(sample.images, sample.rows, strict=True)
        for label, number in zip(sample.labels, numbers, strict=True)
        if number
    }
    expected = dict(sorted(expected.items(), key=lambda item: item[1]))
    numbers = {row.name: row.number for row in reversed(rows)}
    missing = [name for name in expected if name not in numbers]
    extra = [row for row in rows if row.name not in expected]
    common = [name for name in expected if name in numbers]
    own_order = sorted(common, key=numbers.get)
    moved = [pair for pair in zip(own_order, common, strict=True) if pair[0] != pair[1]]
    start = f"{path} must have the rows of {sample.path}, in its order:"
    faults = []
    if missing:
        number = expected[missing[0]]
        message = (
            f"{start} {counted(len(missing), 'row')} missing, first {missing[0]}, row "
            f"{number} of the sample. Add them."
        )
        faults.append(Fault("missing rows", number, message))
    if extra:
        number = extra[0].number
        message = (
            f"{start} {counted(len(extra), 'additional row')}, first "
            f"'{extra[0].name}', row {number}. Remove them."
        )
        faults.append(Fault("extra rows", number, message))
    if moved:
        name, instead = moved[0]
        message = (
            f"{start} {counted(len(moved), 'row')} in another order, first row "
            f"{numbers[name]} with {name} instead of {instead}, row "
            f"{expected[instead]} of the sample. Sort them like the sample."
        )
        faults.append(Fault("order", numbers[name], message))
    return faults


def _parse_runs(
    rows: list[Row], settings: SubmissionCheck
) -> tuple[dict[Row, np.ndarray], list[Fault]]:
    """Parses the runs of each row, int64[R, 2]; returns them and the errors."""
    runs, faults = {}, []
    for row in rows:
        where = f"{settings.file}, row {row.number}"
        try:
            runs[row] = rle.parse(row.text, settings.grid, where=where)
        except InputError as error:
            fault = Fault("runs", row.number, str(error))
            if settings.grid != schema.GRID and _fits(row.text, schema.GRID):
                message = (
                    f"{where}: runs of a grid of {_shown(schema.GRID)} instead of "
                    f"{_shown(settings.grid)}. Resize the mask before encoding it."
                )
                fault = Fault("runs of another grid", row.number, message)
            faults.append(fault)
    return runs, faults


def _fits(text: str, grid: rle.Size) -> bool:
    with contextlib.suppress(InputError):
        rle.parse(text, grid)
        return True
    return False


def _print(faults: list[Fault]) -> None:
    counts = collections.Counter()
    ranked = []
    for fault in sorted(faults, key=lambda fault: fault.row):
        ranked.append((counts[fault.kind], fault))
        counts[fault.kind] += 1
    # The first error of each kind takes precedence over the second of any.
    listed = [fault for _, fault in sorted(ranked, key=lambda pair: pair[0])[:LISTED]]
    for fault in sorted(listed, key=lambda fault: fault.row):
        print(f"submit-check: {' '.join(fault.message.split())}", file=sys.stderr)
    if len(faults) > len(listed):
        kinds = ", ".join(f"{kind} {number}" for kind, number in counts.items())
        more = counted(len(faults) - len(listed), "more error")
        print(f"submit-check: … and {more}; all by kind: {kinds}", file=sys.stderr)


def _warnings(
    runs: dict[Row, np.ndarray], grid: rle.Size, labels: tuple[str, ...]
) -> list[str]:
    masks = {row: parsed for row, parsed in runs.items() if len(parsed)}
    if not masks:
        return ["all masks are empty. Check thresholds and minimum areas."]
    warnings = []
    drawn = {row.label for row in masks}
    if empty := [label for label in labels if label not in drawn]:
        warnings.append(f"all masks of {', '.join(empty)} are empty.")
    if len(masks) == len(runs):
        warnings.append("no mask is empty, as if every image had all labels.")
    last = max(int(parsed[-1].sum()) - 1 for parsed in masks.values())
    height, width = schema.NETWORK_SIZE
    if len(masks) >= _ENOUGH_MASKS and last <= height * width < grid[0] * grid[1]:
        warnings.append(
            f"no run ends after pixel {last}, as on a grid of "
            f"{_shown(schema.NETWORK_SIZE)} instead of {_shown(grid)}. Resize masks "
            "before encoding them."
        )
    return warnings


def _summary(
    runs: dict[Row, np.ndarray], settings: SubmissionCheck, labels: tuple[str, ...]
) -> str:
    areas = {label: [] for label in labels}
    for row, parsed in runs.items():
        areas.setdefault(row.label, []).append(int(parsed[:, 1].sum()))
    pixels = settings.grid[0] * settings.grid[1]
    parts = []
    for label, label_areas in areas.items():
        masks = [area for area in label_areas if area]
        part = f"{label} {len(masks) / max(len(label_areas), 1):.1%}"
        if masks:
            part += f" (mean area {np.mean(masks) / pixels:.1%})"
        parts.append(part)
    total = sum(bool(area) for label_areas in areas.values() for area in label_areas)
    sample = settings.sample_submission
    order = f" in the order of {sample}," if sample else ""
    return (
        f"{settings.file}: valid; {counted(len(runs), 'row')},{order} "
        f"{counted(len({row.image for row in runs}), 'image')}, "
        f"{counted(total, 'mask')} not empty: {', '.join(parts)}; areas are fractions "
        f"of {_shown(settings.grid)} pixels."
    )


def _shown(size: rle.Size) -> str:
    return "x".join(map(str, size))
