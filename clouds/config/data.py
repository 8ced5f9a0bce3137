"""Settings of the commands that make or describe data."""

from dataclasses import dataclass
from typing import Literal

from clouds import schema
from clouds.config.checks import (
    check,
    check_bands,
    check_labels,
    not_negative,
    positive,
    separated,
)
from clouds.config.fields import (
    BOXES,
    CORES,
    RUNNER_OPTIONS,
    WORKFLOWS,
    Decode,
    File,
    Files,
    Folder,
    Labels,
    LocalFolder,
    MaskFormat,
    Name,
    Place,
    Runner,
    Size,
    Workflows,
    flag,
)
from clouds.errors import InputError

RleOrder = Literal["column", "row"]
RleStarts = Literal["absolute", "relative"]

_CSV = (
    "masks: csv of run-length codes or JSON of COCO annotations, optionally compressed "
    "(.gz, .bz2, .xz, .zip), or folder of PNG masks"
)
_GRID = (
    "height x width of the grid on which runs count pixels (default: 1400x2100 with "
    "the competition's labels, else the size of the images)"
)
_LABELS = (
    "names of the labels, separated by commas, in the order of the masks' channels "
    "(default: the labels in --csv, numbers in ascending order, names in order of "
    "appearance; all four of the competition if --csv has at least two)"
)
_FORMAT = (
    "format of --csv: image_label for the columns Image_Label,EncodedPixels; "
    "image_class for ImageId,ClassId,EncodedPixels; image for ImageId,EncodedPixels; "
    "coco; png for a folder of <image>_<label>.png, or of <image>.png with the numbers "
    "of --labels as values (default: inferred from the path and the columns)"
)
_ORDER = "direction in which runs count pixels: down the columns, or along the rows"
_BASE = "number of the first pixel in the runs"
_STARTS = (
    "starts of runs: absolute, or relative to the end of the previous run, as in "
    "SIIM-ACR"
)


@dataclass(frozen=True, kw_only=True)
class Records:
    """Converts images and their masks, such as a csv of run-length codes, to TFRecords.

    Example:
      bin/make_tfrecords --csv train.csv --images train_images --out tfrecords/clouds
    """

    csv: Place | None = flag(_CSV, None)
    boxes: Files | None = flag(f"{BOXES}; instead of --csv", None)
    images: Place | None = flag("folder or zip of the images", None)
    out: Folder | None = flag("output folder for the records", None)
    overwrite: bool = flag("replace the records in the folder", False)
    unlabelled: bool = flag(
        "make records of test images, without masks and in one split; --csv is then "
        "optional and only selects the images",
        False,
    )
    verify: Folder | None = flag(
        "folder of existing records to read and check, instead of making new ones", None
    )

    size: Size = flag(
        "height x width of the images in the records",
        schema.NETWORK_SIZE,
        section="images and masks",
    )
    grid: Size | None = flag(_GRID, None)
    truth_size: Size | None = flag(
        "height x width of the grid on which predictions are scored and submissions "
        "written (default: 350x525 with the competition's labels, else --grid)",
        None,
    )
    labels: Labels | None = flag(_LABELS, None)
    csv_format: MaskFormat | None = flag(_FORMAT, None)
    rle_order: RleOrder = flag(_ORDER, "column")
    rle_base: int = flag(_BASE, 1)
    rle_starts: RleStarts = flag(_STARTS, "absolute")
    vote: Literal["union", "majority", "soft"] = flag(
        "masks of --boxes: pixels in a box of any annotator, or of more than half of "
        "those who saw the image; soft trains on the share of annotators, and "
        "validates on the majority",
        "majority",
    )
    workflows: Workflows | None = flag(WORKFLOWS, None)
    unlisted: Literal["skip", "empty", "error"] = flag(
        "images that --csv does not list: skip leaves them out; empty treats them, and "
        "labels without a row, as having no mask; error rejects them",
        "skip",
    )
    decode: Decode = flag(
        "downscaling of images: reduced decodes JPEGs at 1/2 to 1/8 scale, then "
        "averages areas; exact decodes at full size, then interpolates bilinearly, as "
        "in the notebook",
        "reduced",
    )
    bands: Literal["rgb", "native"] = flag(
        "bands of the images: rgb converts every file to 8-bit RGB; native keeps 1 to "
        "8 bands of 8 or 16 bits or float32 (PNG, TIFF), the same in all images",
        "rgb",
    )
    band_names: Labels | None = flag(
        "names of the bands, separated by commas, with --bands native (default: band1, "
        "band2, …)",
        None,
    )

    val_fraction: float = flag(
        "fraction of the images held out for validation", 0.2, section="split"
    )
    folds: int = flag(
        "number of folds for cross-validation, instead of a validation split; 0 for "
        "none",
        0,
    )
    group_by: Name | None = flag(
        "keep images of one group together in training or validation: day or region, "
        "from the names of the images or --groups, or a column of --groups; intervals "
        "of scores then draw groups",
        None,
    )
    groups: File | None = flag(
        "csv with the column image and that of --group-by; time gives the day, and "
        "west, south, east and north the region",
        None,
    )
    split_file: File | None = flag(
        "csv with the columns image and split (train or val, or fold0, fold1, …), such "
        "as the split.csv of other records, instead of a random split",
        None,
    )
    seed: int = flag("random seed of the split and the order", 0)
    shards: int = flag(
        "number of files per split, except val, which has one; 0 for files of about "
        "100 MB",
        0,
    )

    places: File | None = flag(
        "csv of the images' locations in degrees, kept with the records for "
        "bin/predict --records: image,time,west,south,east,north, and optionally "
        "satellite (default: GeoTIFF tags, world files, then names)",
        None,
        section="locations",
    )

    workers: int = flag("number of worker processes", CORES, section="machine")
    runner: Runner | None = flag(
        "Apache Beam runner to convert with; its workers must be able to access "
        "--images and --out",
        None,
    )
    runner_options: str | None = flag(RUNNER_OPTIONS, None)

    def __post_init__(self):
        """Rejects missing and contradictory settings."""
        if self.csv and self.boxes:
            raise InputError("--csv and --boxes exclude each other.")
        of_boxes = {"--workflows": self.workflows, "--vote": self.vote != "majority"}
        of_csv = {
            "--csv-format": self.csv_format,
            "--rle-order": self.rle_order != "column",
            "--rle-base": self.rle_base != 1,
            "--rle-starts": self.rle_starts != "absolute",
        }
        for needed, flags in (("--boxes", of_boxes), ("--csv", of_csv)):
            given = [name for name, value in flags.items() if value]
            if given and not getattr(self, needed.strip("-")) and not self.verify:
                raise InputError(f"{given[0]} needs {needed}. Remove it.")
        source = self.csv or self.boxes or self.unlabelled
        if not self.verify and not (source and self.images and self.out):
            raise InputError(
                "--csv or --boxes, --images and --out must be given, or --verify; "
                "with --unlabelled, --csv is optional."
            )
        chosen = {
            "--folds": self.folds,
            "--group-by": self.group_by,
            "--split-file": self.split_file,
            "--boxes": self.boxes,
        }
        given = [name for name, value in chosen.items() if value]
        if self.unlabelled and given:
            raise InputError(f"{given[0]} cannot be combined with --unlabelled.")
        if self.folds and self.split_file:
            raise InputError("--folds and --split-file exclude each other.")
        if self.groups and not self.group_by:
            raise InputError("--groups needs --group-by, such as --group-by day.")
        local = [path for path in (self.images, self.out) if "://" not in (path or "")]
        if self.runner == "DataflowRunner" and not self.verify and local:
            raise InputError(
                "--images and --out must be visible to Dataflow's workers. Received: "
                f"'{local[0]}'. Copy the images to gs://… and give that path."
            )
        positive(self, "size", "workers")
        _check_masks(self, "grid", "truth_size")
        not_negative(self, "shards", "seed", "folds")
        if self.band_names is not None:
            if self.bands != "native":
                raise InputError(
                    "--band-names must be used with --bands native. Add it, or leave "
                    "the names out."
                )
            names = check_bands(separated(self.band_names), "--band-names")
            object.__setattr__(self, "band_names", names)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draws procedural cloud scenes with their csv, as sample data.

    Example:
      bin/make_scenes --out runs/scenes --train 200 --test 8
    """

    out: LocalFolder = flag("output folder for train.csv, train_images, test_images, …")
    overwrite: bool = flag("replace an earlier sample in the folder", False)
    train: int = flag("number of labelled scenes", 200)
    test: int = flag("number of scenes without labels", 8)
    size: Size = flag("height x width of the images", schema.SUBMISSION_SIZE)
    seed: int = flag("random seed of the first scene", 0)

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "train", "size")
        not_negative(self, "test", "seed")


@dataclass(frozen=True, kw_only=True)
class Description:
    """Counts and measures the masks of a csv, as text, JSON and a figure.

    Example:
      bin/describe --csv train.csv --out runs/statistics
    """

    csv: Place = flag(_CSV)
    out: LocalFolder = flag("output folder for statistics.json and statistics.png")
    images: Place | None = flag(
        "folder or zip of the images, for their size and for PNG masks", None
    )
    grid: Size | None = flag(_GRID, None)
    labels: Labels | None = flag(_LABELS, None)
    csv_format: MaskFormat | None = flag(_FORMAT, None)
    rle_order: RleOrder = flag(_ORDER, "column")
    rle_base: int = flag(_BASE, 1)
    rle_starts: RleStarts = flag(_STARTS, "absolute")

    def __post_init__(self):
        """Rejects values out of range."""
        _check_masks(self, "grid")


def _check_masks(settings, *sizes: str) -> None:
    positive(settings, *(name for name in sizes if getattr(settings, name)))
    check(settings, ("rle_base",), "must be 0 or 1", lambda value: value in (0, 1))
    if settings.labels is not None:
        labels = check_labels(separated(settings.labels), "--labels")
        object.__setattr__(settings, "labels", labels)
