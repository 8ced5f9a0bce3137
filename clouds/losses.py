"""The notebook's loss, from logits, computed in float32 whatever their precision.

Masks are {0, 1} [B, H, W, C] of any dtype; logits are float [B, H, W, C].
"""

from keras import ops

from clouds import metrics


def bce_dice(masks, logits):
    """Binary cross-entropy plus 1 - Dice, the Dice soft and pooled over the batch.

    Args:
      masks: [B, H, W, C].
      logits: [B, H, W, C].

    Returns:
      float32[].
    """
    masks = ops.cast(masks, "float32")
    logits = ops.cast(logits, "float32")
    cross_entropy = ops.mean(
        ops.binary_crossentropy(masks, logits, from_logits=True), axis=None
    )
    return cross_entropy + 1 - metrics.dice_coef(masks, ops.sigmoid(logits))
