"""Evaluates runs on labelled records, and compares them with trivial baselines.

`clouds.evaluation.results` lists the files written to `--out`, or to the folder of the
(first) run; with `--tune`, `clouds.evaluation.tuning.tune` lists further ones.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import metrics
from clouds.config.prediction import Evaluation
from clouds.config.rule import Rule, describe_source
from clouds.evaluation import held_out, results, scores, summary
from clouds.evaluation.counts import Tally
from clouds.evaluation.held_out import Predictions
from clouds.evaluation.tuning import tune
from clouds.postprocess import apply, functional
from clouds.runs import run_folder
from clouds.text import counted

_RESULTS = ("scores", "raw_masks", "masks")
_LEVELS = np.arange(0.05, 1, 0.05, dtype=np.float32)


def evaluate(settings: Evaluation) -> pd.DataFrame:
    """Evaluates runs, after tuning the rule if requested; prints and writes metrics.

    Args:
      settings: images, runs and post-processing.

    Returns:
      The competition's Dice, a row per label and one for their mean. Columns: network
      (thresholded only), post-processed, all empty, all full, best constant. The best
      constant is the mask that scores highest if predicted for every image of this
      split, among empty, full, and the pixels where the label is more frequent than a
      level.

    Raises:
      InputError: records or runs cannot be read or do not match, or the split is
        empty.
    """
    predictions = held_out.load(
        settings.run,
        settings.records,
        split=settings.split,
        batch_size=settings.batch_size,
        flips=settings.flips,
    )
    out = Path(settings.out or settings.run[0])
    out.mkdir(parents=True, exist_ok=True)
    tuned = ""
    if settings.tune:
        rule = settings.rule(None, predictions.spec)
        tuned = tune.tune(predictions, out, scope=rule.scope, gap=rule.gap).text + "\n"
    rule = settings.rule(run_folder.rule(settings.run[0]), predictions.spec)
    tally, dice_coef, frequency = _count(predictions, rule)
    _warn(settings)
    baselines = _baselines(predictions, frequency)
    measured = summary.summarise(tally, baselines, dice_coef, predictions.groups)
    facts = _facts(settings, predictions, rule)
    title = _title(predictions, measured.images.groups)
    text = f"{title}\n{summary.text(measured)}\n{_note(settings, facts)}\n"
    warnings = results.other_records_warnings(predictions.runs, facts["sha256"])
    text += "".join(f"{warning}\n" for warning in warnings)
    results.write(measured, facts, tuned + text, out)
    print("\n" * bool(tuned) + text, end="", flush=True)
    return summary.table(measured)


def _warn(settings: Evaluation) -> None:
    is_tuned = run_folder.rule(settings.run[0]) is not None
    # After the predictions: a training may have replaced the weights meanwhile.
    if "tuned" in settings.rule_source(is_tuned):
        warning = run_folder.rule_warning(settings.run)
        if warning:
            print(f"evaluate: warning: {warning}", file=sys.stderr)


def _count(
    predictions: Predictions, rule: Rule
) -> tuple[Tally, np.ndarray, np.ndarray]:
    """Counts in one pass; also returns the notebook's Dice and label frequencies."""
    labels, size = predictions.spec

    @tf.function(reduce_retracing=True)
    def draw(probabilities, class_scores, images):
        options = {"class_scores": class_scores, "outputs": _RESULTS}
        scores, *masks = apply(probabilities, rule, images, size, **options).values()
        return scores, functional.resize(probabilities, size), *masks

    tally, dice_coefs = Tally(labels), []
    frequency = np.zeros((*size, len(labels)), np.int64)
    for batch in predictions.batches("evaluate"):
        # As NumPy arrays, since the network may run on JAX.
        given = batch.probabilities, batch.class_scores, batch.images
        drawn = (part.numpy() for part in draw(*given))
        tally.add(batch.names, *drawn, batch.truth)
        frequency += batch.truth.sum(0, np.int64)
        pair = batch.masks, batch.probabilities
        planes = range(len(labels))
        pairs = [*([part[..., k, None] for part in pair] for k in planes), pair]
        dice_coefs.append([float(metrics.dice_coef(*each)) for each in pairs])
    return tally, np.mean(dice_coefs, axis=0), frequency / predictions.images


def _baselines(
    predictions: Predictions, frequency: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the Dice of each image and label by baseline, float64[N, C]."""
    empty, full = np.zeros_like(frequency), np.ones_like(frequency)
    candidates = np.stack([empty, full, *(frequency > level for level in _LEVELS)])
    areas = candidates.sum(axis=(1, 2))[:, None]
    constants = tf.constant(candidates, tf.float32)

    @tf.function(reduce_retracing=True)
    def overlap(truth):
        # [K, B, C]: every candidate with every image.
        truth = tf.cast(truth, tf.float32)
        shared = tf.einsum("bhwc,khwc->kbc", truth, constants)
        # Summed over both axes at once, TensorFlow's CPU is several times slower.
        return shared, tf.reduce_sum(tf.reduce_sum(truth, axis=1), axis=1)

    dice = []
    for truth in predictions.truths():
        shared, area = (x.numpy().astype(np.float64) for x in overlap(truth))
        dice.append(scores.dice(area, areas, shared))
    dice = np.concatenate(dice, axis=1)
    best = dice.mean(axis=1).argmax(axis=0)
    return {
        "dice_all_empty": dice[0],
        "dice_all_full": dice[1],
        "dice_best_constant": dice[best, :, np.arange(len(best))].T,
    }


def _facts(settings: Evaluation, predictions: Predictions, rule: Rule) -> dict:
    rule_facts = run_folder.rule_facts(settings.run[0])
    source = "tuned" if settings.tune else settings.rule_source(rule_facts is not None)
    facts, tuned_on = predictions.facts, (rule_facts or {}).get("tuned_on")
    same = (
        tuned_on is not None
        and all(tuned_on[name] == facts[name] for name in ("sha256", "split"))
        and bool(set(tuned_on["folds"]) & set(facts["folds"]))
    )
    return {
        **facts,
        "rule": dataclasses.asdict(rule),
        "rule_source": source,
        "tuned_on_these_images": same,
        "settings": dataclasses.asdict(settings),
    }


def _title(predictions: Predictions, groups: Sequence[str] | None) -> str:
    what = f"{counted(predictions.images, 'image')} of the {predictions.split} split"
    if len(predictions.parts) > 1:
        folds = len(predictions.parts)
        what += f", each predicted by runs of its fold ({folds} folds)"
    if by := predictions.facts.get("group_by"):
        count = len(set(groups))
        what += f", intervals over {counted(count, 'group')} by {by}"
    return f"Competition's Dice on {what}:"


def _note(settings: Evaluation, facts: dict) -> str:
    """Names the rule, and says whether it was tuned on these images."""
    folder, source = settings.run[0], facts["rule_source"]
    text = describe_source(source, folder)
    if not facts["tuned_on_these_images"]:
        return text
    text += " The rule was tuned on these images, so these scores are optimistic."
    rule_facts = run_folder.rule_facts(folder)
    if source != "tuned" or not results.predicted_alike(facts, rule_facts["tuned_on"]):
        return text
    mean = "{value:.4f} [{low:.4f}, {high:.4f}]".format(
        **rule_facts["dice"]["cross_fitted"]["mean"]
    )
    return f"{text} Estimated Dice on new images (cross-fitted): {mean}."
