"""Records made on Apache Beam, by as many machines as its runner has.

An element is a shard's name. What the shard is to be made of, and what came of
it, lies beside it in the folder of records, which every worker must see: so the
job stays small, whatever the csv, and results come back from any runner. These
files end in `.part` and go when the job ends.
"""

import json
import pickle
import shlex
import uuid
from collections.abc import Callable, Iterable

import tensorflow as tf

from clouds.config.data import Records
from clouds.data import manifest
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runtime import files, pool, startup
from clouds.text import counted

_TASKS = ".tasks.part"
_WRITTEN = ".written.part"
_FAULT = ".fault.part"


def write(
    settings: Records,
    started: Manifest,
    tasks: Iterable[list],
    examples: Callable,
) -> None:
    """Writes the missing shards on a runner, then the manifest.

    Args:
      settings: folder, runner and its options.
      started: the manifest to go on from.
      tasks: for each shard that is missing, in order, one for each of its records.
      examples: of a module's top level; from a list of tasks to that of serialized
        records.

    Raises:
      InputError: there is no Beam or it refuses the options, or `examples` raised
        it. What else stops the runner is raised as it comes; the manifest then
        lists the shards that were written before.
    """
    pipeline, beam = _pipeline(settings)
    folder = settings.out
    _remove_parts(folder)
    names = [shard.name for shard in started.shards if not shard.sha256]
    for name, of_shard in zip(names, tasks, strict=True):
        with tf.io.gfile.GFile(f"{folder}/{name}{_TASKS}", "wb") as file:
            pickle.dump(of_shard, file)
    print(
        f"{folder}: {counted(len(names), 'shard')} to write with {settings.runner}",
        flush=True,
    )
    try:
        with pipeline:
            pipeline | beam.Create(names) | beam.Map(_write_shard, folder, examples)
    except RuntimeError as error:
        # Beam wraps what stops a worker of this process in an error of its own.
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
    for fault in faults.values():
        raise InputError(fault)


def _pipeline(settings: Records) -> tuple:
    try:
        beam = startup.load("apache_beam")
    except ImportError as error:
        raise InputError(
            "--runner must have Apache Beam to run on. Received: "
            f"--runner {settings.runner}, without it. Run bin/setup beam."
        ) from error
    options = startup.load("apache_beam.options.pipeline_options").PipelineOptions
    try:
        flags = shlex.split(settings.runner_options or "")
        return beam.Pipeline(options=options(flags, runner=settings.runner)), beam
    except (ImportError, ValueError) as error:
        raise InputError(
            f"--runner-options must be what {settings.runner} takes. Received: "
            f"'{settings.runner_options}' ({error})."
        ) from error


def _write_shard(name: str, folder: str, examples: Callable) -> None:
    path = f"{folder}/{name}"
    there = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    if f"{name}{_TASKS}" not in there:
        raise InputError(
            f"--out must be a folder that every worker sees. Received: '{folder}', "
            f"in which a worker does not see {name}{_TASKS}. Give one on a file "
            "system that they share."
        )
    if any(file.endswith(_FAULT) for file in there):
        return
    with tf.io.gfile.GFile(f"{path}{_TASKS}", "rb") as file:
        tasks = pickle.load(file)
    # A runner may try a shard twice at once.
    part = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with tf.io.TFRecordWriter(part) as writer:
            for example in pool.in_processes(examples, tasks, workers=1):
                writer.write(example)
    except InputError as error:
        _report(f"{path}{_FAULT}", str(error))
        return
    written = {
        "size": tf.io.gfile.stat(part).length,
        "sha256": files.checksum(part),
    }
    tf.io.gfile.rename(part, path, overwrite=True)
    _report(f"{path}{_WRITTEN}", written)


def _report(path: str, content) -> None:
    files.write(path, json.dumps(content))


def _reports(folder: str, ending: str) -> dict:
    """What the workers reported, by the shard's name."""
    reports = {}
    for file in sorted(tf.io.gfile.listdir(folder)):
        if file.endswith(ending):
            with tf.io.gfile.GFile(f"{folder}/{file}") as report:
                reports[file.removesuffix(ending)] = json.load(report)
    return reports


def _remove_parts(folder: str) -> None:
    for name in tf.io.gfile.listdir(folder):
        if name.endswith(".part"):
            tf.io.gfile.remove(f"{folder}/{name}")
