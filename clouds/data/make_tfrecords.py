"""A csv of run-length codes and the images that it names -> a folder of records."""

import contextlib
import itertools
import sys

import pandas as pd
import tensorflow as tf

from clouds import rle, schema
from clouds.config.checks import transposed
from clouds.config.data import Records
from clouds.data import annotations, beam, image_files, manifest, plan, records
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runtime import files, pool, progress
from clouds.text import counted

SPLIT = "split.csv"
_FOREIGN = (".tfrecord", ".jpg", ".jpeg")

_IMAGES_A_WORKER = 64


def convert(settings: Records) -> None:
    """Makes records, goes on making those that were cut off, or verifies some.

    Args:
      settings: what to convert, and how; or the folder to verify.

    Raises:
      InputError: something is wrong with csv, images or folder. The shards that
        this call wrote are gone then, but for a disk that is full: they stay, and
        the same call goes on.
    """
    if settings.verify:
        _verify(settings.verify)
        return
    found = image_files.find(settings.images)
    source = _source(settings, found)
    paths = image_files.pick(found, source.images, source.path, settings.images)
    order, planned = plan.make(settings, source)
    if source.texts is not None:
        doubts = (
            transposed(settings.size, settings.grid, "the csv's images"),
            annotations.find_warning(source, settings.grid),
        )
        for doubt in filter(None, doubts):
            print(f"make_tfrecords: warning: {doubt}", file=sys.stderr)
    _make_folder(settings.out)
    with files.sole_writer(settings.out, "--out"):
        started = _start(settings, planned)
        if started == planned:
            _write_split(settings.out, source, order, planned)
        if before := sum(shard.sha256 is not None for shard in started.shards):
            shards = counted(len(started.shards), "shard")
            left = ", left as they are; --overwrite makes them again" * started.complete
            print(f"Made before: {before} of {shards}{left}.", flush=True)
        try:
            _write_shards(settings, source, paths, order, started)
        except InputError:
            _remove_written(settings.out, started)
            raise
        except tf.errors.OpError as error:
            raise InputError(
                f"Records must fit into '{settings.out}'. Received: {error.message}. "
                "Make room and run the same command again: it goes on."
            ) from error
    print(_summary(settings.out, planned))


def _source(settings: Records, found: dict[str, str]) -> annotations.Table:
    if settings.csv is None:
        return annotations.Table(list(found), None, None, settings.images)
    source = annotations.read(settings.csv)
    return source._replace(texts=None) if settings.unlabelled else source


def _verify(folder: str) -> None:
    read = manifest.load(folder)
    if not (read and read.complete):
        read = manifest.read(folder)
    faults = []
    for shard in progress.bar(read.shards, desc="verify", unit="shard"):
        for fault in records.faults(folder, read, shard):
            faults.append(fault)
            print(fault)
    if faults:
        raise InputError(
            "Records must be as they were written. Received: "
            f"{counted(len(faults), 'fault')} in '{folder}', the first: "
            f"{faults[0]} Copy these shards again, or remove the folder and make it "
            "anew."
        )
    print(f"{_summary(folder, read)}; all were read, and are as they were written")


def _summary(folder: str, read: Manifest) -> str:
    splits = dict.fromkeys(shard.split for shard in read.shards)
    counts = ", ".join(f"{split} {read.examples(split)}" for split in splits)
    return f"{folder}: {counted(len(read.shards), 'shard')}; images: {counts}"


def _make_folder(folder: str) -> None:
    try:
        tf.io.gfile.makedirs(folder)
        probe = f"{folder}/.writable"
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except tf.errors.OpError as error:
        raise InputError(
            f"--out must be a folder that can be written. Received: '{folder}' "
            f"({error.message}). Check its permissions, or give another."
        ) from error


def _start(settings: Records, planned: Manifest) -> Manifest:
    """The manifest to go on from: that of the folder, if it is of the same plan."""
    there = None if settings.overwrite else manifest.load(settings.out)
    if there is None:
        strangers = tf.io.gfile.glob(f"{settings.out}/*.tfrecord")
        names = tf.io.gfile.listdir(settings.out)
        held = [name for name in names if name.lower().endswith(_FOREIGN)]
        if held and not settings.overwrite:
            raise InputError(
                "--out must be a new folder, or hold records with their manifest. "
                f"Received: '{settings.out}', which holds {min(held)} and no manifest. "
                "Give another folder, or --overwrite."
            )
        for path in strangers:
            tf.io.gfile.remove(path)
        manifest.save(settings.out, planned)
        return planned
    if there.plan != planned:
        raise InputError(
            f"--out must be new or hold the same records. Received: '{settings.out}'"
            f", made with another {', '.join(_differences(there.plan, planned))}. "
            "Give another folder, or --overwrite."
        )
    return there


def _differences(there: Manifest, planned: Manifest) -> list[str]:
    counts = [
        f"{counted(sum(shard.examples for shard in one.shards), 'image')} in "
        f"{counted(len(one.shards), 'shard')}"
        for one in (there, planned)
    ]
    names = {"source": "csv", "shards": f"division ({counts[0]}, not {counts[1]})"}
    return [
        names.get(field, field)
        for field in Manifest._fields
        if getattr(there, field) != getattr(planned, field)
    ]


def _write_shards(settings, source, paths, order, started: Manifest) -> None:
    missing = [i for i, shard in enumerate(started.shards) if not shard.sha256]
    shards = list(started.shards)
    tasks = (
        [(paths[i], source.one(i), settings) for i in order[index]] for index in missing
    )
    if settings.runner and missing:
        beam.write(settings, started, tasks, _examples)
        return
    total = sum(started.shards[index].examples for index in missing)
    workers = min(settings.workers, -(-total // _IMAGES_A_WORKER))
    flat = itertools.chain.from_iterable(tasks)
    with (
        contextlib.closing(pool.in_processes(_examples, flat, workers)) as examples,
        progress.bar(desc="records", unit="image", total=total) as bar,
    ):
        for index in missing:
            path = f"{settings.out}/{shards[index].name}"
            with files.replacing(path) as part:
                with tf.io.TFRecordWriter(part) as writer:
                    for _ in range(shards[index].examples):
                        writer.write(next(examples))
                        bar.update()
                size, sha256 = tf.io.gfile.stat(part).length, files.checksum(part)
            shards[index] = shards[index]._replace(size=size, sha256=sha256)
            manifest.save(settings.out, started._replace(shards=tuple(shards)))


def _remove_written(folder: str, started: Manifest) -> None:
    for shard in started.shards:
        path = f"{folder}/{shard.name}"
        if not shard.sha256 and tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
    if started == started.plan:
        for name in (manifest.FILE, SPLIT):
            tf.io.gfile.remove(f"{folder}/{name}")
    else:
        manifest.save(folder, started)


def _write_split(
    folder: str, source: annotations.Table, order, planned: Manifest
) -> None:
    split_of = {
        source.images[image]: shard.split
        for shard, members in zip(planned.shards, order, strict=True)
        for image in members
    }
    rows = pd.DataFrame(sorted(split_of.items()), columns=["image", "split"])
    files.write(f"{folder}/{SPLIT}", rows.to_csv(index=False))


def _examples(tasks: list[tuple]) -> list[bytes]:
    # One kind of work after the other: the caches stay warm.
    settings = tasks[0][-1]
    sizes = settings.size, schema.SUBMISSION_SIZE
    masks = (
        rle.resample(row.runs(0, settings.grid), settings.grid, sizes)
        if row.texts is not None
        else (None, None)
        for _, row, _ in tasks
    )
    return records.examples(
        [(row.images[0], file) for file, row, _ in tasks],
        list(masks),
        size=settings.size,
        exact=settings.decode == "exact",
    )
