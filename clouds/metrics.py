"""Dice, the notebook's and the competition's, computed in float32.

Masks and predictions are {0, 1} [B, H, W, C] of any dtype; probabilities are
float [B, H, W, C] in 0..1; logits are float of any range.
"""

from collections.abc import Sequence

import keras
from keras import ops

from clouds.schema import CLOUDS


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
    intersection = _areas(masks * predictions)
    total = _areas(masks) + _areas(predictions)
    return ops.where(total > 0, 2 * intersection / ops.maximum(total, 1), 1.0)


def _areas(planes):
    # Summed over both axes at once, TensorFlow's CPU never gets past 2**24.
    return ops.sum(ops.sum(planes, axis=2), axis=1)


def mean_dice(masks, predictions):
    """The competition's Dice: the mean of `dice` over images and labels.

    Args:
      masks: [B, H, W, C], at 350x525 for the competition's figure.
      predictions: [B, H, W, C].

    Returns:
      float32[].
    """
    return ops.mean(dice(masks, predictions))


class Dice(keras.Metric):
    """The competition's Dice at probability 0.5, of all labels and of each.

    Its result is a dict: `mean_dice`, then `dice_fish` and so on.

    Args:
      labels: names of the labels.
      name: name of the metric.
    """

    def __init__(self, labels: Sequence[str] = CLOUDS.labels, name: str = "dice"):
        super().__init__(name=name)
        self.columns = [of_label(label) for label in labels]
        count = len(labels)
        self.total = self.add_weight(shape=(count,), initializer="zeros", name="total")
        self.images = self.add_weight(shape=(), initializer="zeros", name="images")

    def update_state(self, masks, logits, sample_weight=None):
        """Adds a batch."""
        scores = dice(masks, logits > 0)
        self.total.assign(self.total + ops.sum(scores, axis=0))
        self.images.assign(self.images + ops.cast(ops.shape(scores)[0], "float32"))

    def result(self):
        """The means since the last reset."""
        means = self.total / ops.maximum(self.images, 1)
        of_labels = {name: means[k] for k, name in enumerate(self.columns)}
        return {"mean_dice": ops.mean(means), **of_labels}


def of_label(label: str) -> str:
    """Returns the name of the Dice of a label, such as `dice_fish`."""
    return f"dice_{label.lower()}"


def of_logits(labels: Sequence[str] = CLOUDS.labels) -> list[keras.Metric]:
    """Both Dices, for training on logits.

    Args:
      labels: names of the labels.

    Returns:
      Keras metrics of (masks, logits): `dice_coef` averaged over batches, and
      `Dice`, averaged over images.
    """
    return [
        keras.metrics.MeanMetricWrapper(
            lambda masks, logits: dice_coef(masks, ops.sigmoid(logits)),
            name="dice_coef",
        ),
        Dice(labels),
    ]
