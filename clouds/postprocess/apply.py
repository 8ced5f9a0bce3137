"""Applies a post-processing rule to probabilities (TensorFlow)."""

from collections.abc import Sequence

import tensorflow as tf

from clouds.config.rule import Rule
from clouds.postprocess import components, functional, ops

_DTYPES = {
    "raw_masks": tf.bool,
    "masks": tf.bool,
    "raw_rle": tf.string,
    "rle": tf.string,
    "areas": tf.int32,
    "scores": tf.float32,
}


def apply(
    probabilities: tf.Tensor,
    rule: Rule,
    images: tf.Tensor,
    size: tuple[int, int],
    *,
    class_scores: tf.Tensor | None = None,
    outputs: Sequence[str] = ("masks",),
) -> dict[str, tf.Tensor]:
    """Applies a rule to probabilities.

    With `rule.grid` "submission", probabilities are resized, thresholded and cleaned,
    so that minimum areas are in pixels of `size`. With "network", they are thresholded
    and cleaned first, and the masks are resized.

    Args:
      probabilities: float[B, h, w, C] in 0..1.
      rule: thresholds, minimum areas and so on.
      images: [B, ., ., K], black in the orbit gap (see `ops.observed`).
      size: (height, width) of the masks.
      class_scores: float32[B, C], probabilities of presence from a class head.
      outputs: names of the results wanted:
        `raw_masks` bool[B, height, width, C], thresholded only;
        `masks` bool[B, height, width, C], post-processed;
        `raw_rle` and `rle` string[B, C], their text as from `to_rle`;
        `areas` int32[B, C], number of pixels of the post-processed masks;
        `scores` float32[B, C], from `presence_scores`, which the gate compares.

    Returns:
      The results by name.

    Raises:
      InputError: the probabilities have a wrong dtype or rank, or contain NaN.
    """
    probabilities = ops.check_probabilities(probabilities, "postprocess.apply")

    def apply_to_group(probabilities, images, *class_scores):
        scores = None
        if rule.presence is not None or "scores" in outputs:
            scores = presence_scores(probabilities, size, *class_scores)
        raw, kept, shape, grid = _clean(probabilities, rule, images, size, scores)
        if rule.grid == "submission":
            results = _results(raw, kept, shape, grid)
        else:
            drawn = {"raw_masks": raw, "masks": components.draw(kept, tf.shape(raw))}
            masks = {name: _resized(drawn[name], grid, size) for name in drawn}
            results = _results_of_masks(masks, shape)
        results["scores"] = lambda: scores
        return [results[name]() for name in outputs]

    dtypes = [_DTYPES[name] for name in outputs]
    batches = [probabilities, images]
    if class_scores is not None:
        batches.append(class_scores)
    results = ops.map_groups(apply_to_group, batches, dtypes)
    batch, labels = probabilities.shape[0], probabilities.shape[3]
    shapes = {tf.bool: [batch, *size, labels]}
    return {
        name: tf.ensure_shape(result, shapes.get(_DTYPES[name], [batch, labels]))
        for name, result in zip(outputs, results, strict=True)
    }


def presence_scores(
    probabilities: tf.Tensor,
    size: tuple[int, int],
    class_scores: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scores the presence of each label, for the gate of a rule and for servers.

    Args:
      probabilities: float[B, h, w, C] in 0..1.
      size: (height, width) of the masks; the grid of `functional.presence`.
      class_scores: float32[B, C], probabilities from a class head.

    Returns:
      float32[B, C], the mean of the highest probabilities (`functional.presence`);
      with a class head its mean with the head's.
    """
    scores = functional.presence(functional.resize(probabilities, size))
    return scores if class_scores is None else (scores + class_scores) / 2


def _clean(probabilities, rule, images, size, scores):
    """Thresholds and cleans on the grid of the rule.

    Returns:
      The thresholded columns uint8[B, C, W, K], the `Runs` that are kept, int32[2] with
      B and C, and int32[2] with height and width of the grid.
    """
    planes = probabilities
    if rule.grid == "submission":
        planes = ops.resize_side_by_side(probabilities, size)
    shape, grid = tf.shape(probabilities)[::3], tf.shape(planes)[1:3]
    numbers = rule.thresholds, rule.min_sizes, rule.tops
    limits = [n and tf.constant(n, tf.float64) for n in numbers]
    raw = columns = ops.threshold(planes, limits[0], shape)
    if rule.gap:
        columns = raw & components.pack(ops.observed(images, grid))
    kept = ops.keep(planes, columns, limits, rule.scope)
    if rule.presence is not None:
        kept = _gated(kept, scores, rule)
    return raw, kept, shape, grid


def _gated(kept, scores, rule):
    """Keeps the runs of the labels whose presence passes the gate."""
    passed = scores > tf.constant(rule.presence, tf.float32)
    if rule.force_best:
        best = scores >= tf.reduce_max(scores, axis=1, keepdims=True)
        passed |= best & ~tf.reduce_any(passed, axis=1, keepdims=True)
    passing = tf.gather(tf.reshape(passed, [-1]), kept.plane)
    return components.Runs(*(tf.boolean_mask(part, passing) for part in kept))


def _results(raw, kept, shape, grid):
    def areas():
        lengths, planes = kept.end - kept.start, tf.reduce_prod(shape)
        sums = tf.math.unsorted_segment_sum(lengths, kept.plane, planes)
        return tf.reshape(sums, shape)

    return {
        "raw_masks": lambda: components.unpack(raw, grid),
        "masks": lambda: components.unpack(components.draw(kept, tf.shape(raw)), grid),
        "raw_rle": lambda: ops.to_text(components.runs(raw), shape, grid),
        "rle": lambda: ops.to_text(kept, shape, grid),
        "areas": areas,
    }


def _results_of_masks(masks, shape):
    def text(name):
        runs = components.runs(components.pack(masks[name]))
        return ops.to_text(runs, shape, tf.shape(masks[name])[1:3])

    return {
        "raw_masks": lambda: masks["raw_masks"],
        "masks": lambda: masks["masks"],
        "raw_rle": lambda: text("raw_masks"),
        "rle": lambda: text("masks"),
        "areas": lambda: tf.reduce_sum(tf.cast(masks["masks"], tf.int32), (1, 2)),
    }


def _resized(columns, grid, size):
    # Linear, then floored, as in the notebook: a pixel is set if all neighbours are.
    holes = ~components.unpack(columns, grid)
    return tf.image.resize(tf.cast(holes, tf.float32), size) == 0
