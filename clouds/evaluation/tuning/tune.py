"""Tunes the post-processing rule of runs on held-out images.

`postprocess.json` in each run's folder has `rule`, which predictions and exports of
the run use from then on; `tuned_on`, the images; and `dice`, the table that is printed.
`tuning.json` has the same, and `families`, which numbers of each label were tuned;
`folds`, the rule chosen without each fold; `fold`, the
fold of each image; `maps`, the mean Dice by threshold and minimum area without a peak
threshold, which `tuning.png` shows.

Dice is the competition's, with 95 % intervals by the bootstrap over images:
`threshold`, at probability 0.5 without post-processing; `default`, by the default rule;
`tuned`, by the chosen rule on the images that it was chosen on, which is optimistic;
`cross_fitted`, of each image by a rule chosen on the other four of five folds, which
estimates the Dice on new images; `gain`, the difference of the last two: cross-fitted
minus default.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import metrics
from clouds.config.rule import Rule, Scope, area
from clouds.errors import InputError
from clouds.evaluation import bootstrap
from clouds.evaluation.held_out import Predictions
from clouds.evaluation.tuning import cross_fit, level_sets, search
from clouds.evaluation.tuning.cross_fit import CrossFit
from clouds.evaluation.tuning.families import FAMILIES
from clouds.plots.tuning import draw_tuning
from clouds.postprocess import apply, functional
from clouds.runs import run_folder
from clouds.runtime import checksums
from clouds.schema import MaskSpec
from clouds.text import counted, decimal

FILE, PICTURE = "tuning.json", "tuning.png"
FILES = (FILE, PICTURE)
"""Names of the files that `tune` writes, besides the rule of each run."""

LEVELS = np.arange(1, 96)[:, None] / 96
"""Candidates for thresholds and peak thresholds of each label."""

STEP = 3
"""Step between the levels that are tried first, 31 in all."""

FOLDS = 5

NAMES = {
    "threshold": "threshold 0.5 only",
    "default": "default rule",
    "tuned": "tuned, on these images",
    "cross_fitted": "tuned, cross-fitted",
    "gain": "gain, cross-fitted",
}
"""Names of the rows of `dice` for people."""


class Tuned(NamedTuple):
    """Result of a tuning.

    Attributes:
      rule: rule that was chosen and stored.
      dice: float64[C + 1, 3] by the names that the module lists: value, low and high
        of each label and of their mean.
      text: text that was printed.
    """

    rule: Rule
    dice: dict[str, np.ndarray]
    text: str


def tune(
    predictions: Predictions,
    out: Path,
    *,
    scope: Scope = "component",
    gap: bool = True,
) -> Tuned:
    """Chooses the rule of highest Dice, prints its estimated score, and stores it.

    Args:
      predictions: held-out predictions of the runs.
      out: folder for `tuning.json` and `tuning.png`.
      scope: where the peak threshold must be exceeded (see `Rule`).
      gap: whether the rule cuts the orbit gap out.

    Raises:
      InputError: runs or records cannot be read, or there are too few images.
    """
    if predictions.images < 2:
        raise InputError(
            f"Tuning needs at least 2 images, and the {predictions.split} split of "
            f"'{predictions.folder}' has {predictions.images}. Make records of more "
            "images."
        )
    baselines, presence, names, spec = [], [], [], predictions.spec
    levels = np.repeat(LEVELS, len(spec.labels), axis=1)

    def measured():
        for batch in predictions.batches("tune"):
            dice, scores = _baselines(batch, spec)
            baselines.append(dice)
            presence.append(scores)
            names.extend(batch.names)
            yield _measure(batch, spec.grid, gap, levels)

    components = level_sets.join(measured())
    groups = predictions.groups and [predictions.groups[name] for name in names]
    folds = min(FOLDS, len(set(groups or names)))
    if folds < 2:
        raise InputError(
            "Tuning needs at least 2 groups of images, and the "
            f"{predictions.split} split of '{predictions.folder}' has 1. Make records "
            "with smaller groups, or without --group-by."
        )
    fitted = cross_fit.cross_fit(
        components,
        levels,
        np.concatenate(presence),
        folds=folds,
        scope=scope,
        step=STEP,
        sizes=search.sizes(spec.grid),
        default=Rule.default(spec),
        groups=groups,
    )
    rule = fitted.choice.rule(gap=gap)
    dice = _dice(*np.concatenate(baselines, axis=1), fitted, groups)
    named = bootstrap.named(dice, spec.labels)
    facts = {"tuned_on": predictions.facts, "dice": named}
    for folder in predictions.runs:
        run_folder.save_rule(folder, rule, facts)
    fields = _fields(rule, facts, fitted, spec)
    checksums.write_json(out / FILE, fields)
    draw_tuning(fields, out / PICTURE)
    tuned = [FAMILIES[k] for k in fitted.family]
    text = _text(predictions, rule, tuned, dice, components.truth, folds)
    print(text, end="", flush=True)
    return Tuned(rule, dice, text)


def _measure(batch, size, gap, levels):
    probabilities = functional.resize(batch.probabilities, size)
    if gap:
        probabilities = functional.without_gap(probabilities, batch.images)
    return level_sets.measure(probabilities, batch.truth, tf.constant(levels))


def _baselines(batch, spec) -> tuple[np.ndarray, np.ndarray]:
    """Returns Dice above 0.5 alone and by the default rule, and presence scores.

    float64[2, B, C] and float32[B, C]. Dice is as bin/evaluate computes it: the first
    keeps the orbit gap, the second cuts it, whatever the rule that is tuned does.
    """
    options = {"class_scores": batch.class_scores}
    options["outputs"] = ("raw_masks", "masks", "scores")
    *masks, scores = apply(
        batch.probabilities, Rule.default(spec), batch.images, spec.grid, **options
    ).values()
    dice = [keras.ops.convert_to_numpy(metrics.dice(batch.truth, m)) for m in masks]
    return np.stack(dice).astype("f8"), scores.numpy()


def _dice(
    threshold: np.ndarray,
    default: np.ndarray,
    fitted: CrossFit,
    groups: Sequence[str] | None,
) -> dict[str, np.ndarray]:
    per_image = {
        "threshold": threshold,
        "default": default,
        "tuned": fitted.tuned,
        "cross_fitted": fitted.cross_fitted,
        "gain": fitted.cross_fitted - default,
    }
    return bootstrap.intervals(
        lambda weights: {
            name: weights @ dice / weights.sum(axis=1, keepdims=True)
            for name, dice in per_image.items()
        },
        len(default),
        groups=groups,
    )


def _fields(rule: Rule, facts: dict, fitted: CrossFit, spec: MaskSpec) -> dict:
    return {
        "rule": dataclasses.asdict(rule),
        **facts,
        "families": [FAMILIES[k] for k in fitted.family],
        "folds": [
            dataclasses.asdict(each.rule(gap=rule.gap)) for each in fitted.choices
        ],
        "fold": fitted.fold.tolist(),
        "grid": spec.grid,
        "maps": {
            "thresholds": LEVELS[fitted.places, 0].tolist(),
            "min_sizes": search.sizes(spec.grid),
            "dice": dict(zip(spec.labels, fitted.grid.tolist(), strict=True)),
        },
    }


def _text(predictions, rule, tuned, dice, truth, folds):
    labels = predictions.spec.labels
    columns = [*labels, "mean"]
    table = pd.DataFrame({NAMES[n]: v[:, 0] for n, v in dice.items()}, columns).T
    table["95 % interval"] = [
        "[{}, {}]".format(*(decimal(end, 4) for end in values[-1, 1:]))
        for values in dice.values()
    ]
    chosen = pd.DataFrame({"threshold": rule.thresholds}, list(labels))
    if rule.tops:
        chosen["peak above"] = [f"{top:.3f}" if top else "-" for top in rule.tops]
    chosen["area above"] = [area(size) for size in rule.min_sizes]
    if rule.presence:
        chosen["presence above"] = [f"{p:.3f}" if p else "-" for p in rule.presence]
    chosen["tuned"] = ["-" if name == "default" else name for name in tuned]
    lines = [
        f"Tuned on {counted(predictions.images, 'image')} of the {predictions.split} "
        f"split, cross-fitted in {folds} folds. Competition's Dice:",
        table.to_string(float_format=lambda value: decimal(value, 4)),
        "",
        "Chosen rule:",
        chosen.to_string(float_format="{:.3f}".format),
    ]
    absent = [labels[k] for k in np.flatnonzero(~truth.any(axis=0))]
    if absent:
        lines.append(f"No image has {', '.join(absent)}, which keeps the default.")
    if round(dice["gain"][-1, 1], 6) <= 0:
        lines.append(
            "The gain over the default rule is not significant on unseen images. To "
            f"use the default rule, remove {run_folder.RULE}."
        )
    folders = ", ".join(f"{folder}/{run_folder.RULE}" for folder in predictions.runs)
    return "\n".join([*lines, f"Predictions will use it, from {folders}.", ""])
