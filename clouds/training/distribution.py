"""The devices of a training, on one or several machines.

On TensorFlow the devices of one machine share a batch through `MirroredStrategy`: each
normalizes over its own part of the batch, and the gradients are averaged. On JAX the
devices of any number of hosts share it through Keras's `DataParallel`: the step is
equal to that of a single device. Batches are [B, ...].
"""

import atexit
import contextlib
import dataclasses
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds.config.training import Training
from clouds.errors import InputError
from clouds.text import counted

_HEARTBEAT_TIMEOUT = 60
"""Seconds without a heartbeat after which a host counts as lost."""

_HOST_SETTINGS = ("records", "run", "host_index", "coordinator", "cache")


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a training.

    Attributes:
      count: number of devices per host.
      host: index of this host, from 0.
      hosts: number of hosts.
      strategy: strategy of several devices on TensorFlow.
    """

    count: int = 1
    host: int = 0
    hosts: int = 1
    strategy: tf.distribute.Strategy | None = None

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which the model must be built."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def repeat(self, *batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Repeats a batch for each device of this host, as devices share a batch.

        So every device gets all of it, whatever its size, and validation metrics are
        those of a single device.
        """
        if self.count * self.hosts == 1:
            return batch
        return tuple(
            tf.tile(part, [self.count] + [1] * (part.shape.rank - 1)) for part in batch
        )

    def agree(self, settings: Training, epoch: int, step: int) -> None:
        """Waits for all hosts, and checks that they start in the same state.

        Args:
          settings: settings of this host.
          epoch: epoch at which it starts.
          step: step in this epoch.

        Raises:
          InputError: another host has other settings, or another epoch or step.
        """
        if self.hosts == 1:
            return
        from jax.experimental import multihost_utils

        fields = dataclasses.asdict(settings).items()
        shared = [pair for pair in fields if pair[0] not in _HOST_SETTINGS]
        own = np.array([zlib.crc32(repr(shared).encode()) >> 1, epoch, step], np.int32)
        states = multihost_utils.process_allgather(own)
        if (states[:, 0] != own[0]).any():
            raise InputError(
                f"Host {self.host} has other flags than other hosts. Start all hosts "
                "again with the same flags, except for --host-index."
            )
        if (states != own).any():
            shown = ", ".join(f"epoch {e} and step {s}" for _, e, s in states.tolist())
            raise InputError(
                f"The hosts would resume from different checkpoints: {shown}. --run "
                "must be a folder that all hosts see. Put it on a shared disk."
            )

    @contextlib.contextmanager
    def folder(self, run: str) -> Iterator[Path]:
        """Yields the folder in which this host writes.

        Args:
          run: folder of the run.

        Yields:
          The folder of the run on host 0, a temporary folder on other hosts.
        """
        if self.host == 0:
            yield Path(run)
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Ends this host if another host ends.

        Raises:
          InputError: another host has ended.
        """
        if self.hosts == 1:
            yield
            return
        try:
            yield
        except BaseException as error:
            lost = _connection_error(error)
            is_input = lost or isinstance(error, InputError | OSError)
            interrupted = isinstance(error, KeyboardInterrupt)
            # JAX's own shutdown waits for the other hosts, then aborts.
            atexit.register(self._leave, 130 if interrupted else 2 if is_input else 1)
            if not lost:
                raise
            raise InputError(
                f"Host {self.host} of {self.hosts} lost the connection to another host "
                f"({str(lost).splitlines()[0]}). Start all hosts again: they resume "
                "from the last checkpoint."
            ) from error

    def _leave(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if self.host == 0:
            # The messages of other hosts are lost when host 0 has ended.
            time.sleep(1)
        os._exit(code)


def start(settings: Training) -> Devices:
    """Prepares the devices, before TensorFlow or JAX compute anything.

    A machine without GPUs and TPUs has its processor divided into devices.

    Args:
      settings: settings of the training.

    Returns:
      The devices.

    Raises:
      InputError: the machine has too few devices, the batch cannot be divided evenly,
        or the hosts cannot connect.
    """
    on_jax = keras.backend.backend() == "jax"
    devices = _start_jax(settings) if on_jax else _start_tensorflow(settings)
    total = devices.count * devices.hosts
    if settings.batch_size % total:
        per_host = f" on each of {devices.hosts} hosts" if devices.hosts > 1 else ""
        raise InputError(
            "--batch-size must be a multiple of the number of devices. Received: "
            f"{settings.batch_size}, for {counted(devices.count, 'device')}{per_host}. "
            f"Give a multiple of {total}."
        )
    if total > 1:
        _announce(devices)
    return devices


def _connection_error(error: BaseException | None) -> BaseException | None:
    """Returns the error of a lost connection that caused this error, if any."""
    import jax

    while error:
        if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def _start_tensorflow(settings: Training) -> Devices:
    if settings.hosts > 1:
        raise InputError(
            "--hosts must be 1 on TensorFlow, where Keras trains on a single machine. "
            f"Received: {settings.hosts}. Set KERAS_BACKEND=jax in the environment."
        )
    gpus = tf.config.list_physical_devices("GPU")
    count = settings.devices or max(len(gpus), 1)
    if count == 1:
        return Devices()
    if settings.accumulate > 1 or settings.clip_norm:
        raise InputError(
            "--accumulate and --clip-norm cannot be used with several devices on "
            "TensorFlow, where Keras cannot accumulate and clips per device. Received: "
            f"{settings.accumulate} and {settings.clip_norm}. Leave them out, or set "
            "KERAS_BACKEND=jax in the environment."
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
            "--devices must be set before TensorFlow starts, and this process has used "
            f"it. Received: {count}. Train in a new process."
        ) from error


def _start_jax(settings: Training) -> Devices:
    import jax

    host, hosts = 0, 1
    try:
        # TensorFlow only reads data here, and would allocate the GPUs' memory.
        tf.config.set_visible_devices([], "GPU")
        if settings.devices > 1:
            # Fails once JAX has started, with the devices that it has then.
            with contextlib.suppress(RuntimeError):
                jax.config.update("jax_num_cpu_devices", settings.devices)
        if settings.hosts > 1:
            host, hosts = _join(settings)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "--devices and --hosts: TensorFlow or JAX has already started, or the "
            f"hosts cannot connect ({reason}). Check the address and ports, and train "
            "in a new process."
        ) from error
    available = jax.local_device_count()
    count = settings.devices or available
    _check_count(count, available)
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
        # It would prevent SIGTERM from ending the process.
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
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=_HEARTBEAT_TIMEOUT,
        )
    except ValueError as error:
        raise InputError(
            "--coordinator must be given where JAX cannot detect the hosts, as it can "
            f"on Cloud TPU and Slurm ({str(error).splitlines()[0]}). Give "
            "--coordinator ADDRESS:PORT of host 0, and --host-index to each host."
        ) from error
    if jax.process_count() != settings.hosts:
        raise InputError(
            f"--hosts must be the number of hosts. Received: {settings.hosts}, and JAX "
            f"detected {jax.process_count()}."
        )
    return jax.process_index(), jax.process_count()


def _check_count(count: int, available: int) -> None:
    if count > available:
        raise InputError(
            "--devices must not exceed the devices of this machine. Received: "
            f"{count}, with {available}. Give fewer, or 0 for all."
        )


def _announce(devices: Devices) -> None:
    count = counted(devices.count, "device")
    if devices.hosts > 1:
        count = f"Host {devices.host} of {devices.hosts}, {count} per host"
    method = "DataParallel on JAX; batch normalization over the entire batch"
    if devices.strategy:
        method = "MirroredStrategy on TensorFlow; batch normalization per device"
    print(f"{count}, {method}.", flush=True)
