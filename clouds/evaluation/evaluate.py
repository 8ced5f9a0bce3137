"""Measures runs on labelled records, beside predictions that need no network.

`clouds.evaluation.summary` says what it leaves in `--out`, or else in the (first) run's folder;
with `--tune`, `clouds.evaluation.tuning.tune` what is there besides.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import config, metrics, schema
from clouds.config import rule as rule_of
from clouds.config.rule import Rule
from clouds.evaluation import held_out, results, scores, summary
from clouds.evaluation.counts import Tally
from clouds.evaluation.held_out import Trial
from clouds.evaluation.tuning import tune
from clouds.postprocess import apply, functional
from clouds.runs import run_folder
from clouds.text import counted

_LEVELS = np.arange(0.05, 1, 0.05, dtype=np.float32)


def evaluate(settings: config.Evaluation) -> pd.DataFrame:
    """Measures, having tuned the rule first if asked to; prints and writes figures.

    Args:
      settings: what to measure on, and with which post-process.

    Returns:
      A row a label and one for their mean; columns network (thresholded),
      post-processed, all empty, all full, best constant: the competition's Dice
      of each. The best constant is the mask that, predicted for every image of
      this same split, would score highest among empty, full, and the places where
      the label is more frequent than a level.

    Raises:
      InputError: records or runs cannot be read or do not go together, or the split
        is empty.
    """
    trial = held_out.of(
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
        wanted = settings.rule(None)
        tuned = tune.tune(trial, out, scope=wanted.scope, gap=wanted.gap).text + "\n"
    rule = settings.rule(run_folder.rule(settings.run[0]))
    totals, soft, frequency = _count(trial, rule)
    found = summary.summarise(totals, _baselines(trial, frequency), soft)
    facts = _facts(settings, trial, rule)
    text = f"{_title(trial)}\n{summary.text(found)}\n{_note(settings, facts)}\n"
    doubts = results.of_other_records(trial.runs, trial.facts["sha256"])
    text += "".join(f"{doubt}\n" for doubt in doubts)
    summary.write(found, facts, tuned + text, out)
    print("\n" * bool(tuned) + text, end="", flush=True)
    return summary.table(found)


def _count(trial: Trial, rule: Rule) -> tuple[Tally, np.ndarray, np.ndarray]:
    """Counts, in one pass; the notebook's Dice; how often each pixel is labelled."""

    @tf.function(reduce_retracing=True)
    def draw(probabilities, shown):
        masks = apply.draw(probabilities, rule, shown, trial.truth_size)
        resized = functional.resize(probabilities, trial.truth_size)
        return functional.presence(resized), resized, *masks

    totals, soft = Tally(), []
    frequency = np.zeros((*trial.truth_size, len(schema.LABELS)), np.int64)
    for batch in trial.batches("evaluate"):
        # NumPy between them: the network may run on JAX.
        drawn = (part.numpy() for part in draw(batch.probabilities, batch.images))
        totals.add(batch.names, *drawn, batch.truth)
        frequency += batch.truth.sum(0, np.int64)
        whole = batch.masks, batch.probabilities
        labels = range(len(schema.LABELS))
        pairs = [*([x[..., k, None] for x in whole] for k in labels), whole]
        soft.append([float(metrics.dice_coef(*pair)) for pair in pairs])
    return totals, np.mean(soft, axis=0), frequency / trial.images


def _baselines(trial: Trial, frequency: np.ndarray) -> dict[str, np.ndarray]:
    """Dice of each image and label: float64[N, C]."""
    empty, full = np.zeros_like(frequency), np.ones_like(frequency)
    candidates = np.stack([empty, full, *(frequency > level for level in _LEVELS)])
    areas = candidates.sum(axis=(1, 2))[:, None]
    constants = tf.constant(candidates, tf.float32)

    @tf.function(reduce_retracing=True)
    def judge(truth):
        # [K, B, …]: every candidate against every image.
        truth = tf.cast(truth, tf.float32)
        shared = tf.einsum("bhwc,khwc->kbc", truth, constants)
        # Summed over both axes at once, TensorFlow's CPU is several times slower.
        return shared, tf.reduce_sum(tf.reduce_sum(truth, axis=1), axis=1)

    scored = []
    for truth in trial.truths():
        shared, area = (x.numpy().astype(np.float64) for x in judge(truth))
        scored.append(scores.dice(area, areas, shared))
    scored = np.concatenate(scored, axis=1)
    best = scored.mean(axis=1).argmax(axis=0)
    return {
        "dice_all_empty": scored[0],
        "dice_all_full": scored[1],
        "dice_best_constant": scored[best, :, np.arange(len(best))].T,
    }


def _facts(settings: config.Evaluation, trial: Trial, rule: Rule) -> dict:
    of_rule = run_folder.rule_facts(settings.run[0])
    source = "tuned" if settings.tune else settings.rule_source(of_rule is not None)
    here, there = trial.facts, (of_rule or {}).get("tuned_on")
    same = (
        there is not None
        and all(there[name] == here[name] for name in ("sha256", "split"))
        and bool(set(there["folds"]) & set(here["folds"]))
    )
    return {
        **here,
        "rule": dataclasses.asdict(rule),
        "rule_source": source,
        "tuned_on_these_images": same,
        "settings": dataclasses.asdict(settings),
    }


def _title(trial: Trial) -> str:
    what = f"{counted(trial.images, 'image')} of the {trial.split} split"
    if len(trial.parts) > 1:
        what += f", each predicted by runs of its fold ({len(trial.parts)} folds)"
    return f"Competition's Dice on {what}:"


def _note(settings: config.Evaluation, facts: dict) -> str:
    """Says by which rule masks were drawn, and if it knew these images."""
    folder, source = settings.run[0], facts["rule_source"]
    text = rule_of.told(source, folder)
    if not facts["tuned_on_these_images"]:
        return text
    text += " It was tuned on these very images: they look better than others will."
    of_rule = run_folder.rule_facts(folder)
    if source != "tuned" or not results.alike(facts, of_rule["tuned_on"]):
        return text
    honest = of_rule["dice"]["cross_fitted"]["mean"]
    expected = "{value:.4f} [{low:.4f}, {high:.4f}]".format(**honest)
    return f"{text} Of these, expect the cross-fitted Dice: {expected}."
