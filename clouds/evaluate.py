"""Measures a run on labelled records, beside predictions that need no network."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from clouds import (
    config,
    data,
    ensemble,
    manifest,
    metrics,
    postprocess,
    run,
    schema,
)
from clouds.rules import Rule

METRICS = "metrics.json"
TABLE = "metrics.txt"

_LEVELS = np.arange(0.05, 1, 0.05, dtype=np.float32)


def evaluate(settings: config.Evaluation) -> pd.DataFrame:
    """Measures the competition's Dice at 350x525 and the notebook's at the network's.

    Args:
      settings: what to measure on, and with which post-process.

    Returns:
      A row a label and one for their mean; columns network (thresholded),
      post-processed, all empty, all full, best constant: the competition's Dice
      of each. The best constant is the mask that, predicted for every image of
      this same split, would score highest among empty, full, and the places where
      the label is more frequent than a level. All is printed, and written to
      `metrics.txt` and `metrics.json` in the run.

    Raises:
      InputError: records or run cannot be read.
    """
    fold = ensemble.settings(settings.run).fold
    there = manifest.load(settings.records)
    # A run of a fold can also be measured on other records, without folds.
    fold = fold if there and there.folds else None
    records = manifest.read(settings.records, fold=fold)
    network = ensemble.load(settings.run, flips=settings.flips)
    rule = settings.rule(run.rule(settings.run[0]))
    size = network.input_shape[1:3]
    with data.damage_named(settings.records, records):
        network_dice, cleaned_dice, soft_dice, frequency = _measure(
            settings, records, network, rule, size
        )
    table = pd.DataFrame(
        {
            "network": network_dice,
            "post-processed": cleaned_dice,
            **_baselines(settings, records, frequency),
        },
        index=list(schema.LABELS),
        dtype=np.float64,
    )
    table.loc["mean"] = table.mean()
    images = records.examples(settings.split)
    text = (
        f"Competition Dice on {images} images of the {settings.split} split:\n"
        f"{table.to_string(float_format='{:.4f}'.format)}\n"
        f"The notebook's dice_coef: {soft_dice:.4f}\n"
    )
    print(text, end="")
    Path(settings.run[0], TABLE).write_text(text)
    run.write_json(
        Path(settings.run[0], METRICS),
        {
            "split": settings.split,
            "images": images,
            "rule": dataclasses.asdict(rule),
            "dice_coef": soft_dice,
            "mean_dice": table.to_dict(),
        },
    )
    return table


def _measure(settings, records, network: keras.Model, rule: Rule, size):
    """Sums over one pass: Dice by label, soft Dice, how often a pixel is labelled."""

    @tf.function(reduce_retracing=True)
    def draw(probabilities, shown):
        return postprocess.draw(probabilities, rule, shown, records.truth_size)

    batches = data.evaluation_batches(
        settings.records, records, settings.split, settings.batch_size, size=size
    )
    sums, soft = np.zeros((2, len(schema.LABELS))), []
    frequency = np.zeros((*records.truth_size, len(schema.LABELS)), np.int64)
    images = records.examples(settings.split)
    with tqdm(total=images, unit="image", disable=None, desc="evaluate") as bar:
        for batch in batches:
            # NumPy between them: the network may run on JAX.
            image, masks, truth = (
                batch[name].numpy() for name in ("image", "masks", "truth")
            )
            probabilities = network.predict_on_batch(image)
            for total, drawn in zip(sums, draw(probabilities, image), strict=True):
                total += np.array(metrics.dice(truth, drawn.numpy())).sum(0)
            soft.append(float(metrics.dice_coef(masks, probabilities)))
            frequency += truth.sum(0, np.int64)
            bar.update(len(probabilities))
    return *(sums / images), float(np.mean(soft)), frequency / images


def _baselines(settings, records, frequency: np.ndarray) -> dict[str, np.ndarray]:
    empty, full = np.zeros_like(frequency), np.ones_like(frequency)
    candidates = np.stack([empty, full, *(frequency > level for level in _LEVELS)])

    @tf.function(reduce_retracing=True)
    def judge(truth):
        # [K, B, …]: every candidate against every image.
        intersections = tf.einsum("bhwc,khwc->kbc", truth, constants)
        totals = (
            tf.reduce_sum(truth, (1, 2)) + tf.reduce_sum(constants, (1, 2))[:, None]
        )
        return tf.reduce_sum(
            tf.where(totals > 0, 2 * intersections / tf.maximum(totals, 1), 1.0), 1
        )

    constants = tf.constant(candidates, tf.float32)
    batches = data.truth_batches(
        settings.records, records, settings.split, settings.batch_size
    )
    scores = sum(judge(tf.cast(truth, tf.float32)).numpy() for truth in batches)
    scores = scores / records.examples(settings.split)
    return {
        "all empty": scores[0],
        "all full": scores[1],
        "best constant": scores.max(0),
    }
