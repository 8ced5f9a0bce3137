"""Converts a csv of run-length codes and its images to a folder of records."""

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Mapping

import tensorflow as tf

from clouds import rle
from clouds.config.data import Records
from clouds.data import beam, manifest, records, sources, split_files, splits
from clouds.data import groups as image_groups
from clouds.data.beam import Task
from clouds.data.images import image_files, native
from clouds.data.manifest import Manifest
from clouds.data.masks import votes
from clouds.data.records import Votes
from clouds.errors import InputError
from clouds.geo import places
from clouds.geo.places import Places
from clouds.runtime import files, pool, progress
from clouds.schema import CLOUDS
from clouds.text import counted

_FOREIGN = (".tfrecord", ".jpg", ".jpeg")

_IMAGES_PER_WORKER = 64


def convert(settings: Records) -> None:
    """Makes records, resumes making them, or verifies existing ones.

    Args:
      settings: source, output and format; or the folder to verify.

    Raises:
      InputError: csv, images or folder are invalid. The shards written by this call are
        removed then, unless the disk is full: the same call resumes.
    """
    if settings.verify:
        _verify(settings.verify)
        return
    available = image_files.find(settings.images)
    first = next(iter(available.values()))
    bands = native.choose(first, settings.bands, settings.band_names)
    table = sources.read(settings, available)
    paths = image_files.pick(available, table.images, table.path, settings.images)
    groups = None
    if settings.group_by:
        groups = image_groups.find(settings.group_by, settings.groups, table.images)
    members, plan = splits.plan_shards(settings, table, groups, bands)
    if table.texts is not None:
        sources.describe(settings, table, available)
        sources.warn(settings, table, groups, members, plan)
    placed = _places(settings, dict(zip(table.images, paths, strict=True)))
    if placed:
        plan = plan._replace(places=hashlib.sha256(placed.csv.encode()).hexdigest())
    _make_folder(settings.out)
    with files.sole_writer(settings.out, "--out"):
        started = _start(settings, plan)
        if started == plan:
            contents = split_files.text(table, members, plan, groups)
            files.write(f"{settings.out}/{split_files.FILE}", contents)
            if placed:
                path = f"{settings.out}/{manifest.PLACES}"
                files.write(path, placed.csv)
                print(f"{path}: {counted(len(placed.located), 'place')}")
        if existing := sum(shard.sha256 is not None for shard in started.shards):
            advice = "; --overwrite makes them again" * started.complete
            total = counted(len(started.shards), "shard")
            print(f"Already complete: {existing} of {total}{advice}.", flush=True)
        tasks = _tasks(settings, started, members, table, paths)
        try:
            _write_shards(settings, started, tasks)
        except InputError:
            _remove_written(settings.out, started)
            raise
        except tf.errors.OpError as error:
            raise InputError(
                f"Records could not be written to '{settings.out}' ({error.message}). "
                "Free some space and run the same command again: it resumes."
            ) from error
    print(_summary(settings.out, plan))


def _places(settings: Records, paths: Mapping[str, str]) -> Places | None:
    """Returns the places of the images; None if all follow from their names."""
    found = places.find(paths, table=settings.places)
    if not found:
        return None
    if not found.located and settings.places:
        raise InputError(
            f"--places: {settings.places} has a place of none of "
            f"{counted(len(paths), 'image')}: {next(iter(found.faults.values()))}"
        )
    if found.faults:
        progress.write(
            f"make_tfrecords: {len(found.faults):,} of {counted(len(paths), 'image')} "
            f"have no place, first: {next(iter(found.faults.values()))}"
        )
    named = places.find(dict.fromkeys(paths))
    return None if named and named.located == found.located else found


def _tasks(settings: Records, started: Manifest, members, table, paths):
    """Yields the tasks of each missing shard."""
    exact = settings.decode == "exact"
    # Runs count the pixels of their own image, and there is one grid.
    same_size = not (settings.grid or settings.csv_format in ("coco", "png"))
    same_size &= table.texts is not None and table.labels != CLOUDS.labels
    for images, shard in zip(members, started.shards, strict=True):
        if not shard.sha256:
            yield [
                Task(
                    paths[k],
                    table.one(k),
                    settings.size,
                    started.truth_size,
                    exact,
                    same_size,
                    started.bands,
                )
                for k in images
            ]


def _verify(folder: str) -> None:
    stored = manifest.load(folder)
    if not (stored and stored.complete):
        stored = manifest.read(folder)
    faults, splits_by_name = [], {}
    try:
        manifest.places(folder, stored)
    except InputError as error:
        faults.append(str(error))
    for shard in progress.bar(stored.shards, desc="verify", unit="shard"):
        names, fault = records.check_shard(folder, stored, shard)
        repeated = [name for name in names if name in splits_by_name]
        splits_by_name |= dict.fromkeys(names, shard.split)
        faults += [fault] if fault else []
        faults += [f"{name} is in two records." for name in repeated]
    faults += [] if faults else _wrong_splits(folder, stored, splits_by_name)
    for fault in faults:
        print(fault)
    if faults:
        raise InputError(
            f"'{folder}' has {counted(len(faults), 'fault')}, first: {faults[0]} Copy "
            "these shards again, or remove the folder and make the records again."
        )
    print(f"{_summary(folder, stored)}; all shards were read and are intact")


def _wrong_splits(
    folder: str, stored: Manifest, splits_by_name: dict[str, str]
) -> list[str]:
    """Compares the splits of the records with split.csv, if there is one."""
    path = f"{folder}/{split_files.FILE}"
    if not tf.io.gfile.exists(path):
        return []
    groups = split_files.read_groups(folder, stored)
    rows = [
        (image, split, *([groups.get(image, "")] if groups else []))
        for image, split in splits_by_name.items()
    ]
    if files.read(path) == split_files.to_csv(rows).encode():
        return []
    return [
        f"{split_files.FILE} does not list the images of the records with their splits."
    ]


def _summary(folder: str, plan: Manifest) -> str:
    names = dict.fromkeys(shard.split for shard in plan.shards)
    counts = ", ".join(f"{split} {plan.examples(split)}" for split in names)
    return f"{folder}: {counted(len(plan.shards), 'shard')}; images: {counts}"


def _make_folder(folder: str) -> None:
    try:
        tf.io.gfile.makedirs(folder)
        probe = f"{folder}/.writable"
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except tf.errors.OpError as error:
        raise InputError(
            f"--out: '{folder}' cannot be written ({error.message}). Check its "
            "permissions, or give another folder."
        ) from error


def _start(settings: Records, plan: Manifest) -> Manifest:
    """Returns the manifest to continue: that of the folder if it has the same plan."""
    stored = None if settings.overwrite else manifest.load(settings.out)
    if stored is None:
        names = tf.io.gfile.listdir(settings.out)
        foreign = [name for name in names if name.lower().endswith(_FOREIGN)]
        if foreign and not settings.overwrite:
            raise InputError(
                f"--out: '{settings.out}' holds {min(foreign)}, but no manifest of "
                "records. Give another folder, or --overwrite."
            )
        for name in names:
            if name.endswith(".tfrecord") or name == manifest.PLACES:
                tf.io.gfile.remove(f"{settings.out}/{name}")
        manifest.save(settings.out, plan)
        return plan
    if stored.plan != plan:
        raise InputError(
            f"--out: '{settings.out}' holds records with another "
            f"{', '.join(_differences(stored.plan, plan))}. Give another folder, or "
            "--overwrite."
        )
    return stored


def _differences(stored: Manifest, plan: Manifest) -> list[str]:
    counts = [
        f"{counted(sum(shard.examples for shard in one.shards), 'image')} in "
        f"{counted(len(one.shards), 'shard')}"
        for one in (stored, plan)
    ]
    names = {
        "source": "csv",
        "split": "split or groups",
        "places": "csv of places",
        "bands": "set of bands (their names or type)",
        "shards": f"division ({counts[0]}, not {counts[1]})",
    }
    return [
        names.get(field, field)
        for field in Manifest._fields
        if getattr(stored, field) != getattr(plan, field)
    ]


def _write_shards(
    settings: Records, started: Manifest, tasks: Iterable[list[Task]]
) -> None:
    missing = [k for k, shard in enumerate(started.shards) if not shard.sha256]
    if settings.runner and missing:
        beam.write(settings, started, tasks, _examples)
        return
    shards = list(started.shards)
    total = sum(shards[index].examples for index in missing)
    workers = min(settings.workers, -(-total // _IMAGES_PER_WORKER))
    flat = itertools.chain.from_iterable(tasks)
    with (
        contextlib.closing(pool.in_processes(_examples, flat, workers)) as results,
        progress.bar(desc="records", unit="image", total=total) as bar,
    ):
        examples = records.readable(results)
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
        for name in (manifest.FILE, split_files.FILE, manifest.PLACES):
            if tf.io.gfile.exists(f"{folder}/{name}"):
                tf.io.gfile.remove(f"{folder}/{name}")
    else:
        manifest.save(folder, started)


def _examples(tasks: list[Task]) -> list[bytes | InputError]:
    # One kind of work after the other keeps the caches warm.
    first = tasks[0]
    sizes = first.size, first.truth_size
    masks = [
        rle.resample(task.table.runs(0, task.table.grid), task.table.grid, sizes)
        if task.table.texts is not None
        else (None, None)
        for task in tasks
    ]
    named = [(task.table.images[0], task.path) for task in tasks]
    grid = first.table.grid if first.same_size else None
    return records.examples(
        named,
        masks,
        size=first.size,
        exact=first.exact,
        original_size=grid,
        bands=first.bands,
        votes=[_votes(task) for task in tasks],
    )


def _votes(task: Task) -> Votes | None:
    """Returns the annotators of an image, and their shares if they are trained on."""
    drawings = task.table.drawings
    if drawings is None:
        return None
    soft = votes.shares(task.table, task.size) if drawings.vote == votes.SOFT else None
    return Votes([number for number, _ in drawings.images[0]], soft)
