"""A page that compares runs: metrics, paired differences to the first run, curves.

It reads what `bin/evaluate` and `bin/train` wrote. Intervals of differences are by the
bootstrap over images; each resample draws the same images for both runs, so that
images that are hard for both cancel out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clouds.config.presentation import Comparison
from clouds.config.rule import area
from clouds.errors import InputError
from clouds.evaluation import bootstrap, results, scores
from clouds.evaluation.counts import Images
from clouds.evaluation.results import Evaluation
from clouds.plots import evaluation as evaluation_plots
from clouds.plots import training as training_plots
from clouds.plots.common import Panel
from clouds.plots.evaluation import Line
from clouds.report import html, sources
from clouds.runs import run_folder
from clouds.text import counted, decimal

_PAGE = "compare.html"


def compare(settings: Comparison) -> pd.DataFrame:
    """Prints a table and writes the page.

    Args:
      settings: runs to compare.

    Returns:
      The competition's Dice of post-processed masks, a row per label and one for
      their mean: a column per run and, for all but the first, its difference.

    Raises:
      InputError: a run was not evaluated, or on other images; or the page would
        replace something else.
    """
    path = Path(settings.out)
    html.check(_PAGE, path)
    evaluations = [_read(folder) for folder in settings.run]
    first, labels = evaluations[0], evaluations[0].labels
    for other in evaluations[1:]:
        _check_same_images(first, other)
    differences = [_differences(first.images, e.images) for e in evaluations[1:]]
    table = _table(evaluations, differences)
    warnings = _warnings(evaluations)
    split = f"{counted(first.facts['images'], 'image')} of the {first.facts['split']}"
    size = html.write(
        _PAGE,
        path,
        labels,
        title="Comparison of runs",
        what=f"{split} split",
        runs=settings.run,
        rows=_rows(evaluations),
        warnings=warnings,
        evaluations=evaluations,
        differences=[bootstrap.named(each, labels) for each in differences],
        panels=_panels(evaluations),
    )
    print(f"Competition's Dice of post-processed masks on {split} split;")
    over = " over groups of images" if first.images.groups else ""
    print(f"differences to {first.folder} with paired 95 % intervals{over}:")
    print(table.to_string(float_format="{:.4f}".format))
    print("".join(f"{warning}\n" for warning in warnings), end="")
    print(f"{path}: {size / 1e6:.1f} MB")
    return table


def _read(folder: str) -> Evaluation:
    if not Path(folder).is_dir():
        raise InputError(f"'{folder}' is not a folder. Check its name.")
    evaluation = results.read(folder)
    if evaluation is None:
        raise InputError(
            f"'{folder}' has no {results.JSON}. Run bin/evaluate --records DIR --run "
            f"{folder}."
        )
    return evaluation


def _check_same_images(first: Evaluation, other: Evaluation) -> None:
    def key(each):
        facts = each.facts
        return facts["split"], facts["sha256"], each.labels, sorted(each.images.names)

    if key(first) != key(other):
        shown = " and ".join(
            f"{counted(len(each.images.names), 'image')} of the {each.facts['split']} "
            f"split of {each.facts['records']} (SHA-256 {each.facts['sha256'][:8]}, "
            f"folds {each.facts['folds']}; {each.folder})"
            for each in (first, other)
        )
        raise InputError(
            f"Runs must be evaluated on the same images. Received: {shown}. Evaluate "
            "both on one split of the same records, or all folds together."
        )


def _differences(first: Images, other: Images) -> dict[str, np.ndarray]:
    """Returns metrics of the other minus those of the first: float64[C + 1, 3]."""
    index = {name: k for k, name in enumerate(other.names)}
    order = [index[name] for name in first.names]
    other = Images(first.names, *(part[order] for part in other[1:-1]))

    def compute(weights):
        own, others = scores.compute(first, weights), scores.compute(other, weights)
        return {name: others[name] - value for name, value in own.items()}

    metrics = bootstrap.intervals(compute, len(first.names), groups=first.groups)
    # Sums over images in another order differ in their last bits.
    return {name: values.round(6) for name, values in metrics.items()}


def _table(evaluations: Sequence[Evaluation], differences) -> pd.DataFrame:
    rows, columns = [*evaluations[0].labels, "mean"], {}
    for k, each in enumerate(evaluations):
        dice = each.facts["figures"]["dice_post"]
        columns[each.folder] = [dice[row]["value"] for row in rows]
        if k:
            name = f"difference {k}" if len(evaluations) > 2 else "difference"
            columns[name] = [
                "{} [{}, {}]".format(*(decimal(number, 4, "+") for number in values))
                for values in differences[k - 1]["dice_post"]
            ]
    return pd.DataFrame(columns, rows)


def _warnings(evaluations: Sequence[Evaluation]) -> list[str]:
    """Returns reasons why metrics may be optimistic or outdated."""
    warnings = [
        f"The rule of {each.folder} was tuned on these images, so its scores are "
        "optimistic."
        for each in evaluations
        if each.facts["tuned_on_these_images"]
    ]
    for each in evaluations:
        runs = [each.folder] if _is_own(each) else each.facts["runs"]
        warnings += results.other_records_warnings(runs, each.facts["sha256"])
        warnings += [
            f"The weights of {run} have changed since the evaluation. Evaluate again."
            for run in results.outdated(each.facts, runs)
        ]
    return [*dict.fromkeys(warnings)]


def _rows(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, str]]:
    rows = {}
    for each in evaluations:
        facts, rule = each.facts, each.facts["rule"]
        rows[each.folder] = {
            "flips": "yes" if facts["flips"] else "no",
            "rule": facts["rule_source"]
            + ", on these images" * facts["tuned_on_these_images"],
            "thresholds": ", ".join(f"{value:.2f}" for value in rule["thresholds"]),
            "minimum areas": ", ".join(map(area, rule["min_sizes"])),
        }
        if gates := rule.get("presence"):
            rows[each.folder]["presence"] = ", ".join(f"{g:.2f}" for g in gates)
        if not all(map(_is_own, evaluations)):
            rows[each.folder]["runs"] = ", ".join(facts["runs"])
    return rows


def _is_own(evaluation: Evaluation) -> bool:
    """Returns whether an evaluation is of the run in whose folder it is."""
    is_run = Path(evaluation.folder, run_folder.CONFIG).is_file()
    return is_run and len(evaluation.facts["runs"]) == 1


def _panels(evaluations: Sequence[Evaluation]) -> dict[str, list[Panel]]:
    """Returns panels by heading. Dashes distinguish runs, colours labels."""
    presence, pixels = [], []
    for k, label in enumerate(evaluations[0].labels):
        lines = [
            Line(each.folder, each.facts, k, dash)
            for dash, each in enumerate(evaluations)
        ]
        presence.append(evaluation_plots.precision_recall(label, lines))
        pixels.append(evaluation_plots.calibration(label, "pixels", lines))
    panels = {"Presence of labels": presence, "Calibration of pixels": pixels}
    histories = {each.folder: _history(each) for each in evaluations}
    histories = {run: epochs for run, epochs in histories.items() if epochs is not None}
    if histories:
        panels["Training"] = training_plots.comparison(histories)
    return panels


def _history(evaluation: Evaluation) -> pd.DataFrame | None:
    runs = evaluation.facts["runs"]
    if len(runs) > 1:
        return None
    own = sources.read_history(evaluation.folder)
    # The evaluation may be in another folder than its run.
    return sources.read_history(runs[0]) if own is None else own
