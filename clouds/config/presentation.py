"""Settings of the commands that show results."""

from dataclasses import dataclass

from clouds.config.checks import check_labels, positive, separated, within_one
from clouds.config.fields import (
    BOXES,
    WORKFLOWS,
    File,
    Files,
    Folder,
    Labels,
    LocalFile,
    LocalFolder,
    LocalFolders,
    Places,
    Size,
    Workflows,
    flag,
    positional,
)
from clouds.errors import InputError
from clouds.schema import GRID, SUBMISSION_SIZE


@dataclass(frozen=True, kw_only=True)
class Report:
    """Writes a web page about a run: data, training, metrics, predictions.

    The page shows what bin/train, bin/evaluate and bin/describe wrote to the folder of
    the run. For a missing part it names the command that makes it.

    Example:
      bin/report --run runs/first
    """

    run: LocalFolder = flag("folder of the run")
    evaluation: LocalFolder | None = flag(
        "folder given to bin/evaluate --out (default: the folder of the run)", None
    )
    statistics: LocalFolder | None = flag(
        "folder given to bin/describe --out (default: the folder of the run)", None
    )
    agreement: LocalFolder | None = flag(
        "folder given to bin/agreement --out (default: the folder of the run)", None
    )
    records: Folder | None = flag(
        "folder of the records of the evaluation, if they were moved", None
    )
    gallery: int = flag(
        "number of images of each kind: best, worst, most uncertain, random", 4
    )
    out: LocalFile | None = flag(
        "page to write or replace (default: report.html in the folder of the run)", None
    )

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "gallery")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Writes a web page that compares runs evaluated on the same images.

    Differences are to the first run, with paired 95 % intervals: each resample of the
    bootstrap draws the same images for both runs.

    Example:
      bin/compare runs/first runs/second
    """

    run: LocalFolders = positional("folders of runs, or of bin/evaluate --out")
    out: LocalFile = flag("page to write or replace", "compare.html")

    def __post_init__(self):
        """Rejects fewer than two runs, and duplicates."""
        if len(self.run) < 2:
            raise InputError(
                f"bin/compare needs at least two runs. Received: {len(self.run)}. Give "
                "their folders, as in bin/compare runs/a runs/b."
            )
        duplicates = sorted({run for run in self.run if self.run.count(run) > 1})
        if duplicates:
            raise InputError(
                f"Each run must be given once. Received: {', '.join(duplicates)} twice."
            )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Measures agreement on the patterns among people, and of a network with people.

    For each image and pattern, the intersection over union (IoU) of two annotators is
    undefined if neither has the pattern, and 0 if only one has it. Means have 95 %
    bootstrap intervals over images.

    Example:
      bin/agreement --boxes ann.csv bob.csv --out runs/agreement
      bin/agreement --boxes all.csv --submission found/submission_post.csv --out both
    """

    boxes: Files = flag(BOXES)
    workflows: Workflows | None = flag(WORKFLOWS, None)
    submission: File | None = flag(
        "csv of the network's masks on these images, from bin/predict", None
    )
    labels: Labels | None = flag(
        "names of the labels to compare, separated by commas (default: the "
        "competition's)",
        None,
    )
    size: Size = flag("height x width of the images that the boxes refer to", GRID)
    grid: Size = flag("height x width of the grid of --submission", SUBMISSION_SIZE)
    out: LocalFolder = flag("output folder for agreement.json")

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "size", "grid")
        if self.labels:
            labels = check_labels(separated(self.labels), "--labels")
            object.__setattr__(self, "labels", labels)


@dataclass(frozen=True, kw_only=True)
class Climatology:
    """Computes how often each pattern covers each cell of a grid in degrees.

    The frequency of a pattern is the area that it covers divided by the area that was
    observed, by day, by month and over all days. Means have 95 % bootstrap intervals
    over days. Results go to climatology.nc (CF conventions), climatology.png, daily.csv
    and monthly.csv.

    Example:
      bin/climatology --maps runs/maps/barbados.nc --out runs/climatology
      bin/climatology --submission masks.csv --places places.csv --out runs/all
    """

    maps: Places | None = flag("NetCDF files or Zarr stores of bin/predict", None)
    submission: File | None = flag(
        "csv of masks, instead of --maps; images need a place and a time", None
    )
    places: File | None = flag(
        "csv of the places of --submission's images: image,time,west,south,east,north "
        "(default: those in their names)",
        None,
    )
    grid: Size = flag("height x width of the grid of --submission", SUBMISSION_SIZE)
    cells: float = flag("size of a cell in degrees; must divide 180", 2.5)
    threshold: float | None = flag(
        "count a pattern where its probability exceeds this (default: use the masks)",
        None,
    )
    trajectory: File | None = flag(
        "csv of points, time,lat,lon; the values of the maps at each are written to "
        "trajectory.csv",
        None,
    )
    resamples: int = flag("number of bootstrap resamples", 1000)
    out: LocalFolder = flag("output folder")

    def __post_init__(self):
        """Rejects values out of range, and settings that exclude each other."""
        positive(self, "grid", "cells", "resamples")
        if self.threshold is not None:
            within_one(self, "threshold")
        if abs(180 / self.cells - round(180 / self.cells)) > 1e-9:
            raise InputError(
                "--cells must divide 180, such as 1, 2.5 or 5. Received: "
                f"{self.cells:g}."
            )
        if bool(self.maps) == bool(self.submission):
            raise InputError("Give --maps or --submission, one of them.")
        if self.places and not self.submission:
            raise InputError("--places needs --submission. Maps have their places.")
