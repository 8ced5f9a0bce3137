"""Settings of `bin/predict-archive`."""

from dataclasses import dataclass

from clouds.config.checks import check_apart, positive
from clouds.config.fields import IMAGES, RUNNER_OPTIONS, Folder, Place, Runner, flag
from clouds.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Predicts any number of images with an exported model, on Apache Beam.

    Each image gets exactly one result: rows in submission_post.csv and scores.csv, or a
    reason in failed.csv. Images are predicted in chunks; the same command resumes after
    the last complete one, and `--retry-failed` predicts failed images again.

    Example:
      bin/predict-archive --model models/clouds --images archive --out runs/archive
    """

    model: Folder = flag("folder of a model or of one of its versions, from bin/export")
    images: Place = flag(IMAGES)
    out: Folder = flag("output folder for the results")
    overwrite: bool = flag("replace the results in the folder", False)
    retry_failed: bool = flag("predict images that failed before again", False)
    runner: Runner = flag(
        "Apache Beam runner; its workers must be able to access --model, --images and "
        "--out",
        "DirectRunner",
        section="machine",
    )
    runner_options: str | None = flag(RUNNER_OPTIONS, None)
    chunk: int = flag("number of images per chunk", 10_000)
    batch_size: int = flag("number of images per batch", 8)

    def __post_init__(self):
        """Rejects values out of range."""
        positive(self, "chunk", "batch_size")
        check_apart(self.out, self.images)
        local = [p for p in (self.model, self.images, self.out) if "://" not in p]
        if self.runner == "DataflowRunner" and local:
            raise InputError(
                "--model, --images and --out must be visible to Dataflow's workers. "
                f"Received: '{local[0]}'. Copy them to gs://… and give that path."
            )
