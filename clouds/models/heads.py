"""The class head: whether an image has each label, from the encoder's features.

From the competition's first place. Features are float [B, h, w, C].
"""

import keras
from keras import layers, ops

DROPOUT = 0.2


@keras.saving.register_keras_serializable("clouds")
class MaskedPooling(keras.layers.Layer):
    """Averages features weighted by the highest predicted probability of each pixel.

    The weights are constants for training: the head does not change the masks.
    """

    def call(self, inputs):
        """Pools features [B, h, w, C] by logits [B, H, W, L]: float [B, C]."""
        features, logits = inputs
        probabilities = ops.max(ops.sigmoid(ops.cast(logits, "float32")), axis=-1)
        height, width = features.shape[1:3]
        scale = [logits.shape[1] // height, logits.shape[2] // width]
        shape = (-1, height, scale[0], width, scale[1])
        weights = ops.mean(ops.reshape(probabilities, shape), axis=(2, 4))
        weights = ops.cast(ops.stop_gradient(weights), features.dtype)
        return ops.mean(features * weights[..., None], axis=(1, 2))

    def compute_output_shape(self, input_shape):
        """Returns [B, C]."""
        features, _ = input_shape
        return features[0], features[-1]


def presence(features, logits, *, dtype=None) -> keras.KerasTensor:
    """Adds the class head to a functional model.

    Args:
      features: float [B, h, w, C] of the encoder's last stage.
      logits: float [B, H, W, L] of the masks; H and W are multiples of h and w.
      dtype: dtype or policy of the layers; None for the global policy.

    Returns:
      float32[B, L], logits of the labels' presence.
    """
    x = MaskedPooling(name="presence_pooling", dtype=dtype)([features, logits])
    x = layers.Dense(features.shape[-1] // 4, name="presence_dense", dtype=dtype)(x)
    x = layers.BatchNormalization(name="presence_bn", dtype=dtype)(x)
    x = layers.ReLU(name="presence_relu", dtype=dtype)(x)
    x = layers.Dropout(DROPOUT, name="presence_dropout", dtype=dtype)(x)
    return layers.Dense(logits.shape[-1], name="presence_logits", dtype="float32")(x)
