"""The notebook's losses and others, from logits, computed in float32.

Masks are {0, 1} [B, H, W, C] of any dtype; logits are float [B, H, W, C]; a loss is
float32[].
"""

from keras import ops

from clouds import metrics


def bce_dice(masks, logits):
    """Binary cross-entropy plus `dice`."""
    return bce(masks, logits) + dice(masks, logits)


def bce_dice_present(masks, logits):
    """0.75 BCE plus 0.25 Dice loss, of the labels that an image has.

    The logits of a label that an image lacks are multiplied by 0, and its plane is left
    out of Dice, so that the network learns only where a label is. Whether it is there
    is left to a gate (`Rule.presence`). From the competition's first place.
    """
    masks, logits = ops.cast(masks, "float32"), ops.cast(logits, "float32")
    # Shares of annotators count where they are the majority.
    present = ops.cast(ops.max(masks, axis=(1, 2), keepdims=True) > 0.5, "float32")
    logits = logits * present
    drawn = metrics.dice_coef(masks, ops.sigmoid(logits) * present)
    return 0.75 * bce(masks, logits) + 0.25 * (1 - drawn)


def bce(masks, logits):
    """Binary cross-entropy, averaged over all pixels and labels."""
    masks, logits = ops.cast(masks, "float32"), ops.cast(logits, "float32")
    return ops.mean(ops.binary_crossentropy(masks, logits, from_logits=True), axis=None)


def presence(masks, logits):
    """Binary cross-entropy of the labels' presence.

    Args:
      masks: [B, H, W, C].
      logits: float[B, C] of the class head.
    """
    present = ops.max(ops.cast(masks, "float32"), axis=(1, 2)) > 0.5
    present = ops.cast(present, "float32")
    logits = ops.cast(logits, "float32")
    entropy = ops.binary_crossentropy(present, logits, from_logits=True)
    return ops.mean(entropy, axis=None)


def dice(masks, logits):
    """1 - Dice, soft and pooled over the batch (see `metrics.dice_coef`)."""
    probabilities = ops.sigmoid(ops.cast(logits, "float32"))
    return 1 - metrics.dice_coef(ops.cast(masks, "float32"), probabilities)
