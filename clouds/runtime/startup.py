"""Starts TensorFlow without its notices; sets up standard streams and logging."""

import contextlib
import importlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from clouds.errors import InputError

_SHOWN_BY_DEFAULT = ("clouds.runtime.progress", "clouds.serving.app")
"""Loggers whose info is shown unless a level is given."""
_FROZEN_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")
_log = logging.getLogger(__name__)


def load(module: str) -> ModuleType:
    """Imports a module that imports TensorFlow.

    TensorFlow's C++ libraries write to stderr before any log level applies, so stderr
    is redirected meanwhile. If the import fails, the held-back output is shown. A
    user's keras.json may choose the backend, but neither layout nor float type.

    Args:
      module: full name of the module.

    Returns:
      The module.

    Raises:
      InputError: Keras is configured for another backend than TensorFlow or JAX.
    """
    _check_backend()
    _choose_kernels()
    # Not even errors: what matters of them arrives as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    verbose = os.environ["TF_CPP_MIN_LOG_LEVEL"] in ("0", "1")
    with contextlib.nullcontext() if verbose else _stderr_held_back():
        loaded = importlib.import_module(module)
        if "tensorflow" in sys.modules:
            sys.modules["tensorflow"].config.list_physical_devices()
        if "keras" in sys.modules:
            config = sys.modules["keras"].config
            config.set_image_data_format("channels_last")
            config.set_floatx("float32")
            config.set_epsilon(1e-7)
    return loaded


def cpu_instructions() -> str:
    """Returns the best instruction set of this CPU that kernels use, or "other"."""
    path = Path("/proc/cpuinfo")
    flags = set(path.read_text().split()) if path.exists() else set()
    return next((name for name in _INSTRUCTIONS if name in flags), "other")


def kernels() -> dict[str, str]:
    """Returns the choices of kernels and the CPU they are for, for `run.json`."""
    names = (_ONEDNN, _FROZEN_WEIGHTS)
    chosen = {name: os.environ[name] for name in names if name in os.environ}
    return {"cpu": cpu_instructions(), **chosen}


def _choose_kernels() -> None:
    """Turns oneDNN on for CPUs with AVX2.

    TensorFlow does so itself from AVX512-VNNI on only. A user's own value of the
    environment variable takes precedence.
    """
    if cpu_instructions() != "other":
        os.environ.setdefault(_ONEDNN, "1")
    _log.info("Kernels: %s.", ", ".join(f"{k} {v}" for k, v in kernels().items()))


def open_streams() -> None:
    """Opens standard streams that are closed, as by `>&-` in a shell.

    Otherwise a file of data gets their number, and messages are written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is closed.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115, PTH123
            setattr(sys, name, stream)


def log_from(level: str | None) -> None:
    """Logs to stderr, from libraries and their C++ code too.

    Args:
      level: debug, info, warning or error. None logs warnings, and the info of progress
        and server, but nothing of C++ and Beam.
    """
    for name in _SHOWN_BY_DEFAULT:
        logging.getLogger(name).setLevel(logging.NOTSET if level else logging.INFO)
    # Beam logs the traceback of each error that it raises.
    beam = logging.getLogger("apache_beam")
    beam.setLevel(logging.NOTSET if level else logging.CRITICAL)
    if level is None:
        # The handler of warnings where nothing was configured.
        logging.lastResort.setLevel(logging.INFO)
        return
    logging.basicConfig(level=level.upper(), stream=sys.stderr)
    numbers = {"debug": "0", "info": "0", "warning": "1", "error": "2"}
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = numbers[level]


def freeze_kernels() -> None:
    """Lets oneDNN reorder convolution kernels once, and not for each batch.

    For processes whose weights do not change: TensorFlow reads the setting at its first
    convolution and reuses the reordered kernels from then on. A user's own value of the
    environment variable takes precedence.
    """
    os.environ.setdefault(_FROZEN_WEIGHTS, "1")


def thaw_kernels() -> None:
    """Undoes `freeze_kernels`, for a process that trains."""
    os.environ.pop(_FROZEN_WEIGHTS, None)


def _check_backend() -> None:
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    source, backend = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    if not backend:
        source = home / "keras.json"
        # As Keras does, which passes over a damaged file.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            backend = json.loads(source.read_text(encoding="utf-8")).get("backend")
    if backend and backend not in ("tensorflow", "jax"):
        raise InputError(
            f"The backend of Keras must be tensorflow or jax. Received: '{backend}', "
            f"from {source}. Set KERAS_BACKEND=tensorflow in the environment."
        )


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
