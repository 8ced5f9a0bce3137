"""Settings of the commands that show results."""

from dataclasses import dataclass

from clouds.config.checks import positive
from clouds.config.fields import (
    Folder,
    LocalFile,
    LocalFolder,
    LocalFolders,
    flag,
    positional,
)
from clouds.errors import InputError


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
