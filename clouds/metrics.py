"""Dice, the notebook's and the competition's, computed in float32.

Masks and predictions are {0, 1} [B, H, W, C] of any dtype; probabilities are
float [B, H, W, C] in 0..1; logits are float of any range.
"""

import keras
from keras import ops


def dice_coef(masks, probabilities, smooth: float = 1.0):
    """The notebook's Dice: soft, pooled over the whole batch.

    (2 sum(masks probabilities) + smooth) / (sum(masks) + sum(probabilities) + smooth)

    Args:
      masks: [B, H, W, C].
      probabilities: [B, H, W, C].
      smooth: what keeps the quotient defined where both are empty.

    Returns:
      float32[].
    """
    masks = ops.cast(masks, "float32")
    probabilities = ops.cast(probabilities, "float32")
    intersection = ops.sum(masks * probabilities)
    total = ops.sum(masks) + ops.sum(probabilities)
    return (2 * intersection + smooth) / (total + smooth)


def dice(masks, predictions):
    """Dice of each image and label; 1 where both are empty.

    Args:
      masks: [B, H, W, C].
      predictions: [B, H, W, C].

    Returns:
      float32[B, C].
    """
    masks = ops.cast(masks, "float32")
    predictions = ops.cast(predictions, "float32")
    intersection = ops.sum(masks * predictions, axis=(1, 2))
    total = ops.sum(masks, axis=(1, 2)) + ops.sum(predictions, axis=(1, 2))
    return ops.where(total > 0, 2 * intersection / ops.maximum(total, 1), 1.0)


def mean_dice(masks, predictions):
    """The competition's Dice: the mean of `dice` over images and labels.

    Args:
      masks: [B, H, W, C], at 350x525 for the competition's figure.
      predictions: [B, H, W, C].

    Returns:
      float32[].
    """
    return ops.mean(dice(masks, predictions))


def of_logits() -> list[keras.Metric]:
    """Both metrics, by their names, for training on logits.

    Returns:
      Keras metrics of (masks, logits): `dice_coef` averaged over batches, and
      `mean_dice` at probability 0.5, averaged over images and labels.
    """
    return [
        keras.metrics.MeanMetricWrapper(
            lambda masks, logits: dice_coef(masks, ops.sigmoid(logits)),
            name="dice_coef",
        ),
        keras.metrics.MeanMetricWrapper(
            lambda masks, logits: dice(masks, logits > 0), name="mean_dice"
        ),
    ]
