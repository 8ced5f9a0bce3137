"""Random augmentation of a batch: one draw moves images and masks.

Images are uint8 or float [B, H, W, 3] in 0..255, or of other bands [B, H, W, K]; masks
uint8 [B, H, W, C] in {0, 1}.
Both keep their dtype, whatever the precision policy: coordinates are float32. Each
image has its own draw. Outside training nothing is moved.
"""

import inspect
import itertools
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from clouds.errors import InputError
from clouds.schema import RGB, Bands
from clouds.training import augment_layers, replicas, warp

GEOMETRIC = (
    "RandAugment",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomShiftScaleRotate",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers that move masks with their images."""

MIXING = ("CutMix",)
"""Keras layers that copy pixels between images."""

WITHOUT_XLA = (
    "CutMix",
    "Equalization",
    "RandAugment",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers that XLA cannot compile on TensorFlow (Keras 3.15)."""


@keras.saving.register_keras_serializable(package="clouds")
class RandomGeometry(keras.layers.Layer):
    """The notebook's flips, GridDistortion and ElasticTransform (albumentations).

    Args:
      horizontal_flip: probability of a left-right flip.
      vertical_flip: probability of an up-down flip.
      grid_distortion: probability of a grid distortion.
      grid_steps: number of cells along each axis.
      grid_limit: cells are stretched by a factor of 1 - limit to 1 + limit.
      elastic: probability of an elastic distortion.
      elastic_alpha: factor of its smoothed noise.
      elastic_sigma: standard deviation of the Gaussian that smooths it, in pixels.
      elastic_affine: maximum shift of three corners along each axis, in pixels.
      seed: random seed.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      InputError: a probability outside 0 to 1, or an invalid option.
    """

    def __init__(
        self,
        *,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.5,
        grid_distortion: float = 0.2,
        grid_steps: int = 5,
        grid_limit: float = 0.3,
        elastic: float = 0.2,
        elastic_alpha: float = 1.0,
        elastic_sigma: float = 50.0,
        elastic_affine: float = 50.0,
        seed: int | None = 0,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.probabilities = {
            "horizontal_flip": horizontal_flip,
            "vertical_flip": vertical_flip,
            "grid_distortion": grid_distortion,
            "elastic": elastic,
        }
        for name, probability in self.probabilities.items():
            _check_range(name, probability, 0, 1)
        _check_range("grid_steps", grid_steps, 1, 1000)
        _check_range("grid_limit", grid_limit, 0, 1)
        _check_range("elastic_sigma", elastic_sigma, 0.01, 1e4)
        self.grid_steps = grid_steps
        self.grid_limit = grid_limit
        self.elastic_alpha = elastic_alpha
        self.elastic_sigma = elastic_sigma
        self.elastic_affine = elastic_affine
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def draw(self, count, size: tuple[int, int]) -> dict:
        """Draws the random numbers of each image.

        The noise of albumentations is uniform in [-1, 1], with variance 1/3. The waves
        are orthonormal, so its amplitudes on them have that variance, too, are
        uncorrelated, and, being sums over all pixels, are normally distributed.

        Args:
          count: number of images, B.
          size: (H, W) of the images.

        Returns:
          A dict: bool[B] under the name of each probability; `factors` float32[B, 2,
          steps + 1] for x and for y, `jitters` float32[B, 3, 2] and `amplitudes`
          float32[B, 2, K, L], see `warp.grid_lines` and `warp.elastic`.
        """
        options = {"seed": self.generator, "dtype": "float32"}
        chosen = keras.random.uniform((count, len(self.probabilities)), **options)
        chosen = chosen < np.array(list(self.probabilities.values()), "float32")
        shape = (count, 2, self.grid_steps + 1)
        factors = keras.random.uniform(shape, -1.0, 1.0, **options)
        jitters = keras.random.uniform((count, 3, 2), -1.0, 1.0, **options)
        lengths = (warp.waves(n, self.elastic_sigma)[1].size for n in size)
        shape = (count, 2, *lengths)
        return {
            **{name: chosen[:, k] for k, name in enumerate(self.probabilities)},
            "factors": 1.0 + self.grid_limit * factors,
            "jitters": self.elastic_affine * jitters,
            "amplitudes": keras.random.normal(shape, stddev=3**-0.5, **options),
        }

    def move(self, images, masks, drawn):
        """Moves images and masks by the numbers from `draw`.

        Image by image: only a third of them are distorted, and sampling pixels costs
        far more than the loop.

        Args:
          images: uint8, uint16 or float [B, H, W, K].
          masks: uint8[B, H, W, C].
          drawn: result of `draw`.

        Returns:
          Images and masks, of the same shapes and dtypes.
        """
        batch = {"image": images, "mask": masks, **drawn}
        return replicas.each(lambda part: ops.map(self._move_one, part), batch)

    def call(self, inputs, training=None):
        """Moves a batch `(images, masks)`, in training only."""
        images, masks = inputs
        if not training:
            return images, masks
        count, size = ops.shape(images)[0], tuple(images.shape[1:3])
        number, total = replicas.replica()
        drawn = self.draw(count * total, size)
        if total > 1:
            # Each replica draws the same numbers.
            own = slice(number * count, (number + 1) * count)
            drawn = {name: values[own] for name, values in drawn.items()}
        return self.move(images, masks, drawn)

    def get_config(self):
        """Returns the arguments of the constructor."""
        names = "grid_steps grid_limit elastic_alpha elastic_sigma elastic_affine seed"
        options = {name: getattr(self, name) for name in names.split()}
        return {**super().get_config(), **self.probabilities, **options}

    def _move_one(self, drawn):
        flips = drawn["horizontal_flip"], drawn["vertical_flip"]
        pair = tuple(warp.mirror(drawn[name], *flips) for name in ("image", "mask"))
        return ops.cond(
            ops.logical_or(drawn["grid_distortion"], drawn["elastic"]),
            lambda: self._distort(*pair, drawn),
            lambda: pair,
        )

    def _distort(self, image, mask, drawn):
        size = image.shape[:2]
        coordinates = [np.arange(n, dtype="float32") for n in size]
        coordinates = coordinates[0][None, :, None], coordinates[1][None, None]
        if self.probabilities["elastic"]:
            jitters, amplitudes = drawn["jitters"][None], drawn["amplitudes"][None]
            options = size, self.elastic_alpha, self.elastic_sigma
            moved = warp.elastic(jitters, amplitudes, *options)
            coordinates = [
                ops.where(drawn["elastic"], new, old)
                for new, old in zip(moved, coordinates, strict=True)
            ]
        if self.probabilities["grid_distortion"]:
            coordinates = [
                self._follow_grid(drawn, positions, 1 - axis, size[axis])
                for axis, positions in enumerate(coordinates)
            ]
        image = warp.sample(image[None], coordinates)
        return image[0], warp.sample(mask[None], coordinates, "nearest")[0]

    def _follow_grid(self, drawn, positions, which, length):
        lines = warp.grid_lines(drawn["factors"][None, which], length, self.grid_steps)
        plain = np.arange(length, dtype="float32")
        lines = ops.where(drawn["grid_distortion"], lines, plain)
        return warp.follow(lines, positions)


@keras.saving.register_keras_serializable(package="clouds")
class Augmentation(keras.layers.Layer):
    """The notebook's geometric augmentation, then Keras layers; see `build`.

    Args:
      extra: dicts, each with the `name` of a Keras layer and its arguments.
      seed: random seed.
      geometry: options of `RandomGeometry`.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      InputError: an unknown or unsupported layer, or invalid arguments.
    """

    def __init__(self, *, extra=(), seed=0, geometry=None, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.extra = list(extra)
        self.seed = seed
        self.options = geometry or {}
        self.geometry = RandomGeometry(seed=seed, **self.options)
        seeds = itertools.repeat(None) if seed is None else itertools.count(seed + 1)
        self.layers = [_make(*pair) for pair in zip(extra, seeds, strict=False)]
        self.names = [type(layer).__name__ for layer in self.layers]
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = not set(self.names) & set(WITHOUT_XLA)
        self.built = True

    def call(self, inputs, training=None):
        """Augments a batch `(images, masks)`, in training only."""
        images, masks = self.geometry(inputs, training=training)
        if not training or not self.layers:
            return images, masks
        dtypes = images.dtype, masks.dtype
        images = ops.cast(images, "float32")
        for name, layer in zip(self.names, self.layers, strict=True):
            images, masks = _apply(name, layer, images, masks)
        if "int" in (dtype := keras.backend.standardize_dtype(dtypes[0])):
            images = ops.round(ops.clip(images, 0.0, float(np.iinfo(dtype).max)))
        return ops.cast(images, dtypes[0]), ops.cast(masks, dtypes[1])

    def get_config(self):
        """Returns the arguments of the constructor."""
        extra = [dict(spec) for spec in self.extra]
        settings = {"extra": extra, "seed": self.seed, "geometry": dict(self.options)}
        return {**super().get_config(), **settings}


def build(
    *, extra=(), seed: int | None = 0, bands: Bands = RGB, **geometry
) -> Augmentation:
    """Builds the augmentation, by default the notebook's.

    Args:
      extra: dicts, each with the `name` of a Keras layer in `PHOTOMETRIC`,
        `GEOMETRIC` or `MIXING`, and its arguments, in the order to apply:
        `[{"name": "RandomContrast", "factor": 0.2}]`.
      seed: random seed.
      bands: bands of the images.
      **geometry: options of `RandomGeometry`.

    Returns:
      A layer: `layer((images, masks), training=True)` -> (images, masks). Keras layers
      in `WITHOUT_XLA` turn off its `supports_jit` on TensorFlow.

    Raises:
      InputError: an unknown or unsupported layer, one that needs other bands, or
        invalid arguments.
    """
    augment_layers.check_bands(extra, bands)
    return Augmentation(extra=extra, seed=seed, geometry=geometry)


def _make(spec, seed):
    name, arguments = None, {}
    if isinstance(spec, Mapping):
        name = spec.get("name")
        arguments = {key: value for key, value in spec.items() if key != "name"}
    known = augment_layers.PHOTOMETRIC + GEOMETRIC + MIXING
    own = getattr(augment_layers, str(name), None)
    kind = (own or getattr(keras.layers, name, None)) if name in known else None
    if kind is None:
        raise InputError(
            'An augmentation layer must be a mapping {"name": ..., arguments} of a '
            f"layer in Keras {keras.__version__}. Received: {spec!r}. Supported: "
            f"{', '.join(sorted(known))}; others change the size, blend masks, or fail "
            "on masks of several labels."
        )
    if "seed" in inspect.signature(kind).parameters:
        arguments.setdefault("seed", seed)
    try:
        return kind(**{"dtype": "float32", **arguments})
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name} rejects its arguments: {reason} "
            f"Received: {spec}. See keras.io/api/layers/preprocessing_layers."
        ) from error


def _apply(name, layer, images, masks):
    if name in augment_layers.PHOTOMETRIC:
        return layer(images, training=True), masks
    if name in GEOMETRIC:
        moved = {"images": images, "segmentation_masks": masks}
        moved = layer(moved, training=True)
        return moved["images"], moved["segmentation_masks"]
    # CutMix fails on masks with another number of channels than the images; stacked as
    # channels, both are moved alike.
    stack = ops.concatenate([images, ops.cast(masks, "float32")], axis=-1)
    stack = layer(stack, training=True)
    return stack[..., : images.shape[-1]], stack[..., images.shape[-1] :]


def _check_range(name, value, lowest, highest):
    if not lowest <= value <= highest:
        raise InputError(
            f"{name} must be from {lowest} to {highest}. Received: {value}."
        )
