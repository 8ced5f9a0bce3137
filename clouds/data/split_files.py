"""The file split.csv: which image is in which split, and in which group.

Columns are `image`, `split` (`train`, `val`, `fold0`, …, or `test`) and, for records
made with `--group-by`, `group`. `bin/make_tfrecords` writes it beside the records, and
reads one like it as `--split-file`.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd
import tensorflow as tf

from clouds.data.manifest import Manifest
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.runtime import archives, files
from clouds.text import counted

FILE = "split.csv"

_SPLITS = re.compile("train|val|fold[0-9]+")


def text(
    table: Table, members: Iterable, plan: Manifest, groups: Sequence[str] | None
) -> str:
    """Returns the contents of split.csv.

    Args:
      table: the images.
      members: for each shard the indices of its images.
      plan: the shards.
      groups: group of each image of the table; None without groups.
    """
    rows = [
        (table.images[k], shard.split, *([groups[k]] if groups else []))
        for shard, images in zip(plan.shards, members, strict=True)
        for k in images
    ]
    return to_csv(rows)


def to_csv(rows: Iterable[tuple[str, ...]]) -> str:
    """Formats rows of image, split and perhaps group, sorted by image."""
    rows = sorted(rows)
    columns = ["image", "split", "group"][: len(rows[0]) if rows else 2]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False)


def read(path: str, images: Sequence[str]) -> list[str]:
    """Reads the split of each image from a file of one's own.

    Args:
      path: csv with the columns image and split.
      images: names of the images; rows of others are not used.

    Returns:
      The split of each image.

    Raises:
      InputError: the csv cannot be read, a split is unknown, an image has no row, or
        the splits are not train and val, or fold0 and further folds.
    """
    content = archives.decompress(archives.read(path, "The csv of splits"), path)
    splits, wanted = {}, set(images)
    for number, image, split in _rows(content, path):
        where = f"{path}, row {number}"
        if image not in wanted:
            continue
        if not _SPLITS.fullmatch(split):
            raise InputError(
                f"{where}: split must be train or val, or fold0, fold1, …. Received: "
                f"'{split}'."
            )
        if image in splits:
            raise InputError(f"{where}: {image} has another row. Remove one.")
        splits[image] = split
    if missing := [image for image in images if image not in splits]:
        raise InputError(
            f"{path}: {len(missing)} of {counted(len(images), 'image')} have no row, "
            f"first {missing[0]}. Add them."
        )
    found = [splits[image] for image in images]
    folds = {f"fold{k}" for k in range(len(set(found)))}
    if set(found) not in ({"train", "val"}, folds) or len(folds) < 2:
        raise InputError(
            f"{path}: the images must be in train and val, or in fold0, fold1, … "
            f"without a gap. Received: {', '.join(sorted(set(found)))}."
        )
    return found


def _rows(content: bytes, path: str) -> Iterator[tuple[int, str, str]]:
    """Yields number, image and split of each row."""
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        rows = csv.DictReader(text, strict=True)
        missing = [
            name for name in ("image", "split") if name not in (rows.fieldnames or ())
        ]
        if missing:
            raise InputError(
                f"{path}, row 1: no column {missing[0]}. Expected image and split."
            )
        for row in rows:
            image, split = ((row[name] or "").strip() for name in ("image", "split"))
            yield rows.line_num, image, split
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a csv in UTF-8 ({error}). Save it as such."
        ) from error


def read_groups(folder: str, manifest: Manifest) -> dict[str, str] | None:
    """Reads the groups of records by the names of their images.

    Args:
      folder: folder of the records.
      manifest: its manifest.

    Returns:
      The group of each image; None if the records were made without groups.

    Raises:
      InputError: the file is missing, or not as it was written.
    """
    if not manifest.split or "group_by" not in manifest.split:
        return None
    path = f"{folder}/{FILE}"
    if not tf.io.gfile.exists(path) or files.checksum(path) != manifest.split["sha256"]:
        raise InputError(
            f"{path} is missing or was changed, and has the groups of the images. Copy "
            "it again, or make the records again."
        )
    table = pd.read_csv(io.BytesIO(files.read(path)), dtype=str, keep_default_na=False)
    return dict(zip(table["image"], table["group"], strict=True))
