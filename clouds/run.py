"""A run's folder: what it was trained with, its best weights, its network.

`config.json` the settings, `run.json` what came of them, `best.weights.h5` the
weights of the best epoch, `history.csv` and `history.png` the losses,
`summary.txt` the layers.
"""

import dataclasses
import json
import platform
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from clouds import __version__, pixels, unet
from clouds.config import Training
from clouds.errors import InputError

CONFIG = "config.json"
FACTS = "run.json"
WEIGHTS = "best.weights.h5"


def create(settings: Training) -> Path:
    """Makes the folder of a new run and writes its settings there.

    Args:
      settings: with every choice made (size, precision).

    Returns:
      The folder.

    Raises:
      InputError: the folder holds a run and must not be replaced, or holds
        something else.
    """
    folder = Path(settings.run)
    if (folder / CONFIG).exists():
        if not settings.overwrite:
            raise InputError(
                f"--run must be a new folder. Received: '{folder}', which holds a "
                "run. Give another, or --overwrite."
            )
        for name in (CONFIG, FACTS, WEIGHTS, "history.csv", "history.png"):
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, dataclasses.asdict(settings))
    return folder


def settings(folder: str) -> Training:
    """Reads the settings that a run was trained with.

    Raises:
      InputError: the folder holds no run, or a damaged one.
    """
    path = Path(folder, CONFIG)
    if not path.is_file():
        raise InputError(
            f"--run must be a folder of bin/train. Received: '{folder}', which has no "
            f"{CONFIG}. Check the path."
        )
    try:
        fields = json.loads(path.read_text())
        fields["size"] = tuple(fields["size"])
        return Training(**fields)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"Settings must be as bin/train writes them. Received: {path}, damaged or "
            f"of another version ({error}). Train again."
        ) from error


def load(folder: str) -> keras.Model:
    """Builds the network of a run, from pixels to probabilities.

    Args:
      folder: of the run.

    Returns:
      A model from uint8[B, H, W, 3] to probabilities float32[B, H, W, C], in
      the precision that the run was trained in.

    Raises:
      InputError: the folder holds no run, or no weights.
    """
    chosen = settings(folder)
    path = Path(folder, WEIGHTS)
    if not path.is_file():
        raise InputError(
            f"--run must hold trained weights. Received: '{folder}', which has no "
            f"{WEIGHTS}: not one epoch was finished. Train again with --overwrite."
        )
    network = unet.build(chosen.size, dtype=chosen.precision)
    try:
        network.load_weights(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Weights must be as bin/train writes them. Received: {path}, damaged "
            f"({str(error).splitlines()[0]}). Train again with --overwrite."
        ) from error
    images = keras.Input((*chosen.size, 3), dtype="uint8", name="images")
    logits = network(pixels.prepare(images, chosen.preprocess))
    probabilities = keras.layers.Activation("sigmoid", dtype="float32")(logits)
    return keras.Model(images, probabilities, name="clouds")


def save_weights(network: keras.Model, folder: Path) -> None:
    """Writes the weights under a temporary name, then renames them."""
    part = folder / f"part.{WEIGHTS}"
    network.save_weights(part)
    part.replace(folder / WEIGHTS)


def versions() -> dict[str, str]:
    """The versions that a run's figures depend on."""
    modules = (tf, keras, np, cv2)
    return {
        "clouds": __version__,
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in modules},
    }


def write_json(path: Path, fields: dict) -> None:
    """Writes JSON under a temporary name, then renames it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(fields, indent=2) + "\n")
    part.replace(path)
