"""Settings of what shows the figures of runs."""

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
    """Writes a page about a run: data, training, figures, predictions to look at.

    It shows what bin/train, bin/evaluate and bin/describe left in the run's folder,
    and says of what is not there how it is made.

    Example:
      bin/report --run runs/first
    """

    run: LocalFolder = flag("folder of a run")
    evaluation: LocalFolder | None = flag(
        "folder of the figures, if bin/evaluate --out named another than the run's",
        None,
    )
    statistics: LocalFolder | None = flag(
        "folder of statistics.json, if bin/describe --out named another than the run's",
        None,
    )
    records: Folder | None = flag(
        "folder of the records that the run was evaluated on, if they were moved", None
    )
    gallery: int = flag("images of each kind: best, worst, most uncertain, random", 4)
    out: LocalFile | None = flag(
        "page to write, or to write anew; report.html in the run if not given", None
    )

    def __post_init__(self):
        """Refuses values out of range."""
        positive(self, "gallery")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sets runs side by side that were evaluated on the same images.

    Differences are to the first run, with paired 95 % intervals: each resample of the
    bootstrap draws the same images for both.

    Example:
      bin/compare runs/first runs/second
    """

    run: LocalFolders = positional(
        "folders of runs, or of figures that bin/evaluate --out named"
    )
    out: LocalFile = flag("page to write, or to write anew", "compare.html")

    def __post_init__(self):
        """Refuses fewer than two runs."""
        if len(self.run) < 2:
            raise InputError(
                "bin/compare must be given two runs or more. Received: "
                f"{len(self.run)}. Name their folders, as in bin/compare runs/a runs/b."
            )
        twice = {folder for folder in self.run if self.run.count(folder) > 1}
        if twice:
            raise InputError(
                f"Runs must be named once. Received: {', '.join(sorted(twice))} twice."
            )
