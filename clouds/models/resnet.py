"""ResNet34 with pre-activation: the encoder of the notebook's U-Net.

Layers, names and weights equal those of image-classifiers 1.0.0, so that its ImageNet
weights fit. Images are float [B, H, W, K]; H and W are multiples of 32.
"""

import keras
from keras import layers

from clouds.models import layers as fast_layers

STAGES = (3, 4, 6, 3)
FILTERS = (64, 128, 256, 512)

_CONVOLUTION = {"use_bias": False, "kernel_initializer": "he_uniform"}


def encode(images: keras.KerasTensor, *, dtype=None) -> list[keras.KerasTensor]:
    """Adds the encoder to a functional model.

    Args:
      images: float [B, H, W, K].
      dtype: dtype or policy of the layers; None for the global policy.

    Returns:
      Features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size, with 64, 64, 128, 256 and
      512 channels.
    """
    x = fast_layers.ImageNormalization(
        epsilon=2e-5, momentum=0.99, scale=False, name="bn_data", dtype=dtype
    )(images)
    x = layers.ZeroPadding2D(3, dtype=dtype)(x)
    x = fast_layers.ImageConv2D(64, 7, 2, name="conv0", dtype=dtype, **_CONVOLUTION)(x)
    x = _activate(x, "", "0", dtype)
    features = [x]
    x = layers.ZeroPadding2D(1, dtype=dtype)(x)
    x = layers.MaxPooling2D(3, 2, name="pooling0", dtype=dtype)(x)
    for stage, (units, filters) in enumerate(zip(STAGES, FILTERS, strict=True), 1):
        for unit in range(1, units + 1):
            strides = 2 if unit == 1 and stage > 1 else 1
            name = f"stage{stage}_unit{unit}_"
            activated = _activate(x, name, "1", dtype)
            if strides == 2:
                features.append(activated)
            x = _unit(x, activated, filters, strides, unit == 1, name, dtype)
    return [*features, _activate(x, "", "1", dtype)]


def is_encoder_layer(name: str) -> bool:
    """Returns whether a layer of the U-Net, given by its name, is in the encoder."""
    return not name.startswith(("decoder_", "final_", "presence_"))


def _unit(x, activated, filters, strides, project, name, dtype):
    shortcut = x
    if project:
        shortcut = _convolve(activated, filters, 1, f"{name}sc", dtype, strides=strides)
    x = _convolve(activated, filters, 3, f"{name}conv1", dtype, strides=strides)
    x = _activate(x, name, "2", dtype)
    x = _convolve(x, filters, 3, f"{name}conv2", dtype)
    return layers.Add(dtype=dtype)([x, shortcut])


def _convolve(x, filters, kernel, name, dtype, strides=1):
    padding = "same"
    if strides == 2 and kernel > 1:
        # "same" would pad an even size at the end only.
        x = layers.ZeroPadding2D(kernel // 2, dtype=dtype)(x)
        padding = "valid"
    return layers.Conv2D(
        filters, kernel, strides, padding, name=name, dtype=dtype, **_CONVOLUTION
    )(x)


def _activate(x, prefix, number, dtype):
    x = fast_layers.BatchNormalization(
        epsilon=2e-5, momentum=0.99, name=f"{prefix}bn{number}", dtype=dtype
    )(x)
    return layers.ReLU(name=f"{prefix}relu{number}", dtype=dtype)(x)
