"""Keras layers for `--augmentation` that Keras itself lacks.

Images are float [B, H, W, C] in 0..255, masks uint8 [B, H, W, L]. Each image has its
own draw; outside training nothing changes.
"""

from collections.abc import Iterable, Mapping

import keras
import numpy as np
from keras import ops

from clouds.errors import InputError
from clouds.schema import RGB, Bands
from clouds.training import warp

PHOTOMETRIC = (
    "AutoContrast",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Equalization",
    "RandomBrightness",
    "RandomChannelShuffle",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomSaturation",
    "RandomSharpness",
    "Solarization",
)
"""Layers that change images only."""

OF_COLOURS = ("RandAugment", *(set(PHOTOMETRIC) - {"RandomChannelShuffle"}))
"""Layers that need 8-bit RGB."""

_OPTIONS = {"dtype": "float32", "autocast": False}


def check_bands(extra: Iterable, bands: Bands) -> None:
    """Checks that layers suit the bands of images.

    Args:
      extra: dicts with the `name` of a layer, as for `augment.build`.
      bands: bands of the images.

    Raises:
      InputError: a layer needs 8-bit RGB, and the images are of other bands.
    """
    names = [spec.get("name") for spec in extra if isinstance(spec, Mapping)]
    if bands != RGB and (wrong := [name for name in names if name in OF_COLOURS]):
        raise InputError(
            f"--augmentation: {wrong[0]} needs 8-bit RGB. Received: images of {bands}. "
            "Leave it out; layers that move images, RandomChannelShuffle and CutMix "
            "take any bands."
        )


@keras.saving.register_keras_serializable(package="clouds")
class RandomShiftScaleRotate(keras.layers.Layer):
    """Albumentations' ShiftScaleRotate with a black border.

    The defaults are those of the competition's first place.

    Args:
      probability: probability that an image is moved.
      shift: maximum shift along each axis, as a fraction of the side.
      scale: maximum change of the size, as a fraction.
      rotate: maximum angle in degrees.
      seed: random seed.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(
        self, probability=0.5, shift=0.1, scale=0.2, rotate=10.0, seed=None, **kwargs
    ):
        super().__init__(**{**_OPTIONS, **kwargs})
        if not (0 <= probability <= 1 and 0 <= scale < 1 and min(shift, rotate) >= 0):
            raise ValueError(
                "probability and scale must be from 0 to 1, shift and rotate 0 or more."
            )
        self.arguments = {
            "probability": probability,
            "shift": shift,
            "scale": scale,
            "rotate": rotate,
            "seed": seed,
        }
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def draw(self, count) -> tuple:
        """Draws angles float32[B], scales float32[B] and shifts float32[B, 2].

        Images that are not chosen get 0, 1 and 0.
        """
        options = {"seed": self.generator, "dtype": "float32"}
        limits = self.arguments
        chosen = keras.random.uniform((count, 1), **options) < limits["probability"]
        drawn = keras.random.uniform((count, 4), -1.0, 1.0, **options)
        drawn = ops.where(chosen, drawn, 0.0)
        angles = limits["rotate"] * drawn[:, 0]
        scales = 1 + limits["scale"] * drawn[:, 1]
        return angles, scales, limits["shift"] * drawn[:, 2:]

    def call(self, inputs, training=None):
        """Moves a dict of `images` and `segmentation_masks`, in training only."""
        if not training:
            return inputs
        images, masks = inputs["images"], inputs["segmentation_masks"]
        size = tuple(images.shape[1:3])
        drawn = self.draw(ops.shape(images)[0])
        coordinates = warp.shift_scale_rotate(*drawn, size)
        return {
            "images": warp.sample(images, coordinates, border="black"),
            "segmentation_masks": warp.sample(masks, coordinates, "nearest", "black"),
        }

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), **self.arguments}


@keras.saving.register_keras_serializable(package="clouds")
class RandomChannelShuffle(keras.layers.Layer):
    """Albumentations' ChannelShuffle.

    Args:
      probability: probability that the channels of an image are shuffled.
      seed: random seed.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, probability=0.5, seed=None, **kwargs):
        super().__init__(**{**_OPTIONS, **kwargs})
        if not 0 <= probability <= 1:
            raise ValueError("probability must be from 0 to 1.")
        self.probability = probability
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images, training=None):
        """Shuffles the channels of float [B, H, W, C], in training only."""
        if not training:
            return images
        count, channels = ops.shape(images)[0], images.shape[-1]
        options = {"seed": self.generator, "dtype": "float32"}
        chosen = keras.random.uniform((count, 1), **options) < self.probability
        order = ops.argsort(keras.random.uniform((count, channels), **options), axis=1)
        order = ops.where(chosen, order, np.arange(channels, dtype="int32"))
        return ops.take_along_axis(images, order[:, None, None, :], axis=-1)

    def get_config(self):
        """Returns the arguments of the constructor."""
        arguments = {"probability": self.probability, "seed": self.seed}
        return {**super().get_config(), **arguments}
