"""Weights from elsewhere, matched to the network's layers by their names.

Reads the HDF5 files of Keras 2 (image-classifiers, segmentation-models) and of
Keras 3 (a run of ours). Arrays are float, of the shapes that Keras gives them.
"""

import os
from pathlib import Path

import h5py
import keras
import numpy as np

from clouds.errors import InputError
from clouds.models import resnet

URL = (
    "https://github.com/qubvel/classification_models/releases/download/0.0.1/"
    "resnet34_imagenet_1000_no_top.h5"
)
MD5 = "8caaa0ad39d927cb8ba5385bf945d582"


def fetch() -> Path:
    """Fetches the encoder's ImageNet weights, once.

    Returns:
      The file, in Keras's cache, where image-classifiers keeps it too.

    Raises:
      InputError: it cannot be fetched, or is not the file expected.
    """
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    place = cache / "models" / URL.rpartition("/")[-1]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        keras.utils.get_file(
            place.name,
            URL,
            file_hash=MD5,
            hash_algorithm="md5",
            cache_subdir="models",
            cache_dir=cache,
        )
    except Exception as error:  # Keras raises it bare.
        raise InputError(
            f"ImageNet weights must be fetched once from {URL}. Received: {error}. "
            f"Get that file by other means (its md5 is {MD5}) and put it at {place}."
        ) from error
    return place


def read(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """Reads the arrays in an HDF5 file of Keras 2 or 3.

    Args:
      path: of the file.

    Returns:
      The arrays of each layer by their names, in the file's order. Keras 3 numbers
      them instead.

    Raises:
      InputError: there is no such file, or it is none of Keras.
    """
    if not Path(path).is_file():
        raise _unreadable(path, "where no file is")
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            old = "layer_names" in root.attrs
            by_layer = _of_keras_2(root) if old else _of_keras_3(root)
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(path, f"no HDF5 file or a damaged one ({error})") from error
    if not by_layer:
        raise _unreadable(path, "which holds no layers")
    return by_layer


def load(network: keras.Model, source: str | Path) -> str:
    """Gives a network the weights of another, layer by layer.

    The whole encoder must be in the file and fit. A layer of the decoder that is
    not, or does not, keeps its weights.

    Args:
      network: of `clouds.models.unet.build`.
      source: `imagenet`, or an HDF5 file of Keras 2 or 3, of the encoder alone or
        of a whole network.

    Returns:
      One line for the user: what was loaded, and what was not.

    Raises:
      InputError: the file cannot be had or read, or its encoder does not fit; the
        network keeps its weights then.
    """
    path = fetch() if source == "imagenet" else Path(source)
    by_layer = read(path)
    layers = {
        # Keras 2 writes what is trained first.
        layer.name: [*layer.trainable_weights, *layer.non_trainable_weights]
        for layer in network.layers
        if layer.weights
    }
    pairs = {
        name: _pair(variables, by_layer.get(name, {}))
        for name, variables in layers.items()
    }
    left_out = _left_out(layers, by_layer, pairs)
    if not all(pairs[name] for name in layers if resnet.owns(name)):
        raise InputError(
            "Encoder weights must fit every layer of the ResNet34. Received: "
            f"{path}{left_out}. Give a file that image-classifiers or "
            "segmentation-models wrote of a resnet34, or a run's folder."
        )
    loaded = [pair for of_layer in pairs.values() for pair in of_layer]
    for variable, array in loaded:
        variable.assign(array)
    count = sum(map(bool, pairs.values()))
    return f"{count} layers ({len(loaded)} arrays) from {path}{left_out}"


def _of_keras_2(root: h5py.Group) -> dict[str, dict[str, np.ndarray]]:
    by_layer = {}
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        names = list(map(_text, group.attrs["weight_names"]))
        # A nested model's group holds the arrays of several layers.
        nested = len({name.rpartition("/")[0] for name in names}) > 1
        for name in names:
            scope, _, variable = name.partition(":")[0].rpartition("/")
            owner = scope.rpartition("/")[-1] if nested else layer
            by_layer.setdefault(owner, {})[variable] = group[name][()]
    return by_layer


def _of_keras_3(root: h5py.Group) -> dict[str, dict[str, np.ndarray]]:
    by_layer = {}

    def visit(path: str, entry):
        if path.rpartition("/")[-1] == "vars" and len(entry):
            numbers = sorted(entry, key=int)
            by_layer[entry.attrs["name"]] = {n: entry[n][()] for n in numbers}

    root.visititems(visit)
    return by_layer


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _pair(variables: list, arrays: dict[str, np.ndarray]) -> list[tuple]:
    """Pairs by name, or by order where the names are others; none if one misfits."""
    names = [variable.name for variable in variables]
    if set(names) == set(arrays):
        ordered = [arrays[name] for name in names]
    elif set(names) & set(arrays):
        return []
    else:
        ordered = list(arrays.values())
    if [array.shape for array in ordered] != [v.shape for v in variables]:
        return []
    return list(zip(variables, ordered, strict=True))


def _left_out(layers: dict, by_layer: dict, pairs: dict) -> str:
    absent = [name for name in layers if name not in by_layer]
    if absent == [name for name in layers if not resnet.owns(name)]:
        absent = ["a decoder"]
    misfits = [
        f"{name} with {_shapes(by_layer[name].items())} instead of "
        f"{_shapes((v.name, v) for v in layers[name])}"
        for name in layers
        if name in by_layer and not pairs[name]
    ]
    unknown = [name for name in by_layer if name not in layers]
    parts = {"without": absent, "not fitting:": misfits, "of no use here:": unknown}
    return "".join(f"; {what} {', '.join(of)}" for what, of in parts.items() if of)


def _shapes(named) -> str:
    return " ".join(f"{name}{tuple(value.shape)}" for name, value in named)


def _unreadable(path: str | Path, problem: str) -> InputError:
    return InputError(
        "Encoder weights must be imagenet, none, an HDF5 file of Keras or a run's "
        f"folder. Received: {path}, {problem}. Check the path."
    )
