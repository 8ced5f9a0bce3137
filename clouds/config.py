"""The settings of each command: frozen, checked, and the source of its flags.

A field's metadata holds its help text; `clouds.cli` makes a flag of every
field. Sizes are (height, width) in pixels.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Literal

from clouds import rules, schema
from clouds.errors import InputError
from clouds.rules import Rule

Size = tuple[int, int]
Names = tuple[str, ...]
Numbers = tuple[float, ...]
Box = tuple[float, float, float, float]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Decode = Literal["reduced", "exact"]
Split = Literal["train", "val"]
Runner = Literal[
    "DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner"
]

FILE = "config.json"
"""In a run's folder: what it was trained with."""


def _flag(help_text: str, default=MISSING):
    return field(default=default, metadata={"help": help_text})


def _positional(help_text: str):
    return field(metadata={"help": help_text, "positional": True})


def _of_records(default):
    """A setting that the records decide, kept with the run; no flag."""
    return field(default=default, metadata={"help": None})


@dataclass(frozen=True, kw_only=True)
class Records:
    """Makes TFRecords of a csv of run-length codes and a folder of images.

    Example:
      bin/make_tfrecords --csv train.csv --images train_images --out tfrecords/clouds
    """

    csv: str | None = _flag("csv with the columns Image_Label,EncodedPixels", None)
    images: str | None = _flag("folder or zip of the images that the csv names", None)
    out: str | None = _flag("folder for the records", None)
    unlabelled: bool = _flag(
        "of test images: no masks, one split; --csv only names them, if it is given",
        False,
    )
    verify: str | None = _flag("instead: folder of records to read and check", None)
    size: Size = _flag("height x width of the records' images", schema.NETWORK_SIZE)
    grid: Size = _flag("height x width that the csv's runs count on", schema.GRID)
    decode: Decode = _flag(
        "reduced: the decoder's 1/2 to 1/8, then averaged areas; "
        "exact: the notebook's full size, then bilinear",
        "reduced",
    )
    folds: int = _flag("divide into folds instead of holding a part out", 0)
    val_fraction: float = _flag("share of the images held out for validation", 0.2)
    seed: int = _flag("of the split and of the order", 0)
    shards: int = _flag("shards but of val; 0 for files of about 100 MB", 0)
    workers: int = _flag("processes that convert", os.cpu_count() or 1)
    runner: Runner | None = _flag(
        "convert on Apache Beam instead; workers must see --images and --out", None
    )
    runner_options: str | None = _flag(
        "flags of the runner, such as --runner-options='--flink_master=host:8081'",
        None,
    )
    overwrite: bool = _flag("replace the records in the folder", False)

    def __post_init__(self):
        """Refuses values out of range."""
        named = self.csv or self.unlabelled
        if not self.verify and not (named and self.images and self.out):
            raise InputError(
                "--csv, --images and --out must be given, or --verify; "
                "with --unlabelled --csv may be left out."
            )
        if self.unlabelled and self.folds:
            raise InputError("--folds must be left out with --unlabelled.")
        local = [path for path in (self.images, self.out) if "://" not in (path or "")]
        if self.runner == "DataflowRunner" and not self.verify and local:
            raise InputError(
                "--images and --out must lie where Dataflow's workers see them. "
                f"Received: '{local[0]}'. Copy the images to gs://… and name that."
            )
        _positive(self, "size", "grid", "workers")
        _not_negative(self, "shards", "seed", "folds")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Trains a U-Net with a ResNet34 encoder on records, or goes on with a run.

    Example:
      bin/train --records tfrecords/clouds --run runs/first
      bin/train --run runs/first --epochs 30
    """

    records: str | None = _flag("folder of records", None)
    run: str = _flag(
        "folder for weights, history and configuration; if it holds a run, that goes "
        "on, and flags left out are its own"
    )
    fold: int | None = _flag("fold that validates, of records made in folds", None)
    size: Size | None = _flag(
        "height x width to train at; the records' if not given", None
    )
    loss: Literal["bce_dice", "bce", "dice"] = _flag(
        "cross-entropy, 1 - Dice, or their sum", "bce_dice"
    )
    epochs: int = _flag("passes over the training images at most", 15)
    batch_size: int = _flag("images a step", 32)
    learning_rate: float = _flag("of Adam", 3e-4)
    schedule: Literal["plateau", "cosine"] = _flag(
        "how the learning rate falls: when val_loss does not, or over all epochs",
        "plateau",
    )
    warmup_epochs: float = _flag("in which it rises from 0, before the cosine", 0)
    weight_decay: float = _flag("of AdamW; 0 is the notebook's Adam", 0)
    clip_norm: float = _flag("norm that all gradients together keep; 0 for none", 0)
    accumulate: int = _flag("steps whose gradients make one update", 1)
    ema_momentum: float = _flag(
        "of the weights' moving average, then validated and kept; 0 for none",
        0,
    )
    freeze_epochs: int = _flag("in which the encoder's weights stay; not on JAX", 0)
    stop_patience: int = _flag("epochs without a better val_loss before it stops", 5)
    plateau_patience: int = _flag(
        "epochs without a better val_loss before the learning rate falls", 3
    )
    plateau_factor: float = _flag("by which the learning rate falls", 0.5)
    min_learning_rate: float = _flag("below which it does not fall", 1e-6)
    batch_norm_momentum: float = _flag(
        "of the moving averages that validation and prediction use; "
        "lower it for runs of a few hundred steps",
        0.99,
    )
    precision: Precision = _flag("auto takes what the device is fast at", "auto")
    preprocess: Literal["unit", "raw"] = _flag("pixels as 0..1 or as 0..255", "unit")
    encoder_weights: str = _flag(
        "imagenet, an HDF5 file of Keras, a run's folder, or none to start from "
        "random weights",
        "none",
    )
    horizontal_flip: float = _flag("chance that an image is flipped left-right", 0.5)
    vertical_flip: float = _flag("chance that an image is flipped up-down", 0.5)
    grid_distortion: float = _flag("chance of a grid distortion", 0.2)
    elastic: float = _flag("chance of an elastic transform", 0.2)
    augmentation: str = _flag(
        "Keras layers to add, as JSON, such as "
        '[{"name": "RandomContrast", "factor": 0.2}]',
        "[]",
    )
    seed: int = _flag("of weights, order and augmentation", 0)
    cache: str | None = _flag(
        "keep unpacked images: memory, or a folder on a fast disk", None
    )
    checkpoint_every: int = _flag(
        "steps between checkpoints; each epoch ends with one", 500
    )
    deterministic: bool = _flag("the same bits each time, at some cost", False)
    devices: int = _flag("of each machine, to share a batch; 0 for all it has", 1)
    hosts: int = _flag("machines to share a batch; needs KERAS_BACKEND=jax", 1)
    host: int = _flag("which of them this is, from 0; that one writes --run", 0)
    coordinator: str | None = _flag(
        "ADDRESS:PORT of host 0, for all; left out where JAX knows the hosts", None
    )
    overwrite: bool = _flag("replace the run in the folder", False)
    decode: Decode = _of_records("reduced")

    def __post_init__(self):
        """Refuses values out of range."""
        if self.records is None:
            raise InputError("--records must be given for a new run.")
        _positive(self, "epochs", "batch_size", "learning_rate", "checkpoint_every")
        _positive(self, "stop_patience", "plateau_patience", "accumulate", "hosts")
        _not_negative(self, "min_learning_rate", "seed", "warmup_epochs")
        _not_negative(self, "weight_decay", "clip_norm", "freeze_epochs")
        _within_one(self, "horizontal_flip", "vertical_flip", "plateau_factor")
        _within_one(self, "grid_distortion", "elastic", "batch_norm_momentum")
        _within_one(self, "ema_momentum")
        _check(self, ("plateau_factor",), "must be below 1", lambda value: value < 1)
        if self.warmup_epochs and self.schedule != "cosine":
            raise InputError(
                "--warmup-epochs must go with --schedule cosine. Received: "
                f"--schedule {self.schedule}. Add it, or leave the warm-up out."
            )
        if self.size is not None:
            _positive(self, "size")
        _not_negative(self, "devices", "host")
        if self.host >= self.hosts:
            raise InputError(
                f"--host must be below --hosts. Received: {self.host}, of {self.hosts} "
                "hosts. Count from 0."
            )
        _named_layers(self.augmentation)


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """How a run's probabilities become masks."""

    run: Names = _flag("folder of a run, or of several whose predictions are averaged")
    batch_size: int = _flag("images a step", 16)
    flips: bool = _flag("average the predictions of four views, each flipped", False)
    threshold: Numbers | None = _flag(
        "probability above which a pixel is of the label, one or one a label; "
        "if not given, the run's tuned one, or 0.5",
        None,
    )
    min_size: Numbers | None = _flag(
        "pixels; post-processing keeps larger components; "
        "if not given, the run's tuned one, or 10000",
        None,
    )
    top: Numbers | None = _flag(
        "probability that a component must exceed somewhere to be kept; "
        "if not given, the run's tuned one, or none",
        None,
    )
    top_scope: rules.Scope | None = _flag(
        "where it must: within the component, or anywhere in the image", None
    )
    gap: Literal["cut", "keep"] | None = _flag(
        "cut: post-processing removes what lies where the image is black, between two "
        "orbits (if not given, and not tuned)",
        None,
    )
    clean_on: rules.Grid | None = _flag(
        "grid on which components are cleaned and counted: submission, 350x525, or as "
        "in the notebook network, before resizing (if not given, submission)",
        None,
    )

    def __post_init__(self):
        """Refuses values out of range."""
        _positive(self, "batch_size")
        self.rule(None)

    def rule(self, tuned: Rule | None) -> Rule:
        """The rule that masks are drawn by: the flags, and else the tuned one's.

        Args:
          tuned: that of the run, if it has one.
        """
        given = {
            "thresholds": _of_all_labels(self.threshold),
            "min_sizes": _of_all_labels(self.min_size),
            "tops": _of_all_labels(self.top),
            "scope": self.top_scope,
            "gap": None if self.gap is None else self.gap == "cut",
            "grid": self.clean_on,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(tuned or Rule(), **given)


@dataclass(frozen=True, kw_only=True)
class Evaluation(_Judgement):
    """Measures a run on labelled records, beside predictions that need no network.

    Example:
      bin/evaluate --records tfrecords/clouds --run runs/first
    """

    records: str = _flag("folder of records")
    split: Split = _flag("images to measure on", "val")


@dataclass(frozen=True, kw_only=True)
class Prediction(_Judgement):
    """Predicts masks of images and writes both submissions; goes on if cut off.

    Example:
      bin/predict --run runs/first --images test_images --out runs/first/test
      bin/predict --run runs/first --images 'shots/**/*.jpg' --out found --geojson
    """

    out: str = _flag("folder for submission.csv, submission_post.csv, overlays.png, …")
    images: str | None = _flag(
        "folder or zip of images, a quoted glob, or a .txt with a path a line", None
    )
    sample_submission: str | None = _flag(
        "csv that tells which of the images, in which order", None
    )
    records: str | None = _flag("instead: records made with --unlabelled", None)
    overlays: int = _flag("images to draw, with what submission_post.csv says", 8)
    probabilities: Literal["npz", "png"] | None = _flag(
        "write these too, at the network's size: float16, or a grey picture a label",
        None,
    )
    masks: bool = _flag("write post-processed masks as black and white PNGs", False)
    geojson: bool = _flag("write them as polygons, to masks.geojson", False)
    bbox: Box | None = _flag(
        "west, south, east and north of each image in degrees, for --geojson, as in "
        "--bbox=-61,5,-50,15; pixels if not given",
        None,
    )
    coco: bool = _flag("write them as COCO's annotations, to coco.json", False)
    overwrite: bool = _flag("replace the predictions in the folder", False)

    def __post_init__(self):
        """Refuses values out of range, and two sources of images."""
        super().__post_init__()
        _not_negative(self, "overlays")
        if bool(self.images) == bool(self.records):
            raise InputError("Either --images or --records must be given.")
        if self.records and self.sample_submission:
            raise InputError(
                "--sample-submission must be left out with --records, which have an "
                "order of their own."
            )
        if self.bbox:
            _on_earth(self.bbox)
            if not self.geojson:
                raise InputError("--bbox must go with --geojson. Add it.")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draws procedural cloud scenes with their csv, to try everything on.

    Example:
      bin/make_scenes --out runs/scenes --train 200 --test 8
    """

    out: str = _flag("folder for train.csv, train_images, test_images, …")
    train: int = _flag("labelled scenes", 200)
    test: int = _flag("scenes without labels", 8)
    size: Size = _flag("height x width of the images", schema.SUBMISSION_SIZE)
    seed: int = _flag("of the first scene", 0)

    def __post_init__(self):
        """Refuses values out of range."""
        _positive(self, "train", "size")
        _not_negative(self, "test", "seed")


@dataclass(frozen=True, kw_only=True)
class Description:
    """Counts and measures the masks of a csv, as text, JSON and a picture.

    Example:
      bin/describe --csv train.csv --out runs/statistics
    """

    csv: str = _flag("csv with the columns Image_Label,EncodedPixels")
    out: str = _flag("folder for statistics.json and statistics.png")
    grid: Size = _flag("height x width that the csv's runs count on", schema.GRID)

    def __post_init__(self):
        """Refuses values out of range."""
        _positive(self, "grid")


@dataclass(frozen=True, kw_only=True)
class SubmissionCheck:
    """Checks a submission: its rows, their order and their runs; lists all faults.

    Example:
      bin/submit-check runs/first/test/submission_post.csv
    """

    file: str = _positional("submission's csv, not compressed")
    sample_submission: str | None = _flag(
        "csv whose rows it must have, in the same order", None
    )
    grid: Size = _flag("height x width of the masks", schema.SUBMISSION_SIZE)

    def __post_init__(self):
        """Refuses values out of range."""
        _positive(self, "grid")


def from_flags(settings: type, flags: Mapping):
    """Makes a command's settings of its flags.

    Args:
      settings: one of the classes above.
      flags: the fields that were given.

    Returns:
      The settings; those of training, where `run` holds a run to go on with, have
      its own values for what was not given.

    Raises:
      InputError: values out of range, or a run with damaged settings.
    """
    own = None
    if settings is Training and not flags.get("overwrite"):
        own = of_run(flags["run"])
    return dataclasses.replace(own, **flags) if own else settings(**flags)


def of_run(folder: str) -> Training | None:
    """Reads the settings that a run was trained with; None where there is no run.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text())
        fields["size"] = tuple(fields["size"])
        return Training(**{**fields, "overwrite": False})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"Settings must be as bin/train writes them. Received: {path}, damaged or "
            f"of another version ({error}). Train again with --overwrite."
        ) from error


def _of_all_labels(numbers: Numbers | None) -> Numbers | None:
    return numbers * len(schema.LABELS) if numbers and len(numbers) == 1 else numbers


def _on_earth(box: Box) -> None:
    west, south, east, north = box
    # One that crosses the antimeridian has its east below its west.
    on_earth = -180 <= west < 180 and -180 < east <= 180 and west != east
    if not (on_earth and -90 <= south < north <= 90):
        raise InputError(
            "--bbox must be west, south, east, north: longitudes from -180 to 180, "
            "latitudes from -90 to 90, the south below the north. Received: "
            f"{','.join(f'{degrees:g}' for degrees in box)}."
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


def _positive(config, *names: str) -> None:
    _check(config, names, "must be above 0", lambda value: value > 0)


def _not_negative(config, *names: str) -> None:
    _check(config, names, "must be 0 or more", lambda value: value >= 0)


def _within_one(config, *names: str) -> None:
    _check(config, names, "must be from 0 to 1", lambda value: 0 <= value <= 1)


def _check(config, names: tuple[str, ...], expected: str, holds) -> None:
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(map(holds, numbers)):
            flag = name.replace("_", "-")
            received = "x".join(map(str, numbers))
            raise InputError(f"--{flag} {expected}. Received: {received}.")
