"""Loads runs as one Keras model, with averaged predictions and flipped views."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from clouds.config import fields
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.errors import InputError
from clouds.models import unet
from clouds.runs import run_folder
from clouds.text import counted

_ROWS, _COLUMNS = 1, 2
_FLIPS = ((_ROWS,), (_COLUMNS,), (_ROWS, _COLUMNS))


def load(
    folders: Sequence[str], *, flips: bool = False, precision: str | None = None
) -> keras.Model:
    """Builds the networks of runs, from pixels to the mean of their probabilities.

    Args:
      folders: folders of the runs.
      flips: whether to average over four views: original, flipped up-down, left-right,
        and both.
      precision: dtype or policy of the layers; None for that of each training.

    Returns:
      A model from images [B, H, W, K] of the runs' bands, such as uint8[B, H, W, 3], to
      probabilities float32[B, H, W, C]. If all runs
      have a class head, to a list of these and the probabilities of presence,
      float32[B, C]; `split` tells them apart.

    Raises:
      InputError: a folder holds no run or no weights, or the runs differ in the size,
        decoding or bands of their images.
    """
    dtype = settings(folders).dtype
    # Keras cannot combine two models with the same name.
    names = ["clouds"] if len(folders) == 1 and not flips else None
    networks = [
        load_one(
            folder, name=names[k] if names else f"network_{k}", precision=precision
        )
        for k, folder in enumerate(folders)
    ]
    if names:
        return networks[0]
    images = keras.Input(networks[0].input_shape[1:], dtype=dtype, name="images")
    views = []
    for network in networks:
        for axes in ((), *_FLIPS) if flips else ((),):
            probabilities, presence = split(network(_flip(images, axes)))
            views.append((_flip(probabilities, axes), presence))
    columns = [c for c in zip(*views, strict=True) if all(v is not None for v in c)]
    means = [sum(part) / len(part) for part in columns]
    outputs = means if len(means) > 1 else means[0]
    return keras.Model(images, outputs, name="clouds")


def split(outputs) -> tuple:
    """Returns the probabilities of a network, and those of presence or None.

    Args:
      outputs: what a model from `load` returned.
    """
    if isinstance(outputs, (list, tuple)):
        probabilities, presence = outputs
        return probabilities, presence
    return outputs, None


def predict(model: keras.Model, images) -> tuple[np.ndarray, np.ndarray | None]:
    """Predicts a batch of images.

    Args:
      model: model from `load`.
      images: of the bands of the runs, [B, H, W, K].

    Returns:
      Probabilities float32[B, H, W, C], and those of presence float32[B, C], or None.
    """
    probabilities, presence = split(model.predict_on_batch(images))
    return np.asarray(probabilities), None if presence is None else np.asarray(presence)


def check_finite(names: Sequence[str], probabilities: np.ndarray, folders) -> None:
    """Rejects probabilities that are NaN.

    Args:
      names: names of B images.
      probabilities: float32[B, H, W, C].
      folders: folders of the runs.

    Raises:
      InputError: some are NaN.
    """
    is_wrong = np.isnan(probabilities).any(axis=(1, 2, 3))
    if is_wrong.any():
        raise InputError(
            f"The network of {', '.join(folders)} returned NaN for {is_wrong.sum()} of "
            f"{counted(len(names), 'image')} of a batch, first "
            f"{names[int(is_wrong.argmax())]}. Check the loss in its history.csv, and "
            "train with --precision float32."
        )


def has_class_head(folders: Sequence[str]) -> bool:
    """Returns whether all runs have a class head, which `load` then averages."""
    return all(run_folder.settings(folder).class_head for folder in folders)


def load_one(
    folder: str | Path, *, name: str = "clouds", precision: str | None = None
) -> keras.Model:
    """Builds the network of a run, from pixels to probabilities.

    Args:
      folder: folder of the run.
      name: name of the model.
      precision: dtype or policy of the layers; None for that of the training.

    Returns:
      A model as from `load`.

    Raises:
      InputError: the folder holds no run, or no weights, or damaged ones, or a
        training replaces them.
    """
    stored = run_folder.settings(folder)
    path = run_folder.weights(folder)
    checksum = run_folder.weights_checksum(folder)
    network = unet.build(
        stored.size,
        len(stored.labels),
        class_head=stored.class_head,
        bands=len(stored.band_names),
        dtype=precision or stored.precision,
    )
    try:
        network.load_weights(path)
        if not all(np.isfinite(array).all() for array in network.get_weights()):
            raise ValueError("NaN or infinite numbers")
    except Exception as error:  # Keras and h5py raise many kinds for a damaged file.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"The weights {path} are damaged ({reason}). Train again with --overwrite."
        ) from error
    check_unchanged([folder], [checksum])
    shape = *stored.size, len(stored.band_names)
    images = keras.Input(shape, dtype=stored.dtype, name="images")
    logits = network(preprocessing.prepare(images, *stored.scaling))
    sigmoid = keras.layers.Activation("sigmoid", dtype="float32")
    if isinstance(logits, list):
        return keras.Model(images, [sigmoid(each) for each in logits], name=name)
    return keras.Model(images, sigmoid(logits), name=name)


def check_unchanged(folders: Sequence[str], checksums: Sequence[str]) -> None:
    """Checks that no training has replaced weights since they were loaded.

    Args:
      folders: folders of the runs.
      checksums: their `run_folder.weights_checksum` before `load`.

    Raises:
      InputError: the weights of a run have another checksum.
    """
    for folder, checksum in zip(folders, checksums, strict=True):
        if run_folder.weights_checksum(folder) != checksum:
            raise InputError(
                f"A training has replaced the weights of {folder} meanwhile. Run the "
                "same command again, best after the training."
            )


def settings(folders: Sequence[str]) -> Training:
    """Reads the settings of runs, and checks that the runs can be averaged.

    Args:
      folders: folders of the runs.

    Returns:
      The settings of the first run.

    Raises:
      InputError: as for `load`.
    """
    first, *others = (run_folder.settings(folder) for folder in folders)
    for folder, other in zip(folders[1:], others, strict=True):
        for name in ("size", "decode", "records_size", "band_names", "dtype"):
            pair = getattr(first, name), getattr(other, name)
            if pair[0] != pair[1]:
                hint = fields.hints(Training)[name]
                shown = [fields.shown(value, hint) for value in pair]
                raise InputError(
                    f"Runs must have the same {name} to be averaged. Received: "
                    f"{shown[0]} in {folders[0]}, {shown[1]} in {folder}. Leave one "
                    "out."
                )
    return first


def _flip(images, axes: tuple[int, ...]):
    # Keras 3.13, the version on Colab, flips along one axis only.
    for axis in axes:
        images = ops.flip(images, axis)
    return images
