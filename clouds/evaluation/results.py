"""What an evaluation left in a folder (see `clouds.evaluation.summary`), read again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from clouds import schema
from clouds.errors import InputError
from clouds.evaluation import summary
from clouds.evaluation.counts import Images
from clouds.runs import run_folder


class Evaluation(NamedTuple):
    """An evaluation of N images.

    Attributes:
      folder: where it lies.
      facts: what metrics.json holds.
      images: the numbers of each image.
      dice: a row an image, by name, with a column a label: the competition's Dice of
        the post-processed masks.
    """

    folder: str
    facts: dict
    images: Images
    dice: pd.DataFrame


def read(folder: str) -> Evaluation | None:
    """Reads an evaluation; None where there is none.

    Args:
      folder: of a run, or what was given to `bin/evaluate --out`.

    Raises:
      InputError: it is damaged, or of another version.
    """
    path, table = Path(folder, summary.JSON), Path(folder, summary.IMAGES)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        rows = pd.read_csv(table, dtype={"image": str})
        images = _images(rows)
        if len(images.names) != facts["images"] or not facts["figures"]:
            raise ValueError(f"{len(images.names)} images of {facts['images']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"An evaluation must be as bin/evaluate writes it. Received: {path} and "
            f"{table.name}, damaged or of another version ({error}). Evaluate again."
        ) from error
    dice = rows.pivot(index="image", columns="label", values="dice_post")
    return Evaluation(folder, facts, images, dice.loc[images.names, schema.LABELS])


def alike(facts: dict, tuned_on: dict) -> bool:
    """Whether images were predicted as for a tuning: by as many runs, of as many views.

    Args:
      facts: of an evaluation.
      tuned_on: those of the tuning.
    """
    one, other = ((len(those["runs"]), those["flips"]) for those in (facts, tuned_on))
    return one == other


def outdated(facts: dict, runs: Iterable[str]) -> list[str]:
    """Finds runs whose weights are not those that were measured.

    Args:
      facts: of an evaluation, or those of a tuning.
      runs: where its runs are now, in its order.

    Returns:
      Their folders. What is not known, or has no weights there, is not among them.
    """
    pairs = zip(runs, facts.get("weights", ()), strict=False)
    return [
        folder
        for folder, known in pairs
        if Path(folder, run_folder.WEIGHTS).is_file()
        and run_folder.weights_checksum(folder) != known
    ]


def of_other_records(runs: Iterable[str], sha256: str) -> list[str]:
    """Says which runs may have been trained on the images that they are measured on.

    Args:
      runs: their folders.
      sha256: of the records that they are measured on.

    Returns:
      A sentence a run that was trained on other records.

    Raises:
      InputError: what is known of a run is damaged.
    """
    of_runs = {folder: run_folder.read_facts(folder).get("records") for folder in runs}
    return [
        f"{folder} was trained on other records, {known['folder']}: these images may "
        "have been among them."
        for folder, known in of_runs.items()
        if known and known["sha256"] != sha256
    ]


def _images(rows: pd.DataFrame) -> Images:
    count = len(schema.LABELS)
    if rows["label"].tolist() != [*schema.LABELS] * (len(rows) // count):
        raise ValueError("labels in another order")

    def numbers(column):
        return rows[column].to_numpy().reshape(-1, count)

    return Images(
        names=rows["image"][::count].tolist(),
        score=numbers("score"),
        truth=numbers("true_area"),
        plain=numbers("plain_area"),
        plain_shared=numbers("plain_shared"),
        post=numbers("post_area"),
        post_shared=numbers("post_shared"),
    )
