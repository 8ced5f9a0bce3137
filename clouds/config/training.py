"""Settings of a training."""

import json
from dataclasses import dataclass
from typing import Literal

from clouds.config.checks import check, not_negative, positive, separated, within_one
from clouds.config.fields import (
    Address,
    Decode,
    Folder,
    Json,
    Labels,
    LocalFolder,
    Numbers,
    Place,
    Precision,
    Size,
    flag,
    kept,
)
from clouds.errors import InputError, MissingError
from clouds.schema import CLOUDS, RGB, Bands, MaskSpec
from clouds.text import counted


@dataclass(frozen=True, kw_only=True)
class Training:
    """Trains a U-Net with a ResNet34 encoder on records, or resumes a run.

    Example:
      bin/train --records tfrecords/clouds --run runs/first
      bin/train --run runs/first --epochs 30
    """

    records: Folder | None = flag("folder of the records", None)
    run: LocalFolder = flag(
        "folder for weights, history and settings; an existing run is resumed, with "
        "its own settings where flags are left out",
        resumes=True,
    )
    recipe: Literal["notebook", "winner", "hour"] = flag(
        "set of settings, which other flags override: notebook; winner, the "
        "competition's first place, for a GPU and records of 384x576; or hour, for an "
        "hour of training on two CPU cores",
        "notebook",
    )
    fold: int | None = flag("validation fold, for records made with --folds", None)
    epochs: int = flag("maximum number of epochs", 15)
    batch_size: int = flag("number of images per step, over all devices", 32)
    seed: int = flag("random seed of weights, order and augmentation", 0)
    tune: bool = flag(
        "after training, tune the post-processing rule on the validation images, like "
        "bin/evaluate --tune",
        False,
    )
    overwrite: bool = flag("replace the run in the folder", False)

    size: Size | None = flag(
        "height x width of the network's input (default: that of the records)",
        None,
        section="network",
    )
    encoder_weights: Place = flag(
        "initial weights of the encoder: imagenet, a Keras HDF5 file, the folder of a "
        "run, or none for random weights",
        "none",
    )
    freeze_epochs: int = flag(
        "number of epochs with a frozen encoder; not supported on JAX", 0
    )
    class_head: bool = flag(
        "add an output to the encoder that predicts the presence of each label; its "
        "loss has a tenth of the weight of the masks' loss",
        False,
    )
    preprocess: Literal["unit", "raw", "statistics"] = flag(
        "scaling of the input: unit divides by the highest value of 8 or 16 bits; raw "
        "changes nothing; statistics subtracts the mean and divides by the standard "
        "deviation of each band in the training images",
        "unit",
    )
    batch_norm_momentum: float = flag(
        "momentum of batch normalization's moving averages, which validation and "
        "prediction use; lower it for runs of a few hundred steps",
        0.99,
    )
    precision: Precision = flag(
        "Keras dtype policy; auto: the fastest policy this device supports", "auto"
    )

    loss: Literal["bce_dice", "bce", "dice", "bce_dice_present"] = flag(
        "loss: bce, binary cross-entropy; dice, 1 - Dice; bce_dice, their sum; or "
        "bce_dice_present, 0.75 bce + 0.25 dice of the labels that an image has",
        "bce_dice",
        section="optimisation",
    )
    learning_rate: float = flag("Adam's peak learning rate", 3e-4)
    encoder_learning_rate_factor: float = flag(
        "ratio of the encoder's learning rate to that of the other layers; 0.1 suits "
        "pretrained weights",
        1.0,
    )
    schedule: Literal["plateau", "cosine", "onecycle"] = flag(
        "learning-rate schedule: plateau, reduced when val_loss stops improving; "
        "cosine, cosine decay over all epochs; or onecycle, cosine rise over the first "
        "3.3 % of the steps, then cosine decay",
        "plateau",
    )
    plateau_patience: int = flag(
        "number of epochs without improvement of val_loss before the learning rate is "
        "reduced",
        3,
    )
    plateau_factor: float = flag(
        "factor by which the learning rate is reduced on a plateau", 0.5
    )
    min_learning_rate: float = flag("lower bound of the reduced learning rate", 1e-6)
    warmup_epochs: float = flag(
        "number of epochs in which the learning rate rises from 0, with --schedule "
        "cosine",
        0,
    )
    stop_patience: int = flag(
        "number of epochs without improvement of val_loss before training stops", 5
    )
    weight_decay: float = flag("AdamW's weight decay; 0 is the notebook's Adam", 0)
    clip_norm: float = flag("maximum global norm of the gradients; 0 for none", 0)
    accumulate: int = flag("number of steps whose gradients make one update", 1)
    ema_momentum: float = flag(
        "momentum of an exponential moving average of the weights, which is then "
        "validated and saved; 0 for none",
        0,
    )
    average_epochs: int = flag(
        "number of last epochs whose weights are averaged at the end, and saved if "
        "their val_loss is the lowest; 0 for none",
        0,
    )

    horizontal_flip: float = flag(
        "probability of a left-right flip", 0.5, section="augmentation"
    )
    vertical_flip: float = flag("probability of an up-down flip", 0.5)
    grid_distortion: float = flag("probability of a grid distortion", 0.2)
    elastic: float = flag("probability of an elastic transform", 0.2)
    augmentation: Json = flag(
        "additional layers, Keras's or RandomShiftScaleRotate and "
        "RandomChannelShuffle, as JSON, such as "
        '[{"name": "RandomContrast", "factor": 0.2}]',
        "[]",
    )

    checkpoint_every: int = flag(
        "number of steps between checkpoints; each epoch ends with one",
        500,
        section="machine",
    )
    track: Literal["none", "mlflow", "wandb"] = flag(
        "experiment tracker to report to, configured by its environment variables; "
        "needs its package (bin/setup mlflow, bin/setup wandb)",
        "none",
    )
    show_bands: Labels | None = flag(
        "one or three bands, by name and separated by commas, that pictures show as "
        "grey or as red, green and blue (default: the first three)",
        None,
    )
    cache: Place | None = flag(
        "cache of decoded images: memory, or a folder on a fast disk", None
    )
    deterministic: bool = flag("bit-for-bit reproducible training (slower)", False)
    devices: int = flag("number of devices per machine; 0 for all", 1)
    hosts: int = flag("number of machines; needs KERAS_BACKEND=jax", 1)
    host_index: int = flag(
        "index of this host, from 0; host 0 writes the run folder",
        0,
        renamed_from="host",
    )
    coordinator: Address | None = flag(
        "address of host 0, the same on all hosts; not needed where JAX detects the "
        "hosts",
        None,
    )

    decode: Decode = kept("reduced")
    records_size: Size | None = kept(None)
    labels: Labels = kept(CLOUDS.labels)
    grid: Size = kept(CLOUDS.grid)
    band_names: Labels = kept(RGB.names)
    dtype: Literal["uint8", "uint16", "float32"] = kept(RGB.dtype)
    band_means: Numbers | None = kept(None)
    band_deviations: Numbers | None = kept(None)

    @property
    def bands(self) -> Bands:
        """Bands of the images."""
        return Bands(self.band_names, self.dtype)

    @property
    def scaling(self) -> tuple:
        """How pixels are scaled: the arguments of `preprocessing.prepare`."""
        return self.preprocess, (self.band_means, self.band_deviations)

    @property
    def spec(self) -> MaskSpec:
        """Labels and grid of the masks."""
        return MaskSpec(self.labels, self.grid)

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "epochs", "batch_size", "learning_rate", "checkpoint_every")
        positive(self, "stop_patience", "plateau_patience", "accumulate", "hosts")
        not_negative(self, "min_learning_rate", "seed", "warmup_epochs")
        not_negative(self, "weight_decay", "clip_norm", "freeze_epochs")
        not_negative(self, "encoder_learning_rate_factor", "average_epochs")
        not_negative(self, "devices", "host_index")
        within_one(self, "horizontal_flip", "vertical_flip", "plateau_factor")
        within_one(self, "grid_distortion", "elastic", "batch_norm_momentum")
        within_one(self, "ema_momentum")
        check(self, ("plateau_factor",), "must be below 1", lambda value: value < 1)
        if self.size is not None:
            positive(self, "size")
        if self.warmup_epochs and self.schedule != "cosine":
            raise InputError(
                "--warmup-epochs must be used with --schedule cosine. Received: "
                f"--schedule {self.schedule}. Add it, or leave the warm-up out."
            )
        if self.host_index >= self.hosts:
            raise InputError(
                f"--host-index must be below --hosts. Received: {self.host_index}, of "
                f"{counted(self.hosts, 'host')}. Count from 0."
            )
        if self.tune and self.hosts > 1:
            raise InputError(
                "--tune cannot be combined with --hosts: one host would work and the "
                f"others wait. Received: {self.hosts} hosts. Run bin/evaluate --tune "
                "afterwards."
            )
        _check_augmentation(self.augmentation)
        if self.show_bands is not None:
            names = separated(self.show_bands)
            object.__setattr__(self, "show_bands", names)
        # Last: settings that lack only the records may still be printed.
        if self.records is None:
            raise MissingError(
                f"--records must be given for a new run: '{self.run}' holds no run to "
                "resume. Check both paths."
            )


def _check_augmentation(text: str) -> None:
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
