"""Settings of what is done with a trained run, and with what it predicts."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clouds import schema
from clouds.config import rule as rule_of
from clouds.config.fields import (
    IMAGES,
    Box,
    File,
    Folder,
    LocalFolder,
    LocalFolders,
    Numbers,
    Place,
    Size,
    Split,
    flag,
    not_negative,
    positional,
    positive,
    shown,
    within_one,
)
from clouds.config.rule import Rule
from clouds.errors import InputError

_OF_RULE = ("threshold", "min_size", "top", "top_scope", "gap", "clean_on")


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """How a run's probabilities become masks."""

    run: LocalFolders = flag(
        "folder of a run, or of several whose predictions are averaged",
        section="network",
    )
    flips: bool = flag("average the predictions of four views, each flipped", False)
    threshold: Numbers | None = flag(
        "probability above which a pixel is of the label, one or one a label; "
        "if not given, the run's tuned one, or 0.5",
        None,
        section="masks",
    )
    min_size: Numbers | None = flag(
        "pixels above which post-processing keeps a component, one or one a label; "
        "if not given, the run's tuned one, or 10000",
        None,
    )
    top: Numbers | None = flag(
        "probability that a component must exceed somewhere to be kept, one or one a "
        "label; "
        "if not given, the run's tuned one, or none",
        None,
    )
    top_scope: rule_of.Scope | None = flag(
        "where it must: within the component, or anywhere in the image; if not given, "
        "the run's tuned one, or component",
        None,
    )
    gap: Literal["cut", "keep"] | None = flag(
        "cut: post-processing removes what lies where the image is black, between two "
        "orbits; keep: it stays; if not given, the run's tuned one, or cut",
        None,
    )
    clean_on: rule_of.Grid | None = flag(
        "grid on which components are cleaned and counted: submission, 350x525, or as "
        "in the notebook network, before resizing; if not given, the run's tuned one, "
        "or submission",
        None,
    )

    def __post_init__(self):
        """Refuses values out of range."""
        for name, in_range in (
            ("threshold", within_one),
            ("min_size", not_negative),
            ("top", within_one),
        ):
            if getattr(self, name) is not None:
                _one_or_one_a_label(self, name)
                in_range(self, name)

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

    def rule_source(self, tuned: bool) -> str:
        """Where that rule comes from: default, tuned, flags, or tuned and flags."""
        flags = any(getattr(self, name) is not None for name in _OF_RULE)
        sources = [*["tuned"] * tuned, *["flags"] * flags]
        return " and ".join(sources) or "default"


@dataclass(frozen=True, kw_only=True)
class _InSteps(_Judgement):
    """The same, of images a few at a time."""

    batch_size: int = flag("images a step", 16)

    def __post_init__(self):
        """Refuses values out of range."""
        super().__post_init__()
        positive(self, "batch_size")


@dataclass(frozen=True, kw_only=True)
class Evaluation(_InSteps):
    """Measures a run on labelled records, beside predictions that need no network.

    Example:
      bin/evaluate --records tfrecords/clouds --run runs/first --tune
      bin/evaluate --records tfrecords/folds --run runs/fold0 runs/fold1 --tune
    """

    run: LocalFolders = flag(
        "folder of a run, or of several: those of one fold are averaged, those of "
        "several folds each predict the images of their own",
        section="network",
    )
    records: Folder = flag("folder of records")
    split: Split = flag("images to measure on", "val")
    tune: bool = flag(
        "first choose thresholds, tops and minimum areas on these images, and store "
        "them in the run, to be used from then on",
        False,
    )
    out: LocalFolder | None = flag(
        "folder for the figures; the first run's if not given", None
    )

    def __post_init__(self):
        """Refuses values out of range, and what tuning would choose."""
        super().__post_init__()
        if not self.tune:
            return
        if self.split != "val":
            raise InputError(
                "--tune must go with --split val, on images that the run was not "
                f"trained on. Received: --split {self.split}. Leave it out."
            )
        for name in ("threshold", "min_size", "top", "clean_on"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} must be left out with --tune, which "
                    "chooses thresholds, tops and minimum areas at 350x525."
                )


@dataclass(frozen=True, kw_only=True)
class Prediction(_InSteps):
    """Predicts masks of images and writes both submissions; goes on if cut off.

    An image that cannot be read gets no rows, also where the sample submission asks
    for them. It is reported, unreadable.txt says why, and the exit code is 3. The same
    command tries such images again, and them alone; it leaves a finished folder as it
    is. GeoJSON's pixels, masks and COCO's annotations count on 350x525.

    Example:
      bin/predict --run runs/first --images test_images --out runs/first/test
      bin/predict --run runs/first --images 'shots/**/*.jpg' --out found --geojson
    """

    images: Place | None = flag(IMAGES, None)
    records: Folder | None = flag("instead: records made with --unlabelled", None)
    sample_submission: File | None = flag(
        "csv that tells which of the images, in which order", None
    )
    out: LocalFolder = flag(
        "folder for submission.csv, submission_post.csv and the rest"
    )
    overwrite: bool = flag("replace the predictions in the folder", False)

    overlays: int = flag(
        "images to draw in overlays.png, with what submission_post.csv says",
        8,
        section="files",
    )
    probabilities: Literal["npz", "png"] | None = flag(
        "write these too, at the network's size: float16, or a grey picture a label",
        None,
    )
    masks: bool = flag("write post-processed masks as black and white PNGs", False)
    geojson: bool = flag("write them as polygons, to masks.geojson", False)
    bbox: Box | None = flag(
        "west, south, east and north of each image in degrees, for --geojson, as in "
        "--bbox=-61,5,-40,19; pixels if not given",
        None,
    )
    coco: bool = flag("write them as COCO's annotations, to coco.json", False)

    def __post_init__(self):
        """Refuses values out of range, and two sources of images."""
        super().__post_init__()
        not_negative(self, "overlays")
        if "://" in self.out:
            raise InputError(
                f"--out must be a folder of this machine. Received: '{self.out}'. Copy "
                "what it holds afterwards."
            )
        if bool(self.images) == bool(self.records):
            raise InputError("Either --images or --records must be given.")
        apart(self.out, self.images)
        if self.records and self.sample_submission:
            raise InputError(
                "--sample-submission must be left out with --records, which have an "
                "order of their own."
            )
        if self.bbox:
            on_earth(self.bbox)
            if not self.geojson:
                raise InputError("--bbox must go with --geojson. Add it.")


@dataclass(frozen=True, kw_only=True)
class Export(_Judgement):
    """Exports a run for TensorFlow Serving: JPEG bytes in, run-length codes out.

    Example:
      bin/export --run runs/first --out models/clouds
    """

    out: LocalFolder = flag(
        "folder of the model; the export becomes its next version there"
    )
    precision: Literal["float32", "mixed_bfloat16"] | None = flag(
        "of the network; mixed_bfloat16 takes half the space, and half the time on a "
        "CPU that knows bfloat16; if not given, that of the training, in which "
        "bin/predict computes too",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class SubmissionCheck:
    """Checks a submission: its rows, their order and their runs; lists all faults.

    Example:
      bin/submit-check runs/first/test/submission_post.csv
    """

    file: File = positional("submission's csv, not compressed")
    sample_submission: File | None = flag(
        "csv whose rows it must have, in the same order", None
    )
    grid: Size = flag("height x width of the masks", schema.SUBMISSION_SIZE)

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "grid")


def _one_or_one_a_label(settings: _Judgement, name: str) -> None:
    numbers = getattr(settings, name)
    if len(numbers) not in (1, len(schema.LABELS)):
        raise InputError(
            f"--{name.replace('_', '-')} must be one number, or one for each of "
            f"{', '.join(schema.LABELS)}. Received: {shown(numbers, Numbers)}."
        )


def _of_all_labels(numbers: Numbers | None) -> Numbers | None:
    return numbers * len(schema.LABELS) if numbers and len(numbers) == 1 else numbers


def apart(out: LocalFolder, *images: Place | None) -> None:
    """Refuses a folder of images as the one for what is found in them."""
    folders = (place for place in images if place and Path(place).is_dir())
    for place in folders:
        if Path(place).resolve() == Path(out).resolve():
            raise InputError(
                "--out must be another folder than --images, for which pictures there "
                f"would be images. Received: '{out}'. Give a new one."
            )


def on_earth(box: Box) -> None:
    """Refuses a box that is none on the earth."""
    west, south, east, north = box
    # One that crosses the antimeridian has its east below its west.
    on_earth = -180 <= west < 180 and -180 < east <= 180 and west != east
    if not (on_earth and -90 <= south < north <= 90):
        raise InputError(
            "--bbox must be west, south, east, north: longitudes from -180 to 180, "
            "latitudes from -90 to 90, the south below the north. Received: "
            f"{shown(box, Box)}."
        )
