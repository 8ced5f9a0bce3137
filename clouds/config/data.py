"""Settings of the commands that make data or look at it."""

from dataclasses import dataclass
from typing import Literal

from clouds import schema
from clouds.config.fields import (
    CORES,
    Decode,
    File,
    Folder,
    LocalFolder,
    Place,
    Size,
    flag,
    not_negative,
    positive,
)
from clouds.errors import InputError

Runner = Literal[
    "DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner"
]

_CSV = (
    "csv with the columns Image_Label,EncodedPixels, plain or compressed (.gz, .bz2, "
    ".xz, .zip)"
)


@dataclass(frozen=True, kw_only=True)
class Records:
    """Makes TFRecords of a csv of run-length codes and a folder of images.

    Example:
      bin/make_tfrecords --csv train.csv --images train_images --out tfrecords/clouds
    """

    csv: File | None = flag(_CSV, None)
    images: Place | None = flag("folder or zip of the images that the csv names", None)
    out: Folder | None = flag("folder for the records", None)
    overwrite: bool = flag("replace the records in the folder", False)
    unlabelled: bool = flag(
        "of test images: no masks, one split; --csv only names them, if it is given",
        False,
    )
    verify: Folder | None = flag("instead: folder of records to read and check", None)

    size: Size = flag(
        "height x width of the records' images",
        schema.NETWORK_SIZE,
        section="images and masks",
    )
    grid: Size = flag("height x width that the csv's runs count on", schema.GRID)
    decode: Decode = flag(
        "reduced: the decoder's 1/2 to 1/8, then averaged areas; "
        "exact: the notebook's full size, then bilinear",
        "reduced",
    )

    val_fraction: float = flag(
        "share of the images held out for validation", 0.2, section="division"
    )
    folds: int = flag("divide into folds instead of holding a part out; 0 for none", 0)
    seed: int = flag("of the split and of the order", 0)
    shards: int = flag(
        "files of each split but val, which has one; 0 for some of about 100 MB", 0
    )

    workers: int = flag(
        "processes that convert; as many as cores if not given",
        CORES,
        section="machine",
    )
    runner: Runner | None = flag(
        "convert on Apache Beam instead; workers must see --images and --out", None
    )
    runner_options: str | None = flag(
        "flags of the runner, such as --runner-options='--flink_master=host:8081'",
        None,
    )

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
        positive(self, "size", "grid", "workers")
        not_negative(self, "shards", "seed", "folds")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draws procedural cloud scenes with their csv, to try everything on.

    Example:
      bin/make_scenes --out runs/scenes --train 200 --test 8
    """

    out: LocalFolder = flag("folder for train.csv, train_images, test_images, …")
    overwrite: bool = flag("replace such files in the folder", False)
    train: int = flag("labelled scenes", 200)
    test: int = flag("scenes without labels", 8)
    size: Size = flag("height x width of the images", schema.SUBMISSION_SIZE)
    seed: int = flag("of the first scene", 0)

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "train", "size")
        not_negative(self, "test", "seed")


@dataclass(frozen=True, kw_only=True)
class Description:
    """Counts and measures the masks of a csv, as text, JSON and a picture.

    Example:
      bin/describe --csv train.csv --out runs/statistics
    """

    csv: File = flag(_CSV)
    out: LocalFolder = flag("folder for statistics.json and statistics.png")
    grid: Size = flag("height x width that the csv's runs count on", schema.GRID)

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "grid")
