"""A folder of records: its shards, and the manifest that says what they hold.

The manifest is written before the first shard and after each one, so that an
interrupted making can go on, and no reader takes a part for the whole. Folders
are local paths or any that `tf.io.gfile` knows, such as `gs://…`.
"""

import json
from typing import NamedTuple

import tensorflow as tf

from clouds import schema
from clouds.errors import InputError
from clouds.runtime import files

FORMAT = 1
FILE = "manifest.json"


class Shard(NamedTuple):
    """One file of records, as the manifest lists it.

    Attributes:
      name: of the file, such as `train-00000-of-00004.tfrecord`.
      split: `train` or `val`, or `fold0`, `fold1`, …; `test` of images without
        labels.
      examples: how many it holds.
      size: of the file in bytes; None until it is written.
      sha256: of the file, in hexadecimal; None until it is written.
    """

    name: str
    split: str
    examples: int
    size: int | None = None
    sha256: str | None = None


class Manifest(NamedTuple):
    """What a folder of records holds, and from what it was made.

    Attributes:
      size: height and width of images and masks.
      grid: height and width that the csv's runs count on.
      truth_size: height and width of the masks kept for evaluation.
      labels: their names, in the order of the mask bits.
      decode: `reduced` or `exact`, as `clouds.data.preprocessing.decode` has it.
      seed: of split and order.
      val_fraction: of the images that is held out; 0 where there are folds.
      folds: how many; 0 where one part is held out.
      source: name and sha256 of the csv, or of the folder and of its images' names.
      shards: in order.
      format: of the records.
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

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """The shards of one split."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def examples(self, split: str) -> int:
        """How many images a split holds."""
        return sum(shard.examples for shard in self.of_split(split))

    @property
    def labelled(self) -> bool:
        """Whether the records hold masks."""
        return not self.of_split("test")

    @property
    def plan(self) -> "Manifest":
        """The manifest as it is before any shard is written."""
        bare = (shard._replace(size=None, sha256=None) for shard in self.shards)
        return self._replace(shards=tuple(bare))

    @property
    def complete(self) -> bool:
        """Whether every shard is written."""
        return all(shard.sha256 for shard in self.shards)


def read(folder: str, *, fold: int | None = None, labelled: bool = True) -> Manifest:
    """Reads what a folder of records holds, and checks that it can be read.

    Args:
      folder: a path, local or any that `tf.io.gfile` knows.
      fold: that is held out, of records made in folds.
      labelled: whether the records must hold masks, or must not.

    Returns:
      The manifest of a complete folder, its shards in the splits train and val, or
      in test.

    Raises:
      InputError: no records there, unfinished ones, with masks or without them
        against what is asked, another format or other labels, a shard that is
        missing or of the wrong size, or no such fold.
    """
    manifest = load(folder)
    if manifest is None:
        raise InputError(
            f"Records must lie in a folder with a {FILE}. Received: '{folder}', "
            "which has none. Make them with bin/make_tfrecords."
        )
    if not manifest.complete:
        raise InputError(
            f"Records must be complete. Received: '{folder}', whose making was cut "
            "off. Run the same bin/make_tfrecords again: it goes on where it stopped."
        )
    if manifest.labelled != labelled:
        made = "without --unlabelled" if manifest.labelled else "with --unlabelled"
        raise InputError(
            f"Records must {'hold' if labelled else 'be without'} masks. Received: "
            f"'{folder}', made {made}. Training and evaluation need masks; prediction "
            "takes records without."
        )
    for shard in manifest.shards:
        path = f"{folder}/{shard.name}"
        size = tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
        if size != shard.size:
            raise InputError(
                f"Shard must be of {shard.size} bytes. Received: "
                f"{'no file' if size is None else f'{size} bytes'}, at {path}. "
                "Copy it again, or make it again with bin/make_tfrecords."
            )
    return _hold_out(manifest, fold, folder)


def _hold_out(manifest: Manifest, fold: int | None, folder: str) -> Manifest:
    if not manifest.folds and fold is None:
        return manifest
    if fold not in range(manifest.folds):
        raise InputError(
            f"--fold must be {_choice(manifest.folds)}. Received: {fold}, with "
            f"'{folder}'. bin/make_tfrecords --folds makes folds."
        )
    return manifest._replace(
        shards=tuple(
            shard._replace(split="val" if shard.split == f"fold{fold}" else "train")
            for shard in manifest.shards
        )
    )


def _choice(folds: int) -> str:
    return f"from 0 to {folds - 1}" if folds else "left out, as there are no folds"


def load(folder: str) -> Manifest | None:
    """Reads a manifest of any state; None where there is none.

    Raises:
      InputError: it is damaged, of another format, or has other labels.
    """
    path = f"{folder}/{FILE}"
    try:
        there = tf.io.gfile.exists(path)
    except tf.errors.OpError as error:
        raise InputError(
            f"Records must lie where they can be read. Received: '{folder}' "
            f"({error.message.strip().splitlines()[0]}). Check the path and the access."
        ) from error
    if not there:
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            fields = json.load(file)
        if fields["format"] != FORMAT:
            raise InputError(
                f"Records must be of format {FORMAT}. Received: format "
                f"{fields['format']}, in {path}. Make them again with this version's "
                "bin/make_tfrecords, or use the version that made them."
            )
        for key in ("size", "grid", "truth_size", "labels"):
            fields[key] = tuple(fields[key])
        fields["shards"] = tuple(Shard(**shard) for shard in fields["shards"])
        manifest = Manifest(**fields)
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(
            f"Manifest must be as bin/make_tfrecords writes it. Received: {path}, "
            f"damaged ({error!r:.80}). Make the records again with --overwrite."
        ) from error
    if manifest.labels != schema.LABELS:
        raise InputError(
            f"Records must have the labels {', '.join(schema.LABELS)}. Received: "
            f"{', '.join(manifest.labels)}, in {path}."
        )
    return manifest


def save(folder: str, manifest: Manifest) -> None:
    """Writes a manifest."""
    fields = manifest._asdict()
    fields["shards"] = [shard._asdict() for shard in manifest.shards]
    files.write_json(f"{folder}/{FILE}", fields)
