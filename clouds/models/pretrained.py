"""Loads weights from other files, matched to the network's layers by name.

Reads the HDF5 files of Keras 2 (image-classifiers, segmentation-models) and Keras 3
(a run of this package). Arrays are float, in Keras's shapes.
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
    """Downloads the encoder's ImageNet weights, once.

    Returns:
      The file, in Keras's cache, where image-classifiers stores it, too.

    Raises:
      InputError: the download failed, or the file has another checksum.
    """
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = cache / "models" / URL.rpartition("/")[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        keras.utils.get_file(
            path.name,
            URL,
            file_hash=MD5,
            hash_algorithm="md5",
            cache_subdir="models",
            cache_dir=cache,
        )
    except Exception as error:  # Keras raises no narrower one.
        raise InputError(
            f"The ImageNet weights could not be downloaded from {URL} ({error}). "
            f"Download the file by other means (MD5 {MD5}) and save it as {path}."
        ) from error
    return path


def read(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """Reads the arrays of an HDF5 file of Keras 2 or 3.

    Args:
      path: HDF5 file.

    Returns:
      The arrays of each layer by name, in the order of the file. In Keras 3 the names
      are numbers.

    Raises:
      InputError: the file does not exist, or is not Keras's.
    """
    if not Path(path).is_file():
        raise _unreadable(path, "which does not exist")
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            is_keras_2 = "layer_names" in root.attrs
            by_layer = _read_keras_2(root) if is_keras_2 else _read_keras_3(root)
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(
            path, f"which is no HDF5 file or damaged ({error})"
        ) from error
    if not by_layer:
        raise _unreadable(path, "which has no layers")
    return by_layer


def load(network: keras.Model, source: str | Path) -> str:
    """Loads weights into a network, layer by layer.

    The file must have the complete encoder. Layers of the decoder that are missing or
    have other shapes keep their weights.

    Args:
      network: network from `clouds.models.unet.build`.
      source: `imagenet`, or an HDF5 file of Keras 2 or 3, with the encoder or the
        entire network.

    Returns:
      A line for the user: what was loaded, and what was not.

    Raises:
      InputError: the file cannot be downloaded or read, or its encoder does not fit;
        the network is unchanged then.
    """
    path = fetch() if source == "imagenet" else Path(source)
    by_layer = read(path)
    adapted = _fit_bands(network, by_layer)
    layers = {
        # Keras 2 writes the trainable weights first.
        layer.name: [*layer.trainable_weights, *layer.non_trainable_weights]
        for layer in network.layers
        if layer.weights
    }
    pairs = {
        name: _pair(variables, by_layer.get(name, {}))
        for name, variables in layers.items()
    }
    not_loaded = _not_loaded(layers, by_layer, pairs)
    if not all(pairs[name] for name in layers if resnet.is_encoder_layer(name)):
        raise InputError(
            "--encoder-weights must fit every layer of the ResNet34. Received: "
            f"{path}{not_loaded}. Give a resnet34 file of image-classifiers or "
            "segmentation-models, or the folder of a run."
        )
    loaded = [pair for layer_pairs in pairs.values() for pair in layer_pairs]
    for variable, array in loaded:
        variable.assign(array)
    count = sum(map(bool, pairs.values()))
    return f"{count} layers ({len(loaded)} arrays) from {path}{adapted}{not_loaded}"


def _fit_bands(network: keras.Model, by_layer: dict) -> str:
    """Adapts the arrays of the first layers to another number of bands, and says so."""
    names = {layer.name for layer in network.layers}
    if not {"bn_data", "conv0"} <= names & by_layer.keys():
        return ""
    [(name, kernel)] = by_layer["conv0"].items()
    wanted = network.input_shape[-1]
    if kernel.ndim != 4 or kernel.shape[2] == wanted:
        return ""
    # The response to an image whose bands are alike stays the same.
    mean = kernel.mean(axis=2, keepdims=True) * kernel.shape[2] / wanted
    by_layer["conv0"] = {name: np.repeat(mean, wanted, axis=2)}
    layer = network.get_layer("bn_data")
    by_layer["bn_data"] = {v.name: np.asarray(v) for v in layer.weights}
    return (
        f"; conv0 is the mean over {kernel.shape[2]} bands, for each of {wanted}, and "
        "bn_data keeps its initial weights"
    )


def _read_keras_2(root: h5py.Group) -> dict[str, dict[str, np.ndarray]]:
    by_layer = {}
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        names = list(map(_text, group.attrs["weight_names"]))
        # The group of a nested model has the arrays of several layers.
        nested = len({name.rpartition("/")[0] for name in names}) > 1
        for name in names:
            scope, _, variable = name.partition(":")[0].rpartition("/")
            owner = scope.rpartition("/")[-1] if nested else layer
            by_layer.setdefault(owner, {})[variable] = group[name][()]
    return by_layer


def _read_keras_3(root: h5py.Group) -> dict[str, dict[str, np.ndarray]]:
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
    """Pairs variables and arrays by name, or by order; empty if one does not fit."""
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


def _not_loaded(layers: dict, by_layer: dict, pairs: dict) -> str:
    missing = [name for name in layers if name not in by_layer]
    if missing == [name for name in layers if not resnet.is_encoder_layer(name)]:
        missing = ["a decoder"]
    misfits = [
        f"{name} with {_shapes(by_layer[name].items())} instead of "
        f"{_shapes((v.name, v) for v in layers[name])}"
        for name in layers
        if name in by_layer and not pairs[name]
    ]
    unknown = [name for name in by_layer if name not in layers]
    parts = {"without": missing, "other shapes:": misfits, "not used:": unknown}
    return "".join(f"; {what} {', '.join(of)}" for what, of in parts.items() if of)


def _shapes(named) -> str:
    return " ".join(f"{name}{tuple(value.shape)}" for name, value in named)


def _unreadable(path: str | Path, problem: str) -> InputError:
    return InputError(
        "--encoder-weights must be imagenet, none, a Keras HDF5 file or the folder of "
        f"a run. Received: {path}, {problem}. Check the path."
    )
