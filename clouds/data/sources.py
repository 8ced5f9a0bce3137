"""The sources of records: reads masks, and describes and checks them."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import tensorflow as tf

from clouds.config.checks import transposed
from clouds.config.data import Records
from clouds.data import annotations
from clouds.data.manifest import Manifest
from clouds.data.masks import boxes, votes
from clouds.data.masks.csv_rows import STANDARD
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.runtime import files
from clouds.schema import CLOUDS
from clouds.text import counted

_UNEVEN = 0.05


def read(settings: Records, available: Mapping[str, str]) -> Table:
    """Reads the masks of the images.

    Args:
      settings: csv, boxes or neither, and how to read them.
      available: paths of the images by name.

    Returns:
      The table, without texts for images without masks.

    Raises:
      InputError: a file cannot be read, or lists other images.
    """
    if settings.boxes:
        return _of_boxes(settings, available)
    if settings.csv is None:
        labels = settings.labels or CLOUDS.labels
        return Table(list(available), None, None, settings.images, labels)
    source = annotations.Source(
        settings.csv_format,
        settings.rle_order,
        settings.rle_base,
        settings.rle_starts,
        settings.unlisted != "empty",
        settings.grid,
        lambda: annotations.size_of_first(available),
    )
    table = annotations.read(settings.csv, settings.labels, source, available)
    if settings.unlabelled:
        return table._replace(texts=None)
    return _with_unlisted(settings, table, available)


def _of_boxes(settings: Records, available: Mapping[str, str]) -> Table:
    labels = settings.labels or CLOUDS.labels
    source = annotations.Source(
        grid=settings.grid, image_size=lambda: annotations.size_of_first(available)
    )
    size = source.with_grid(labels).grid
    workflows = settings.workflows or ()
    annotators = boxes.read_all(settings.boxes, labels, size, workflows)
    clipped, dropped = (
        sum(getattr(one, name) for one in annotators.values())
        for name in ("clipped", "dropped")
    )
    print(
        f"{', '.join(settings.boxes)}: boxes of {counted(len(annotators), 'annotator')}"
        f", {clipped:,} clipped to their image, {dropped:,} dropped because without "
        f"area; masks by {settings.vote} vote",
        flush=True,
    )
    path = settings.boxes[0]
    table = votes.table(annotators, labels, size=size, vote=settings.vote, path=path)
    return _with_unlisted(settings, table, available)


def _with_unlisted(settings: Records, table: Table, available) -> Table:
    """Adds images that the csv does not list, as images without masks."""
    listed = set(table.images) | {name.rpartition(".")[0] for name in table.images}
    unlisted = [
        name
        for name in available
        if name not in listed and name.rpartition(".")[0] not in listed
    ]
    if not unlisted or settings.unlisted == "skip":
        return table
    if settings.unlisted == "error":
        raise InputError(
            f"{counted(len(unlisted), 'image')} of {settings.images} have no row in "
            f"{table.path}, first '{unlisted[0]}'. Add rows, or give --unlisted empty."
        )
    return table.with_empty(unlisted)


def identity(settings: Records, table: Table) -> dict[str, str]:
    """Returns what identifies the source in a manifest: name, SHA-256, and the vote."""
    path = settings.csv or (settings.boxes and settings.boxes[0]) or table.path
    fields = {"name": PurePosixPath(path.rstrip("/")).name}
    if settings.csv:
        fields["sha256"] = _checksum(settings.csv)
    elif settings.boxes:
        listed = " ".join(map(files.checksum, settings.boxes))
        fields["sha256"] = hashlib.sha256(listed.encode()).hexdigest()
        fields["vote"] = settings.vote
        if settings.workflows:
            fields["workflows"] = ", ".join(settings.workflows)
    else:
        listed = "\n".join(table.images)
        fields["sha256"] = hashlib.sha256(listed.encode()).hexdigest()
    return fields


def _checksum(path: str) -> str:
    """Returns the SHA-256 of a file, or of the files of a folder and their names."""
    if not tf.io.gfile.isdir(path):
        return files.checksum(path)
    names = sorted(tf.io.gfile.listdir(path))
    lines = (f"{name} {files.checksum(f'{path}/{name}')}" for name in names)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def warn(
    settings: Records,
    table: Table,
    groups: Sequence[str] | None,
    members: Sequence,
    plan: Manifest,
) -> None:
    """Prints what looks wrong: the grid, a transposed size, divided groups.

    Args:
      settings: size of the records.
      table: the masks.
      groups: group of each image, if any.
      members: for each shard the indices of its images.
      plan: the shards.
    """
    warnings = (
        transposed(settings.size, table.grid, "the images of the csv"),
        # Rectangles do not look like masks of clouds.
        None if table.drawings else annotations.find_warning(table, table.grid),
        _find_divided(groups, members, plan),
        _find_uneven(settings, groups, plan),
    )
    for warning in filter(None, warnings):
        print(f"make_tfrecords: warning: {warning}", file=sys.stderr)


def _find_divided(
    groups: Sequence[str] | None, members: Sequence, plan: Manifest
) -> str | None:
    """Returns a warning of groups that a split file divides."""
    splits_of = {}
    for shard, images in zip(plan.shards, members, strict=True):
        for image in images if groups else ():
            splits_of.setdefault(groups[image], set()).add(shard.split)
    divided = [group for group, names in splits_of.items() if len(names) > 1]
    if not divided:
        return None
    return (
        f"{len(divided)} of {counted(len(splits_of), 'group')} are in several splits, "
        f"first '{divided[0]}': scores will be too high. Omit --split-file to keep "
        "groups together."
    )


def _find_uneven(
    settings: Records, groups: Sequence[str] | None, plan: Manifest
) -> str | None:
    """Returns a warning of a validation split that groups made too large or small."""
    total = sum(shard.examples for shard in plan.shards)
    share = plan.examples("val") / total
    chosen = groups is None or settings.folds or settings.split_file
    if chosen or abs(share - settings.val_fraction) <= _UNEVEN:
        return None
    return (
        f"the validation split has {share:.0%} of the images, not "
        f"{settings.val_fraction:.0%}, as no group is divided. Give smaller groups, or "
        "--split-file."
    )


def describe(settings: Records, table: Table, available: Mapping[str, str]) -> None:
    """Prints how the masks were read, unless as the competition's.

    Args:
      settings: format and folder of the images.
      table: the masks.
      available: paths of the images by name.
    """
    left_out = len(available) - len(table.images)
    if settings.csv and (table.labels != CLOUDS.labels or table.header != STANDARD):
        form = settings.csv_format or annotations.find_form(settings.csv)
        form = form or f"{table.header.form} ({','.join(table.header.columns)})"
        grid = "x".join(map(str, table.grid))
        print(
            f"{table.path}: form {form}; labels {', '.join(table.labels)}; runs on a "
            f"grid of {grid}; {counted(int(table.present.sum()), 'mask')} of "
            f"{counted(len(table.images), 'image')}.",
            flush=True,
        )
    if left_out > 0:
        print(
            f"{counted(left_out, 'image')} of {settings.images} without a row are left "
            "out; --unlisted empty takes them as images without masks.",
            flush=True,
        )
