"""Starts processes that use TensorFlow, without the notices of its own start."""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import ModuleType


def load(module: str) -> ModuleType:
    """Imports a module that imports TensorFlow.

    Its C++ libraries write to the file descriptor before any log level counts, so
    the descriptor is turned away meanwhile; on failure what came is shown.

    Args:
      module: its full name.

    Returns:
      The module.
    """
    # Errors too: what matters of them arrives as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held_back():
        loaded = importlib.import_module(module)
        if "tensorflow" in sys.modules:
            sys.modules["tensorflow"].config.list_physical_devices()
    return loaded


def start_worker() -> None:
    """Starts a process of a pool: one thread, and an end with its parent.

    Interrupts are the parent's to handle; a parent that is killed cannot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threads = load("tensorflow").config.threading
    threads.set_intra_op_parallelism_threads(1)
    threads.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
