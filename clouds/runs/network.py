"""Trained runs as one network: their probabilities averaged, over flipped views too."""

from collections.abc import Sequence

import keras
from keras import ops

from clouds.config import fields
from clouds.config.training import Training
from clouds.errors import InputError
from clouds.runs import run_folder

_ROWS, _COLUMNS = 1, 2
_FLIPS = ((_ROWS,), (_COLUMNS,), (_ROWS, _COLUMNS))


def load(
    folders: Sequence[str], *, flips: bool = False, precision: str | None = None
) -> keras.Model:
    """Builds the networks of runs, from pixels to the mean of their probabilities.

    Args:
      folders: of the runs.
      flips: whether each also sees the images flipped up-down, left-right and both;
        its probabilities are flipped back.
      precision: dtype or policy of their layers; those of the trainings if None.

    Returns:
      A model from uint8[B, H, W, 3] to probabilities float32[B, H, W, C].

    Raises:
      InputError: a folder holds no run, or the runs differ in their images' size or
        decoding.
    """
    settings(folders)
    if len(folders) == 1 and not flips:
        return run_folder.load(folders[0], precision=precision)
    # Of two models of one name Keras could not make a third.
    networks = [
        run_folder.load(folder, name=f"network_{k}", precision=precision)
        for k, folder in enumerate(folders)
    ]
    images = keras.Input(networks[0].input_shape[1:], dtype="uint8", name="images")
    probabilities = []
    for network in networks:
        probabilities.append(network(images))
        for axes in _FLIPS if flips else ():
            seen = network(_flip(images, axes))
            probabilities.append(_flip(seen, axes))
    return keras.Model(images, sum(probabilities) / len(probabilities), name="clouds")


def _flip(images, axes: tuple[int, ...]):
    # Keras 3.13, which Colab has, flips along one axis at a time.
    for axis in axes:
        images = ops.flip(images, axis)
    return images


def settings(folders: Sequence[str]) -> Training:
    """Reads what runs were trained with, and checks that they go together.

    Args:
      folders: of the runs.

    Returns:
      Those of the first.

    Raises:
      InputError: as `load`.
    """
    first, *others = (run_folder.settings(folder) for folder in folders)
    for folder, other in zip(folders[1:], others, strict=True):
        for name in ("size", "decode"):
            there, here = getattr(first, name), getattr(other, name)
            if there != here:
                hint = fields.hints(Training)[name]
                there, here = (fields.shown(value, hint) for value in (there, here))
                raise InputError(
                    f"Runs must have the same {name} to be averaged. Received: "
                    f"{there} in {folders[0]}, {here} in {folder}. Leave one out."
                )
    return first
