"""A folder of records: its shards, and the manifest that lists them.

The manifest is written before the first shard and after each one, so that an
interrupted conversion can resume, and an incomplete folder is recognised. Folders are
local or remote (`gs://…`).
"""

import re
from typing import NamedTuple, get_args

import tensorflow as tf

from clouds.config.checks import check_labels
from clouds.config.fields import Decode
from clouds.errors import InputError
from clouds.runtime import checksums, files, json_types
from clouds.schema import DTYPES, MOST_BANDS, RGB, Bands, MaskSpec

FORMAT = 1
SOFT = "soft"
FILE = "manifest.json"
PLACES = "places.csv"
"""File of the images' places, if their names do not say them."""

_SHARD = {"name": str, "split": str, "examples": int}
_SHARD |= {"size": (int, None), "sha256": (str, None)}
_TYPES = {
    "size": [int],
    "grid": [int],
    "truth_size": [int],
    "labels": [str],
    "decode": str,
    "seed": int,
    "val_fraction": json_types.NUMBER,
    "folds": int,
    "source": {str: str},
    "shards": [_SHARD],
    "format": int,
    "split?": {str: str},
    "bands?": {"names": [str], "dtype": str},
    "places?": str,
}


class Shard(NamedTuple):
    """One file of records.

    Attributes:
      name: name of the file, such as `train-00000-of-00004.tfrecord`.
      split: `train` or `val`, or `fold0`, `fold1`, …, or `test` without labels.
      examples: number of records.
      size: size of the file in bytes; None until it is written.
      sha256: SHA-256 of the file, in hexadecimal; None until it is written.
    """

    name: str
    split: str
    examples: int
    size: int | None = None
    sha256: str | None = None


class Manifest(NamedTuple):
    """Content and origin of a folder of records.

    Attributes:
      size: height and width of images and masks.
      grid: height and width of the grid of the csv's runs.
      truth_size: height and width of the masks for evaluation.
      labels: names of the labels, in the order of the mask bits.
      decode: `reduced` or `exact`, as for `preprocessing.decode`.
      seed: random seed of split and order.
      val_fraction: fraction of the images held out; 0 with folds.
      folds: number of folds; 0 with a validation split.
      source: name and SHA-256 of the csv or boxes, or of the folder and its images'
        names; for boxes also the vote.
      shards: shards, in order.
      format: version of the format.
      split: SHA-256 of split.csv, and `group_by`, the kind of groups; None if the split
        follows from seed and labels alone.
      bands: bands of the images; RGB is not written.
      places: SHA-256 of places.csv; None without it.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    truth_size: tuple[int, int]
    labels: tuple[str, ...]
    decode: str
    seed: int
    val_fraction: float
    folds: int
    source: dict[str, str]
    shards: tuple[Shard, ...]
    format: int = FORMAT
    split: dict[str, str] | None = None
    bands: Bands = RGB
    places: str | None = None

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """Returns the shards of a split."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def examples(self, split: str) -> int:
        """Returns the number of images of a split."""
        return sum(shard.examples for shard in self.of_split(split))

    @property
    def soft(self) -> bool:
        """Whether training uses shares of annotators instead of masks."""
        return self.source.get("vote") == SOFT

    @property
    def spec(self) -> MaskSpec:
        """Labels and grid of the masks for evaluation."""
        return MaskSpec(self.labels, self.truth_size)

    @property
    def labelled(self) -> bool:
        """Whether the records have masks."""
        return not self.of_split("test")

    @property
    def plan(self) -> "Manifest":
        """The manifest before any shard is written."""
        planned = (shard._replace(size=None, sha256=None) for shard in self.shards)
        return self._replace(shards=tuple(planned))

    @property
    def complete(self) -> bool:
        """Whether every shard is written."""
        return all(shard.sha256 for shard in self.shards)


def read(folder: str, *, fold: int | None = None, labelled: bool = True) -> Manifest:
    """Reads the manifest of a folder of records, and checks the folder.

    Args:
      folder: local or remote folder.
      fold: validation fold, for records made in folds.
      labelled: whether the records must have masks, or must not.

    Returns:
      The manifest of a complete folder, with shards in the splits train and val, or
      in test.

    Raises:
      InputError: the folder has no records, or incomplete ones, with or without masks
        against `labelled`, of another format, without a shard or with one of the wrong
        size, or the fold does not exist.
    """
    manifest = load(folder)
    if manifest is None:
        raise InputError(
            f"'{folder}' holds no records: it has no {FILE}. Make records with "
            "bin/make_tfrecords."
        )
    if not manifest.complete:
        raise InputError(
            f"The records in '{folder}' are incomplete. Run the same "
            "bin/make_tfrecords again: it resumes."
        )
    if manifest.labelled != labelled:
        has, needs = ("", "no ") if manifest.labelled else ("no ", "")
        raise InputError(
            f"The records in '{folder}' have {has}masks, and this command needs "
            f"records with {needs}masks. Training and evaluation need masks; for "
            "prediction make records with --unlabelled."
        )
    for shard in manifest.shards:
        path = f"{folder}/{shard.name}"
        size = tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
        if size != shard.size:
            problem = "is missing" if size is None else f"has {size} bytes"
            raise InputError(
                f"Shard {path} {problem}, not {shard.size} bytes. Copy it again, or "
                "make it again with bin/make_tfrecords."
            )
    return _with_fold(manifest, fold, folder)


def places(folder: str, manifest: Manifest) -> str | None:
    """Returns the path of the places of the images.

    Args:
      folder: folder of the records.
      manifest: its manifest.

    Returns:
      The path of a csv (see `clouds.geo.tables`); None if the records have none.

    Raises:
      InputError: the file is missing, or not as it was written.
    """
    if not manifest.places:
        return None
    path = f"{folder}/{PLACES}"
    if not tf.io.gfile.exists(path) or files.checksum(path) != manifest.places:
        raise InputError(
            f"{path} is missing or was changed, and has the places of the images. Copy "
            "it again, or make the records again."
        )
    return path


def _with_fold(manifest: Manifest, fold: int | None, folder: str) -> Manifest:
    if not manifest.folds and fold is None:
        return manifest
    if fold not in range(manifest.folds):
        last = manifest.folds - 1
        expected = f"must be from 0 to {last}" if manifest.folds else "cannot be used"
        raise InputError(
            f"--fold {expected} with the records in '{folder}'. Received: {fold}. "
            "bin/make_tfrecords --folds makes folds."
        )
    return manifest._replace(
        shards=tuple(
            shard._replace(split="val" if shard.split == f"fold{fold}" else "train")
            for shard in manifest.shards
        )
    )


def load(folder: str) -> Manifest | None:
    """Reads a manifest in any state; None if there is none.

    Raises:
      InputError: it is damaged, or of another format.
    """
    path = f"{folder}/{FILE}"
    try:
        if not tf.io.gfile.exists(path):
            return None
    except tf.errors.OpError as error:
        raise InputError(
            f"'{folder}' cannot be read ({error.message.strip().splitlines()[0]}). "
            "Check the path and the access rights."
        ) from error
    try:
        fields = checksums.parse_json(files.read(path))
        if fields.get("format") != FORMAT:
            raise InputError(
                f"{path} is of format {fields.get('format')}, and this version reads "
                f"format {FORMAT}. Make the records again, or use the version that "
                "made them."
            )
        json_types.check(fields, _TYPES)
        for key in ("size", "grid", "truth_size", "labels"):
            fields[key] = tuple(fields[key])
        fields["shards"] = tuple(Shard(**shard) for shard in fields["shards"])
        if "bands" in fields:
            names, dtype = (fields["bands"][key] for key in Bands._fields)
            fields["bands"] = Bands(tuple(names), dtype)
        manifest = Manifest(**fields)
        _check(manifest)
    except InputError:
        raise
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InputError(
            f"{path} is damaged ({_reason(error)}). Copy it again, or make the records "
            "again with --overwrite."
        ) from error
    check_labels(manifest.labels, path)
    return manifest


def _check(manifest: Manifest) -> None:
    """Checks the values of a manifest.

    Raises:
      ValueError: one is impossible, or contradicts another.
    """
    sizes = [manifest.size, manifest.grid, manifest.truth_size]
    rules = {
        "size, grid or truth_size": all(len(s) == 2 and min(s) > 0 for s in sizes),
        "decode": manifest.decode in get_args(Decode),
        "val_fraction": 0 <= manifest.val_fraction < 1,
        "folds": manifest.folds >= 0,
        "shards": len(manifest.shards) > 0,
        "bands": 1 <= len(manifest.bands.names) <= MOST_BANDS
        and manifest.bands.dtype in DTYPES,
    }
    splits = {shard.split for shard in manifest.shards}
    folds = {f"fold{fold}" for fold in range(manifest.folds)}
    rules["the splits"] = splits in ([folds] if folds else [{"train", "val"}, {"test"}])
    for split in splits:
        shards = manifest.of_split(split)
        for index, shard in enumerate(shards):
            name = f"{split}-{index:05d}-of-{len(shards):05d}.tfrecord"
            rules[f"the name of {shard.name}"] = shard.name == name
    for shard in manifest.shards:
        written = shard.size is not None and re.fullmatch(
            "[0-9a-f]{64}", shard.sha256 or ""
        )
        planned = shard.size is None and shard.sha256 is None
        rules[f"examples of {shard.name}"] = shard.examples > 0
        rules[f"size or sha256 of {shard.name}"] = planned or bool(written)
    if wrong := [what for what, is_right in rules.items() if not is_right]:
        raise ValueError(f"wrong: {', '.join(wrong)}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def save(folder: str, manifest: Manifest) -> None:
    """Writes a manifest."""
    fields = manifest._asdict()
    fields["shards"] = [shard._asdict() for shard in manifest.shards]
    for key in ("split", "places"):
        # As in records of versions that had neither groups nor places.
        if fields[key] is None:
            del fields[key]
    bands = fields.pop("bands")
    # Records of colours stay the same files as those of earlier versions.
    if bands != RGB:
        fields["bands"] = bands._asdict()
    checksums.write_json(f"{folder}/{FILE}", fields)
