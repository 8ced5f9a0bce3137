"""The devices of a training: one, several of a machine, or those of several machines.

On TensorFlow the devices of one machine share a batch through `MirroredStrategy`:
each normalises and computes its loss over its own part of the batch, and the
gradients are averaged. On JAX those of any number of hosts share it through Keras's
`DataParallel`: the step computes what one device would. Batches are [B, ...].
"""

import atexit
import contextlib
import dataclasses
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds.config.training import Training
from clouds.errors import InputError
from clouds.text import counted

_PATIENCE = 60
"""Seconds without a sign of life after which a host counts as gone."""

_OF_A_HOST = ("records", "run", "host_index", "coordinator", "cache")


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a training runs on.

    Attributes:
      count: devices of each host.
      host: which of the hosts this is, from 0.
      hosts: how many.
      strategy: TensorFlow's, if the devices are several there.
    """

    count: int = 1
    host: int = 0
    hosts: int = 1
    strategy: tf.distribute.Strategy | None = None

    def scope(self) -> contextlib.AbstractContextManager:
        """Within, the model must be built."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def repeat(self, *batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Repeats a batch for each device of this host, as a batch is shared out.

        So every device sees all of it, whatever its size, and the figures of a
        validation are those of one device.
        """
        if self.count * self.hosts == 1:
            return batch
        return tuple(
            tf.tile(part, [self.count] + [1] * (part.shape.rank - 1)) for part in batch
        )

    def agree(self, settings: Training, epoch: int, step: int) -> None:
        """Waits for all hosts, which must be about to do the same.

        Args:
          settings: of this host.
          epoch: that it goes on with.
          step: and the step in it.

        Raises:
          InputError: another host has other settings, or goes on elsewhere.
        """
        if self.hosts == 1:
            return
        from jax.experimental import multihost_utils

        fields = dataclasses.asdict(settings).items()
        alike = [pair for pair in fields if pair[0] not in _OF_A_HOST]
        here = np.array([zlib.crc32(repr(alike).encode()) >> 1, epoch, step], np.int32)
        there = multihost_utils.process_allgather(here)
        if (there[:, 0] != here[0]).any():
            raise InputError(
                "Every host must be given the same flags, but for --host-index. "
                f"Received: others on host {self.host} than elsewhere. Start all of "
                "them again."
            )
        if (there != here).any():
            shown = ", ".join(f"epoch {e} and step {s}" for _, e, s in there.tolist())
            raise InputError(
                "--run must be a folder that every host sees, to go on from the same "
                f"checkpoint. Received: {shown}, host by host. Put it on a shared disk."
            )

    @contextlib.contextmanager
    def folder(self, run: str) -> Iterator[Path]:
        """Where this host writes: the first in the run's folder, as all do the same.

        Args:
          run: that folder.

        Yields:
          It, or on other hosts one that goes afterwards.
        """
        if self.host == 0:
            yield Path(run)
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Within, the end of one host is the end of all.

        Raises:
          InputError: another host has ended.
        """
        if self.hosts == 1:
            yield
            return
        try:
            yield
        except BaseException as error:
            gone = _of_jax(error)
            mistake = gone or isinstance(error, InputError | OSError)
            interrupted = isinstance(error, KeyboardInterrupt)
            # JAX's own farewell waits for the other hosts, then aborts.
            atexit.register(self._leave, 130 if interrupted else 2 if mistake else 1)
            if not gone:
                raise
            raise InputError(
                "Every host must run to the end. Received: "
                f"{str(gone).splitlines()[0]}, on host {self.host} of {self.hosts}. "
                "Start all hosts again; they go on from the last checkpoint."
            ) from error

    def _leave(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if self.host == 0:
            # What the others are about to say is lost when the first is gone.
            time.sleep(1)
        os._exit(code)


def start(settings: Training) -> Devices:
    """Makes ready what the settings ask for; before TensorFlow or JAX compute anything.

    On a machine without GPUs and TPUs its processor is divided into as many devices.

    Args:
      settings: of the training.

    Returns:
      The devices.

    Raises:
      InputError: the machine has too few, the batch cannot be shared out evenly, or
        the hosts do not find each other.
    """
    on_jax = keras.backend.backend() == "jax"
    found = _start_jax(settings) if on_jax else _start_tensorflow(settings)
    total = found.count * found.hosts
    if settings.batch_size % total:
        of_hosts = f" on each of {found.hosts} hosts" if found.hosts > 1 else ""
        raise InputError(
            "--batch-size must divide by the devices. Received: "
            f"{settings.batch_size}, for {counted(found.count, 'device')}{of_hosts}. "
            f"Give a multiple of {total}."
        )
    if total > 1:
        _announce(found)
    return found


def each(function: Callable, batch):
    """Calls a function of a batch that treats each of its examples alone.

    XLA would gather the batch on every device for what loops over its examples.

    Args:
      function: of a tree of tensors [B, ...], to another.
      batch: that tree.

    Returns:
      What it returns; on several devices of JAX each computes its part.
    """
    shared = keras.distribution.distribution()
    if shared is None:
        return function(batch)
    import jax

    mesh = shared.device_mesh.backend_mesh
    part = jax.sharding.PartitionSpec(shared.batch_dim_name)
    return jax.shard_map(
        function, mesh=mesh, in_specs=part, out_specs=part, check_vma=False
    )(batch)


def replica() -> tuple[int | tf.Tensor, int]:
    """Which of TensorFlow's replicas computes this, of how many; elsewhere 0 of 1."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def _of_jax(error: BaseException | None) -> BaseException | None:
    """The error of a broken connection, from which others may have followed."""
    import jax

    while error:
        if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def _start_tensorflow(settings: Training) -> Devices:
    if settings.hosts > 1:
        raise InputError(
            "--hosts must be 1 on TensorFlow, where Keras trains on one machine only. "
            f"Received: {settings.hosts}. Set KERAS_BACKEND=jax in the environment."
        )
    gpus = tf.config.list_physical_devices("GPU")
    count = settings.devices or max(len(gpus), 1)
    if count == 1:
        return Devices()
    if settings.accumulate > 1 or settings.clip_norm:
        raise InputError(
            "--accumulate and --clip-norm must be left out with several devices on "
            "TensorFlow, where Keras cannot accumulate and clips each device's share. "
            f"Received: {settings.accumulate} and {settings.clip_norm}. Leave them "
            "out, or set KERAS_BACKEND=jax in the environment."
        )
    if gpus:
        _check_count(count, len(gpus))
    else:
        _divide_processor(count)
    kind = "GPU" if gpus else "CPU"
    names = [f"{kind}:{number}" for number in range(count)]
    return Devices(count, strategy=tf.distribute.MirroredStrategy(names))


def _divide_processor(count: int) -> None:
    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise InputError(
            "--devices must be set before TensorFlow has started. Received: "
            f"{count}, in a process that has used it. Train in a new one."
        ) from error


def _start_jax(settings: Training) -> Devices:
    import jax

    host, hosts = 0, 1
    try:
        # TensorFlow only reads here, and would take the GPUs' memory.
        tf.config.set_visible_devices([], "GPU")
        if settings.devices > 1:
            # Once JAX has started, what it found then counts.
            with contextlib.suppress(RuntimeError):
                jax.config.update("jax_num_cpu_devices", settings.devices)
        if settings.hosts > 1:
            host, hosts = _join(settings)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "--devices and --hosts must be set before TensorFlow and JAX have started, "
            f"and the hosts must find each other. Received: {reason}"
        ) from error
    here = jax.local_device_count()
    count = settings.devices or here
    _check_count(count, here)
    shared = None
    if count * hosts > 1:
        chosen = [
            f"{device.platform}:{device.id}"
            for process in range(hosts)
            for device in jax.local_devices(process_index=process)[:count]
        ]
        shared = keras.distribution.DataParallel(
            devices=chosen, auto_shard_dataset=False
        )
    keras.distribution.set_distribution(shared)
    return Devices(count, host, hosts)


def _join(settings: Training) -> tuple[int, int]:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    with contextlib.suppress(AttributeError):
        # It would keep SIGTERM from ending the process.
        jax.config.update("jax_enable_preemption_service", False)
    options = {}
    if settings.coordinator:
        options = {
            "coordinator_address": settings.coordinator,
            "num_processes": settings.hosts,
            "process_id": settings.host_index,
        }
    try:
        jax.distributed.initialize(
            **options,
            heartbeat_timeout_seconds=_PATIENCE,
            shutdown_timeout_seconds=_PATIENCE,
        )
    except ValueError as error:
        raise InputError(
            "--coordinator must be given where JAX cannot tell the hosts by itself, as "
            f"it can on Cloud TPU and Slurm. Received: {str(error).splitlines()[0]} "
            "Give --coordinator ADDRESS:PORT of host 0, and to each its --host-index."
        ) from error
    if jax.process_count() != settings.hosts:
        raise InputError(
            f"--hosts must be the hosts that there are. Received: {settings.hosts}, "
            f"where JAX found {jax.process_count()}."
        )
    return jax.process_index(), jax.process_count()


def _check_count(count: int, there: int) -> None:
    if count > there:
        raise InputError(
            "--devices must not exceed the machine's. Received: "
            f"{count}, with {there}. Give fewer, or 0 for all."
        )


def _announce(found: Devices) -> None:
    devices = counted(found.count, "device")
    if found.hosts > 1:
        devices = f"Host {found.host} of {found.hosts}, {devices} on each"
    how = "DataParallel on JAX; batch normalisation is over the whole batch"
    if found.strategy:
        how = "MirroredStrategy on TensorFlow; batch normalisation is per device"
    print(f"{devices}, {how}.", flush=True)
