"""Makes records on Apache Beam, with as many machines as its runner has.

An element of the pipeline is the name of a shard. The tasks of the shard, and their
result, are files next to it in the folder of records, which every worker must see. So
the job stays small, and results come back from any runner. These files end in `.part`
and are removed when the job ends.
"""

import json
import shlex
import uuid
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.config.data import Records
from clouds.data import manifest, records
from clouds.data.manifest import Manifest
from clouds.data.masks.csv_rows import Header
from clouds.data.masks.table import Drawings, Table
from clouds.errors import InputError
from clouds.runtime import checksums, files, pool, startup
from clouds.schema import RGB, Bands
from clouds.text import counted

_TASKS = ".tasks.part"
_WRITTEN = ".written.part"
_FAULT = ".fault.part"


class Task(NamedTuple):
    """One image to convert: its path, its part of the table, and what is wanted.

    It fits into JSON.

    Attributes:
      path: path of the image.
      table: table of this image.
      size: height and width of the image in the record.
      truth_size: height and width of the masks for evaluation.
      exact: as for `preprocessing.decode`.
      same_size: whether the image must have the size of the table's grid.
      bands: bands of the image.
    """

    path: str
    table: Table
    size: tuple[int, int]
    truth_size: tuple[int, int]
    exact: bool
    same_size: bool
    bands: Bands = RGB


def to_json(tasks: Iterable[Task]) -> str:
    """Writes tasks as JSON."""
    return json.dumps(
        [
            task._replace(
                table=[
                    part.tolist() if isinstance(part, np.ndarray) else part
                    for part in task.table
                ]
            )
            for task in tasks
        ]
    )


def from_json(text: str | bytes) -> list[Task]:
    """Reads what `to_json` wrote."""
    return [_task(*fields) for fields in json.loads(text)]


def _task(path, table, *wanted) -> Task:
    table = Table(*table)
    if table.texts is not None:
        texts, rows = np.array(table.texts, object), np.array(table.rows, np.int64)
        table = table._replace(texts=texts, rows=rows)
    table = table._replace(
        labels=tuple(table.labels),
        header=Header(table.header[0], *map(tuple, table.header[1:])),
        grid=tuple(table.grid),
        drawings=table.drawings and Drawings(*table.drawings),
    )
    *sizes, exact, same_size, (names, dtype) = wanted
    bands = Bands(tuple(names), dtype)
    return Task(path, table, *map(tuple, sizes), exact, same_size, bands)


def write(
    settings: Records,
    started: Manifest,
    tasks_by_shard: Iterable[list[Task]],
    examples: Callable,
) -> None:
    """Writes the missing shards on a runner, then the manifest.

    Args:
      settings: folder, runner and its options.
      started: manifest to continue.
      tasks_by_shard: for each missing shard, in order, the tasks of its records.
      examples: function of a module's top level, from a list of tasks to the list of
        serialized records.

    Raises:
      InputError: Beam is not installed or rejects the options, or `examples` raised
        it. Other errors of the runner are raised unchanged; the manifest then lists
        the shards that were written.
    """
    started_pipeline, beam = pipeline(settings.runner, settings.runner_options)
    folder = settings.out
    _remove_parts(folder)
    names = [shard.name for shard in started.shards if not shard.sha256]
    for name, shard_tasks in zip(names, tasks_by_shard, strict=True):
        # Not pickled: whoever can write to the folder could then run code here.
        files.write(f"{folder}/{name}{_TASKS}", to_json(shard_tasks))
    print(
        f"{folder}: writing {counted(len(names), 'shard')} with {settings.runner}",
        flush=True,
    )
    try:
        with started_pipeline as root:
            root | beam.Create(names) | beam.Map(_write_shard, folder, examples)
    except RuntimeError as error:
        # Beam wraps the interrupt of a worker in this process.
        if str(error).startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt from error
        raise
    finally:
        faults = _reports(folder, _FAULT)
        written = _reports(folder, _WRITTEN)
        shards = (
            shard._replace(**written.get(shard.name, {})) for shard in started.shards
        )
        manifest.save(folder, started._replace(shards=tuple(shards)))
        _remove_parts(folder)
    if messages := [text for report in faults.values() for text in report["faults"]]:
        raise records.unconvertible(messages)


def pipeline(runner: str, runner_options: str | None) -> tuple:
    """Returns a pipeline and the module of Beam.

    Args:
      runner: name of the runner.
      runner_options: its options, as a command line.

    Raises:
      InputError: Beam is not installed, or an option is wrong.
    """
    try:
        beam = startup.load("apache_beam")
    except ImportError as error:
        raise InputError(
            "apache-beam is not installed, which --runner needs. Run bin/setup beam."
        ) from error
    kind = startup.load("apache_beam.options.pipeline_options").PipelineOptions
    try:
        options = kind(shlex.split(runner_options or ""), runner=runner)
        # Reads all options, so that a wrong one is reported before the work starts.
        options.get_all_options()
        return beam.Pipeline(options=options), beam
    except (ImportError, ValueError, SystemExit) as error:
        raise InputError(
            f"--runner-options must be options of {runner}. Received: "
            f"'{runner_options}' ({error})."
        ) from error


def _write_shard(name: str, folder: str, examples: Callable) -> None:
    path = f"{folder}/{name}"
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    if f"{name}{_TASKS}" not in names:
        raise InputError(
            f"--out: a worker does not see '{folder}' with {name}{_TASKS}. Give a "
            "folder on a file system that all workers share."
        )
    shard_tasks = from_json(files.read(f"{path}{_TASKS}"))
    # A runner may write a shard twice concurrently.
    part, faults = f"{path}.{uuid.uuid4().hex}.part", []
    try:
        with tf.io.TFRecordWriter(part) as writer:
            for result in pool.in_processes(examples, shard_tasks, workers=1):
                if isinstance(result, InputError):
                    faults.append(str(result))
                else:
                    writer.write(result)
    except InputError as error:
        faults.append(str(error))
    if faults:
        checksums.write_json(f"{path}{_FAULT}", {"faults": faults})
        return
    size, sha256 = tf.io.gfile.stat(part).length, files.checksum(part)
    tf.io.gfile.rename(part, path, overwrite=True)
    checksums.write_json(f"{path}{_WRITTEN}", {"size": size, "sha256": sha256})


def _reports(folder: str, suffix: str) -> dict:
    """Reads the reports of the workers, by the name of the shard."""
    reports = {}
    for name in sorted(tf.io.gfile.listdir(folder)):
        if name.endswith(suffix):
            reports[name.removesuffix(suffix)] = checksums.read_json(f"{folder}/{name}")
    return reports


def _remove_parts(folder: str) -> None:
    for name in tf.io.gfile.listdir(folder):
        if name.endswith(".part"):
            tf.io.gfile.remove(f"{folder}/{name}")
