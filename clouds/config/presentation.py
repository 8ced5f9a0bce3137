"""Settings of the commands that show results."""

from dataclasses import dataclass

from clouds.config.checks import positive
from clouds.config.fields import (
    File,
    Files,
    Folder,
    LocalFile,
    LocalFolder,
    LocalFolders,
    Size,
    flag,
    positional,
)
from clouds.errors import InputError
from clouds.schema import GRID


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

    boxes: Files = flag(
        "csv of boxes, optionally compressed: index,path,x1,y1,x2,y2,label without a "
        "header, one file per annotator; or one file of all annotators with the "
        "columns user_id or user_name, fn, x, y, width, height and tool_label, as in "
        "tables from Zooniverse"
    )
    submission: File | None = flag(
        "csv of the network's masks on these images, from bin/predict", None
    )
    size: Size = flag("height x width of the images that the boxes refer to", GRID)
    out: LocalFolder = flag("output folder for agreement.json")

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "size")
