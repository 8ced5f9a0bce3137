"""Runs side by side: figures, paired differences to the first one, curves overlaid.

Only what `bin/evaluate` and `bin/train` left is read. The intervals of differences are
by the bootstrap over images, each resample drawing the same ones for both runs: what
makes an image hard for both then drops out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clouds import config, schema
from clouds.config.rule import area
from clouds.errors import InputError
from clouds.evaluation import results, scores
from clouds.evaluation.results import Evaluation
from clouds.report import charts, html, series
from clouds.report.charts import Line
from clouds.text import counted, decimal

_PAGE = "compare.html"
_COLUMNS = [*schema.LABELS, "mean"]
_SAME = {"split": "split", "sha256": "records"}


def compare(settings: config.Comparison) -> pd.DataFrame:
    """Prints a table and writes the page.

    Args:
      settings: which runs.

    Returns:
      A row a label and one for their mean, of post-processed masks the competition's
      Dice of each run, and of all but the first the difference and its interval.

    Raises:
      InputError: a run was not evaluated, or not on the same images; or the page
        would replace something else.
    """
    path = Path(settings.out)
    html.check(_PAGE, path)
    found = [_evaluated(folder) for folder in settings.run]
    for other in found[1:]:
        _check(found[0], other)
    differences = [_differences(found[0].images, each.images) for each in found[1:]]
    histories = [_history(each) for each in found]
    table = _table(found, differences)
    facts = found[0].facts
    doubts = _doubts(found)
    what = f"{counted(facts['images'], 'image')} of the {facts['split']} split"
    size = html.write(
        _PAGE,
        path,
        title="Runs compared",
        what=what,
        runs=settings.run,
        rows=_rows(found),
        doubts=doubts,
        evaluations=found,
        differences=[scores.named(each) for each in differences],
        charts=_charts(settings.run, found, histories),
    )
    print(f"Competition's Dice of post-processed masks on {what};")
    print(f"differences to {settings.run[0]} with paired 95 % intervals:")
    print(table.to_string(float_format="{:.4f}".format))
    print("".join(f"{doubt}\n" for doubt in doubts), end="")
    print(f"{path}: {size / 1e6:.1f} MB")
    return table


def _evaluated(folder: str) -> Evaluation:
    found = results.read(folder)
    if not Path(folder).is_dir():
        raise InputError(
            f"Runs must be folders. Received: '{folder}', which is none. Check its "
            "name."
        )
    if found is None:
        raise InputError(
            f"Runs must have been evaluated. Received: '{folder}', without "
            f"metrics.json. bin/evaluate --records DIR --run {folder} does it."
        )
    return found


def _history(found: Evaluation) -> pd.DataFrame | None:
    """That of the run; of several that were evaluated together there is none."""
    runs = found.facts["runs"]
    own = series.read_history(found.folder) if len(runs) == 1 else None
    # Figures may lie elsewhere than the run that they are of.
    return series.read_history(runs[0]) if own is None and len(runs) == 1 else own


def _check(first: Evaluation, other: Evaluation) -> None:
    for key, name in _SAME.items():
        if first.facts[key] != other.facts[key]:
            shown = [f"{each.facts[name]} ({each.folder})" for each in (first, other)]
            raise InputError(
                f"Runs must be evaluated on the same {name}. Received: "
                f"{' and '.join(shown)}{', of other contents' * (key == 'sha256')}. "
                "Evaluate both on one (bin/evaluate --records DIR --split SPLIT)."
            )
    same = set(first.images.names) == set(other.images.names)
    if not same or len(first.images.names) != len(other.images.names):
        raise InputError(
            "Runs must be evaluated on the same images. Received: "
            f"{counted(len(first.images.names), 'image')} of folds "
            f"{first.facts['folds']} ({first.folder}) and "
            f"{len(other.images.names)} of folds {other.facts['folds']} "
            f"({other.folder}). Compare runs of one fold, or of all folds evaluated "
            "together."
        )


def _differences(first, other) -> dict[str, np.ndarray]:
    """Figures of the other less the first's: float64[C + 1, 3] by name."""
    place = {name: k for k, name in enumerate(other.names)}
    order = [place[name] for name in first.names]
    arranged = (part[order] for part in other[1:])
    other = type(other)(first.names, *arranged)

    def compute(weights):
        here, there = scores.figures(first, weights), scores.figures(other, weights)
        return {name: there[name] - value for name, value in here.items()}

    found = scores.intervals(compute, len(first.names))
    # Of images in another order sums differ in their last bits.
    return {name: values.round(6) for name, values in found.items()}


def _table(found: Sequence[Evaluation], differences) -> pd.DataFrame:
    columns = {}
    for k, each in enumerate(found):
        dice = each.facts["figures"]["dice_post"]
        columns[each.folder] = [dice[label]["value"] for label in _COLUMNS]
        if k:
            rows = differences[k - 1]["dice_post"]
            columns[f"difference {k}" if len(found) > 2 else "difference"] = [
                "{} [{}, {}]".format(*(decimal(number, 4, "+") for number in row))
                for row in rows
            ]
    return pd.DataFrame(columns, _COLUMNS)


def _doubts(found: Sequence[Evaluation]) -> list[str]:
    """Says which runs' figures may look better than they are."""
    doubts = [
        f"The rule of {each.folder} was tuned on these very images, which flatters it."
        for each in found
        if each.facts["tuned_on_these_images"]
    ]
    for each in found:
        runs = [each.folder] if _of_itself(each) else each.facts["runs"]
        doubts += results.of_other_records(runs, each.facts["sha256"])
        doubts += [
            f"{folder} has other weights now than were measured: training went on. "
            "Evaluate it again."
            for folder in results.outdated(each.facts, runs)
        ]
    return [*dict.fromkeys(doubts)]


def _rows(found: Sequence[Evaluation]) -> dict[str, dict[str, str]]:
    rows = {each.folder: _row(each.facts) for each in found}
    if not all(map(_of_itself, found)):
        for each in found:
            rows[each.folder]["runs"] = ", ".join(each.facts["runs"])
    return rows


def _of_itself(found: Evaluation) -> bool:
    """Whether figures are of the run in whose folder they lie, and of it alone."""
    is_run = Path(found.folder, config.FILE).is_file()
    return is_run and len(found.facts["runs"]) == 1


def _row(facts: dict) -> dict[str, str]:
    rule = facts["rule"]
    return {
        "flips": "yes" if facts["flips"] else "no",
        "rule": facts["rule_source"]
        + ", on these images" * facts["tuned_on_these_images"],
        "thresholds": ", ".join(f"{value:.2f}" for value in rule["thresholds"]),
        "minimum areas": ", ".join(map(area, rule["min_sizes"])),
    }


def _charts(runs, found, histories) -> dict[str, list[charts.Chart]]:
    """Charts by heading; a run is told by its dashes, a label by its colour."""
    facts = [(k, run, each.facts) for k, (run, each) in _numbered(runs, found)]
    epochs = [(k, run, each) for k, (run, each) in _numbered(runs, histories)]
    epochs = [row for row in epochs if row[2] is not None]

    def of_labels(make, axes, others=()):
        lines = [
            [make(each, label, run, colour=k, dash=dash) for dash, run, each in facts]
            for k, label in enumerate(schema.LABELS)
        ]
        square = {"x_range": (0, 1), "y_range": (0, 1)}
        return [
            charts.lines(label, [*others, *some], axes, **square)
            for label, some in zip(schema.LABELS, lines, strict=True)
        ]

    def training(column, title):
        lines = [
            series.history(each, f"val_{column}", run, dash=dash)
            for dash, run, each in epochs
        ]
        axes = "epoch", title.lower()
        return charts.lines(f"{title}, validation", lines, axes, whole=True)

    def pixels(facts, *names, **style):
        return series.calibration(facts, "pixels", *names, **style)

    axes = "mean probability", "share that is of the label"
    even = Line("as it should be", [0, 1], [0, 1], dash=5)
    shown = {
        "Presence of labels": of_labels(
            series.precision_recall, ("recall", "precision")
        ),
        "Calibration of pixels": of_labels(pixels, axes, [even]),
    }
    if epochs:
        shown["Training"] = [training(*names) for names in series.HISTORY.items()]
    return shown


def _numbered(*columns):
    return enumerate(zip(*columns, strict=True))
