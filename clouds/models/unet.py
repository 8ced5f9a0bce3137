"""The notebook's network: a U-Net with a pre-activation ResNet34 encoder.

Layers, names and weights equal those of segmentation-models 1.0.1, except for the
sigmoid: the model returns logits. Images are float [B, H, W, K]; K is 3 there.
"""

import keras
from keras import layers

from clouds.errors import InputError
from clouds.models import heads, resnet
from clouds.models import layers as fast_layers

DECODER_FILTERS = (256, 128, 64, 32, 16)


def build(
    size: tuple[int, int] = (320, 480),
    classes: int = 4,
    *,
    class_head: bool = False,
    bands: int = 3,
    dtype=None,
) -> keras.Model:
    """Builds the network.

    Args:
      size: height and width of the images. The network halves them five times: other
        sizes than multiples of 32 are padded with black at the bottom and the right,
        and the logits are cropped.
      classes: number of channels of the result.
      class_head: whether to add the class head (see `heads`).
      bands: number of bands of the images, K.
      dtype: dtype or policy of the layers (`mixed_bfloat16`, …); None for the global
        policy.

    Returns:
      A model from float [B, H, W, K] to logits float32[B, H, W, classes]; with a class
      head to a list of these and the logits of presence, float32[B, classes].

    Raises:
      InputError: the size is not (height, width).
    """
    try:
        height, width = size
    except (TypeError, ValueError):
        raise InputError(
            f"size must be (height, width). Received: {size}, in unet.build. Give it "
            "without channels, such as (320, 480)."
        ) from None
    images = x = keras.Input((height, width, bands), name="images")
    padding = tuple((0, -side % 32) for side in (height, width))
    if any(map(any, padding)):
        x = layers.ZeroPadding2D(padding, name="padding", dtype=dtype)(x)
    *skips, x = features = resnet.encode(x, dtype=dtype)
    for stage, filters in enumerate(DECODER_FILTERS):
        skip = skips.pop() if skips else None
        x = _decode(x, skip, filters, f"decoder_stage{stage}", dtype)
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv", dtype=dtype)(x)
    if class_head:
        presence = heads.presence(features[-1], x, dtype=dtype)
    if any(map(any, padding)):
        x = layers.Cropping2D(padding, name="cropping", dtype=dtype)(x)
    logits = layers.Activation("linear", name="logits", dtype="float32")(x)
    outputs = [logits, presence] if class_head else logits
    return keras.Model(images, outputs, name="unet_resnet34")


def _decode(x, skip, filters, name, dtype):
    inputs = [x] if skip is None else [x, skip]
    x = fast_layers.UpsampledConv2D(filters, name=f"{name}a_conv", dtype=dtype)(inputs)
    x = _activate(x, f"{name}a", dtype)
    x = layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_uniform",
        name=f"{name}b_conv",
        dtype=dtype,
    )(x)
    return _activate(x, f"{name}b", dtype)


def _activate(x, name, dtype):
    x = fast_layers.BatchNormalization(
        epsilon=1e-3, momentum=0.99, name=f"{name}_bn", dtype=dtype
    )(x)
    return layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)
