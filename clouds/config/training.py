"""Settings of a training."""

import json
from dataclasses import dataclass
from typing import Literal

from clouds.config.fields import (
    Address,
    Decode,
    Folder,
    Json,
    LocalFolder,
    Place,
    Precision,
    Size,
    check,
    flag,
    kept,
    not_negative,
    positive,
    within_one,
)
from clouds.errors import InputError, MissingError
from clouds.text import counted


@dataclass(frozen=True, kw_only=True)
class Training:
    """Trains a U-Net with a ResNet34 encoder on records, or goes on with a run.

    Example:
      bin/train --records tfrecords/clouds --run runs/first
      bin/train --run runs/first --epochs 30
    """

    records: Folder | None = flag("folder of records", None)
    run: LocalFolder = flag(
        "folder for weights, history and settings; if it holds a run, that goes on, "
        "and flags left out are its own"
    )
    fold: int | None = flag("fold that validates, of records made in folds", None)
    epochs: int = flag("passes over the training images at most", 15)
    batch_size: int = flag("images a step, on all devices together", 32)
    seed: int = flag("of weights, order and augmentation", 0)
    tune: bool = flag(
        "at the end choose the post-process on the validation images, as bin/evaluate "
        "--tune does",
        False,
    )
    overwrite: bool = flag("replace the run in the folder", False)

    size: Size | None = flag(
        "height x width to train at; the records' if not given",
        None,
        section="network",
    )
    encoder_weights: Place = flag(
        "imagenet, an HDF5 file of Keras, a run's folder, or none to start from "
        "random weights",
        "none",
    )
    freeze_epochs: int = flag(
        "epochs in which the encoder's weights stay; not on JAX", 0
    )
    preprocess: Literal["unit", "raw"] = flag("pixels as 0..1 or as 0..255", "unit")
    batch_norm_momentum: float = flag(
        "of the moving averages that validation and prediction use; "
        "lower it for runs of a few hundred steps",
        0.99,
    )
    precision: Precision = flag("auto takes what the device is fast at", "auto")

    loss: Literal["bce_dice", "bce", "dice"] = flag(
        "cross-entropy, 1 - Dice, or their sum", "bce_dice", section="optimisation"
    )
    learning_rate: float = flag("of Adam, where it is highest", 3e-4)
    schedule: Literal["plateau", "cosine"] = flag(
        "how the learning rate falls: when val_loss does not, or over all epochs",
        "plateau",
    )
    plateau_patience: int = flag(
        "epochs without a better val_loss before the learning rate falls", 3
    )
    plateau_factor: float = flag("by which the learning rate then falls", 0.5)
    min_learning_rate: float = flag("below which it then does not fall", 1e-6)
    warmup_epochs: float = flag(
        "epochs in which the learning rate rises from 0, before the cosine", 0
    )
    stop_patience: int = flag("epochs without a better val_loss before it stops", 5)
    weight_decay: float = flag("of AdamW; 0 is the notebook's Adam", 0)
    clip_norm: float = flag("norm that all gradients together keep; 0 for none", 0)
    accumulate: int = flag("steps whose gradients make one update", 1)
    ema_momentum: float = flag(
        "of the weights' moving average, then validated and kept; 0 for none", 0
    )

    horizontal_flip: float = flag(
        "chance that an image is flipped left-right", 0.5, section="augmentation"
    )
    vertical_flip: float = flag("chance that an image is flipped up-down", 0.5)
    grid_distortion: float = flag("chance of a grid distortion", 0.2)
    elastic: float = flag("chance of an elastic transform", 0.2)
    augmentation: Json = flag(
        "Keras layers to add, as JSON, such as "
        '[{"name": "RandomContrast", "factor": 0.2}]',
        "[]",
    )

    checkpoint_every: int = flag(
        "steps between checkpoints; each epoch ends with one",
        500,
        section="machine",
    )
    track: Literal["none", "mlflow", "wandb"] = flag(
        "tell an experiment tracker too, set up by its environment variables; needs "
        "its package (bin/setup mlflow, bin/setup wandb)",
        "none",
    )
    cache: Place | None = flag(
        "keep unpacked images: memory, or a folder on a fast disk", None
    )
    deterministic: bool = flag("the same bits each time, at some cost", False)
    devices: int = flag(
        "devices of each machine that share a batch; 0 for all it has", 1
    )
    hosts: int = flag("machines that share a batch; needs KERAS_BACKEND=jax", 1)
    host_index: int = flag(
        "which of them this is, from 0; that one writes --run", 0, renamed_from="host"
    )
    coordinator: Address | None = flag(
        "host 0's, for all; left out where JAX knows the hosts", None
    )

    decode: Decode = kept("reduced")

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "epochs", "batch_size", "learning_rate", "checkpoint_every")
        positive(self, "stop_patience", "plateau_patience", "accumulate", "hosts")
        not_negative(self, "min_learning_rate", "seed", "warmup_epochs")
        not_negative(self, "weight_decay", "clip_norm", "freeze_epochs")
        within_one(self, "horizontal_flip", "vertical_flip", "plateau_factor")
        within_one(self, "grid_distortion", "elastic", "batch_norm_momentum")
        within_one(self, "ema_momentum")
        check(self, ("plateau_factor",), "must be below 1", lambda value: value < 1)
        if self.warmup_epochs and self.schedule != "cosine":
            raise InputError(
                "--warmup-epochs must go with --schedule cosine. Received: "
                f"--schedule {self.schedule}. Add it, or leave the warm-up out."
            )
        if self.size is not None:
            positive(self, "size")
        not_negative(self, "devices", "host_index")
        if self.host_index >= self.hosts:
            raise InputError(
                f"--host-index must be below --hosts. Received: {self.host_index}, of "
                f"{counted(self.hosts, 'host')}. Count from 0."
            )
        if self.tune and self.hosts > 1:
            raise InputError(
                "--tune must be left out with --hosts, where one host would work and "
                f"the others wait. Received: {self.hosts} hosts. bin/evaluate --tune "
                "does the same afterwards."
            )
        _named_layers(self.augmentation)
        # Last, as settings that lack them may still be printed.
        if self.records is None:
            raise MissingError(
                "--records must be given for a new run. Received: none, and --run "
                f"'{self.run}', which holds no run to go on with. Check both."
            )


def _named_layers(text: str) -> None:
    try:
        layers = json.loads(text)
    except json.JSONDecodeError:
        layers = None
    named = isinstance(layers, list) and all(
        isinstance(layer, dict) and "name" in layer for layer in layers
    )
    if not named:
        raise InputError(
            "--augmentation must be a JSON list of layers with a name and arguments, "
            f'such as [{{"name": "RandomContrast", "factor": 0.2}}]. Received: {text}.'
        )
