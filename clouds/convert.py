"""A csv of run-length codes and a folder of images -> a folder of records."""

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clouds import config, manifest, records, rle, schema, splits, startup, table
from clouds.errors import InputError
from clouds.manifest import Manifest, Shard

_SHARD_BYTES = 100e6
_BYTES_A_PIXEL = 0.5
_CHUNK = 8
_IMAGES_A_WORKER = 64


def convert(settings: config.Records) -> Manifest:
    """Makes records, or goes on making those that were cut off.

    Args:
      settings: what to convert, and how.

    Returns:
      The manifest of the finished folder.

    Raises:
      InputError: something is wrong with csv, images or folder. The shards
        that this call wrote are gone then.
    """
    source = table.read(settings.csv)
    files = _find_images(source, settings.images)
    order, plan = _plan(settings, source)
    started = _start(settings, plan)
    try:
        finished = _write_shards(settings, source, files, order, started)
    except InputError:
        _remove_written(settings.out, started)
        raise
    return finished


def _find_images(source: table.Table, folder: str) -> list[str]:
    if not Path(folder).is_dir():
        raise InputError(
            f"--images must be a folder. Received: '{folder}', which is not. "
            "Check the path."
        )
    there = {path.name for path in Path(folder).iterdir()}
    missing = [name for name in source.images if name not in there]
    if missing:
        row = source.rows[source.images.index(missing[0]), 0]
        raise InputError(
            f"Each image of {source.path} must lie in {folder}. Received: no file "
            f"for {len(missing)} of {len(source.images)}, the first {missing[0]} "
            f"(row {row}). Check --images, or take them out of the csv."
        )
    return [str(Path(folder, name)) for name in source.images]


def _plan(settings: config.Records, source: table.Table):
    """The order of the images by shard, and the manifest before any is written."""
    names = np.argsort(source.images)
    present = source.present[names]
    held_out = splits.holdout(present, settings.val_fraction, seed=settings.seed)
    shuffled = np.random.default_rng(settings.seed).permutation(names[~held_out])
    order, shards = [], []
    for split, images in (("train", shuffled), ("val", names[held_out])):
        parts = np.array_split(images, _shard_count(settings, split, len(images)))
        order += parts
        shards += [
            Shard(f"{split}-{index:05d}-of-{len(parts):05d}.tfrecord", split, len(part))
            for index, part in enumerate(parts)
        ]
    plan = Manifest(
        size=settings.size,
        grid=settings.grid,
        truth_size=schema.SUBMISSION_SIZE,
        labels=schema.LABELS,
        seed=settings.seed,
        val_fraction=settings.val_fraction,
        source={
            "name": Path(settings.csv).name,
            "sha256": manifest.checksum(settings.csv),
        },
        shards=tuple(shards),
    )
    return order, plan


def _shard_count(settings: config.Records, split: str, images: int) -> int:
    if settings.shards and split == "train":
        return min(settings.shards, images)
    pixels = settings.size[0] * settings.size[1]
    return min(images, int(-(-images * pixels * _BYTES_A_PIXEL // _SHARD_BYTES)))


def _start(settings: config.Records, plan: Manifest) -> Manifest:
    """The manifest to go on from: that of the folder, if it is of the same plan."""
    there = None if settings.overwrite else manifest.load(settings.out)
    if there is None:
        _make_folder(settings.out)
        strangers = tf.io.gfile.glob(f"{settings.out}/*.tfrecord")
        if strangers and not settings.overwrite:
            raise InputError(
                f"--out must be a folder without records. Received: '{settings.out}', "
                f"which holds {Path(strangers[0]).name} and no manifest. "
                "Give another folder, or --overwrite."
            )
        for path in strangers:
            tf.io.gfile.remove(path)
        manifest.save(settings.out, plan)
        return plan
    if there.plan != plan:
        raise InputError(
            f"--out must be empty or hold the same records. Received: '{settings.out}'"
            f", made with another {', '.join(_differences(there.plan, plan))}. "
            "Give another folder, or --overwrite."
        )
    return there


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


def _differences(there: Manifest, plan: Manifest) -> list[str]:
    names = {"source": "csv", "shards": "number of images or shards"}
    return [
        names.get(field, field)
        for field in Manifest._fields
        if getattr(there, field) != getattr(plan, field)
    ]


def _write_shards(settings, source, files, order, started: Manifest) -> Manifest:
    missing = [i for i, shard in enumerate(started.shards) if not shard.sha256]
    shards = list(started.shards)
    tasks = (
        (files[i], source.images[i], source.texts[i], source.rows[i], settings)
        for index in missing
        for i in order[index]
    )
    total = sum(started.shards[index].examples for index in missing)
    finished = started
    with tqdm(total=total, unit="image", disable=None, desc="records") as bar:
        examples = _in_parallel(
            tasks, min(settings.workers, -(-total // _IMAGES_A_WORKER))
        )
        for index in missing:
            path = f"{settings.out}/{shards[index].name}"
            with tf.io.TFRecordWriter(f"{path}.part") as writer:
                for _ in range(shards[index].examples):
                    writer.write(next(examples))
                    bar.update()
            shards[index] = shards[index]._replace(
                size=tf.io.gfile.stat(f"{path}.part").length,
                sha256=manifest.checksum(f"{path}.part"),
            )
            tf.io.gfile.rename(f"{path}.part", path, overwrite=True)
            finished = started._replace(shards=tuple(shards))
            manifest.save(settings.out, finished)
    return finished


def _remove_written(folder: str, started: Manifest) -> None:
    for shard in started.shards:
        for path in (f"{folder}/{shard.name}", f"{folder}/{shard.name}.part"):
            if not shard.sha256 and tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)
    if started == started.plan:
        tf.io.gfile.remove(f"{folder}/{manifest.FILE}")
    else:
        manifest.save(folder, started)


def _example(task) -> bytes:
    file, name, texts, rows, settings = task
    row = table.Table([name], texts[None], rows[None], settings.csv)
    runs = row.runs(0, settings.grid)
    masks, truth = (
        records.pack(rle.resample(label, settings.grid, size) for label in runs)
        for size in (settings.size, schema.SUBMISSION_SIZE)
    )
    contents = Path(file).read_bytes()
    return records.example(name, contents, masks, truth, size=settings.size)


def _examples(tasks: list) -> list[bytes]:
    return [_example(task) for task in tasks]


def _in_parallel(tasks: Iterable, workers: int) -> Iterator[bytes]:
    """Converts in processes; the results keep the order, few wait in memory."""
    if workers <= 1:
        yield from map(_example, tasks)
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), startup.start_worker
    ) as pool:
        waiting = collections.deque()
        for chunk in _chunks(tasks):
            waiting.append(pool.submit(_examples, chunk))
            if len(waiting) > 4 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _chunks(tasks: Iterable) -> Iterator[list]:
    tasks = iter(tasks)
    while chunk := [task for _, task in zip(range(_CHUNK), tasks, strict=False)]:
        yield chunk
