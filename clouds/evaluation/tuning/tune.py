"""Tunes the rule of runs on images that they have not seen, and says what it is worth.

`postprocess.json` in each run's folder: `rule`, by which `bin/predict`, `bin/evaluate`
and exports draw from then on; `tuned_on`, the images; `dice`, the figures printed.
`tuning.json`: the same; `folds`, the rule chosen without each fold; `fold`, that of
each image; `maps`, the mean Dice by threshold and minimum area without a top, which
`tuning.png` shows.

Dice is the competition's, with 95 % intervals by the bootstrap over images:
`threshold`, at probability 0.5 without any post-process; `default`, by the rule
without tuning; `tuned`, by the rule chosen, on the very images that it was chosen on;
`cross_fitted`, of each image by a rule chosen on others, as five folds take turns;
`gain`, the last less the default's. The second to last is what to expect of new
images.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import schema
from clouds.config.rule import Rule, Scope, area
from clouds.errors import InputError
from clouds.evaluation import scores
from clouds.evaluation.held_out import Trial
from clouds.evaluation.tuning import level_sets, search
from clouds.evaluation.tuning.search import CrossFit
from clouds.plots import evaluation
from clouds.postprocess import functional
from clouds.runs import run_folder
from clouds.runtime import files
from clouds.text import counted, decimal

FILE, PICTURE = "tuning.json", "tuning.png"

LEVELS = np.repeat(np.arange(1, 96)[:, None] / 96, len(schema.LABELS), axis=1)
"""Thresholds and tops that may be chosen."""

STEP = 3
"""Every so manieth of them, 31 in all, is tried first."""

FOLDS = 5

_NAMES = {
    "threshold": "threshold 0.5 alone",
    "default": "default rule",
    "tuned": "tuned, on these images",
    "cross_fitted": "tuned, cross-fitted",
    "gain": "gain, cross-fitted",
}


class Tuned(NamedTuple):
    """What a tuning came to.

    Attributes:
      rule: that was chosen and stored.
      dice: float64[C + 1, 3] by the names that the module lists: value, low and high
        of each label and of their mean.
      text: what was printed.
    """

    rule: Rule
    dice: dict[str, np.ndarray]
    text: str


def tune(
    trial: Trial, out: Path, *, scope: Scope = "component", gap: bool = True
) -> Tuned:
    """Chooses the rule of highest Dice, prints what it is worth, and stores it.

    Args:
      trial: images that its runs have not seen.
      out: folder for `tuning.json` and `tuning.png`.
      scope: where a top must be reached (see `Rule`).
      gap: whether the rule cuts the orbit gap out.

    Returns:
      What was chosen.

    Raises:
      InputError: runs or records cannot be read, or there are too few images.
    """
    if trial.images < 2:
        raise InputError(
            "A rule must be tuned on 2 images or more. Received: "
            f"{trial.images}, in '{trial.folder}'. Make records of more images."
        )
    found = level_sets.join(
        _measure(batch, trial.truth_size, gap) for batch in trial.batches("tune")
    )
    folds = min(FOLDS, trial.images)
    fitted = search.cross_fit(found, LEVELS, folds=folds, scope=scope, step=STEP)
    rule = fitted.choice.rule(gap=gap)
    dice = _dice(found, fitted)
    text = _text(trial, rule, dice, found.truth, folds)
    facts = {"tuned_on": trial.facts, "dice": scores.named(dice)}
    for folder in trial.runs:
        run_folder.save_rule(folder, rule, facts)
    files.write_json(out / FILE, _tuning(rule, facts, fitted))
    thresholds = LEVELS[fitted.places, 0]
    evaluation.tuning(fitted.grid, thresholds, search.SIZES, rule, out / PICTURE)
    print(text, end="", flush=True)
    return Tuned(rule, dice, text)


def _measure(batch, size, gap):
    probabilities = functional.resize(batch.probabilities, size)
    if gap:
        probabilities = functional.without_gap(probabilities, batch.images)
    return level_sets.measure(probabilities, batch.truth, tf.constant(LEVELS))


def _dice(found, fitted: CrossFit) -> dict[str, np.ndarray]:
    default = Rule()
    alone = dataclasses.replace(default, min_sizes=(0,) * len(schema.LABELS))
    of_images = {
        "threshold": search.score(found, LEVELS, alone),
        "default": search.score(found, LEVELS, default),
        "tuned": fitted.tuned,
        "cross_fitted": fitted.honest,
    }
    of_images["gain"] = of_images["cross_fitted"] - of_images["default"]
    return scores.intervals(
        lambda weights: {
            name: weights @ dice / weights.sum(axis=1, keepdims=True)
            for name, dice in of_images.items()
        },
        len(found.truth),
    )


def _tuning(rule, facts, fitted):
    thresholds = LEVELS[fitted.places, 0].tolist()
    maps = {"thresholds": thresholds, "min_sizes": list(search.SIZES)}
    maps["dice"] = scores.by_label(fitted.grid.tolist())
    folds = [dataclasses.asdict(choice.rule(gap=rule.gap)) for choice in fitted.choices]
    parts = {"folds": folds, "fold": fitted.fold.tolist(), "maps": maps}
    return {"rule": dataclasses.asdict(rule), **facts, **parts}


def _text(trial, rule, dice, truth, folds):
    columns = [*schema.LABELS, "mean"]
    table = pd.DataFrame({_NAMES[n]: v[:, 0] for n, v in dice.items()}, columns).T
    table["95 % interval"] = [
        "[{}, {}]".format(*(decimal(end, 4) for end in values[-1, 1:]))
        for values in dice.values()
    ]
    chosen = pd.DataFrame({"threshold": rule.thresholds}, list(schema.LABELS))
    if rule.tops:
        chosen["top"] = [f"{top:.3f}" if top else "-" for top in rule.tops]
    chosen["area above"] = [area(size) for size in rule.min_sizes]
    lines = [
        f"Tuned on {counted(trial.images, 'image')} of the {trial.split} split, "
        f"cross-fitted in {folds} folds. Competition's Dice:",
        table.to_string(float_format=lambda value: decimal(value, 4)),
        "",
        "The rule chosen:",
        chosen.to_string(float_format="{:.3f}".format),
    ]
    absent = [schema.LABELS[k] for k in np.flatnonzero(~truth.any(axis=0))]
    if absent:
        names = ", ".join(absent)
        lines.append(f"None of the images has {names}, which keeps the default.")
    if round(dice["gain"][-1, 1], 6) <= 0:
        lines.append(
            "No gain on images unseen is sure: it may be no better than the default, "
            f"which holds again where {run_folder.RULE} is removed."
        )
    folders = ", ".join(f"{folder}/{run_folder.RULE}" for folder in trial.runs)
    return "\n".join([*lines, f"It is in {folders}, for prediction to follow.", ""])
