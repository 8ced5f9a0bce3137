"""The notebook's losses, from logits, computed in float32 whatever their precision.

Masks are {0, 1} [B, H, W, C] of any dtype; logits are float [B, H, W, C]; a loss is
float32[].
"""

from keras import ops

from clouds import metrics


def bce_dice(masks, logits):
    """Binary cross-entropy plus `dice`."""
    return bce(masks, logits) + dice(masks, logits)


def bce(masks, logits):
    """Binary cross-entropy, averaged over all pixels and labels."""
    masks, logits = ops.cast(masks, "float32"), ops.cast(logits, "float32")
    return ops.mean(ops.binary_crossentropy(masks, logits, from_logits=True), axis=None)


def dice(masks, logits):
    """1 - Dice, soft and pooled over the batch (see `metrics.dice_coef`)."""
    probabilities = ops.sigmoid(ops.cast(logits, "float32"))
    return 1 - metrics.dice_coef(ops.cast(masks, "float32"), probabilities)
