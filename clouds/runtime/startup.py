"""Starts processes that use TensorFlow, without the notices of its own start."""

import collections
import concurrent.futures
import contextlib
import importlib
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

_CHUNK = 16
_TOLD = ("clouds.runtime.progress", "clouds.serving.app")
"""Loggers whose info is shown unless a level is asked for."""
_FROZEN = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"


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
    shown = os.environ["TF_CPP_MIN_LOG_LEVEL"] in ("0", "1")
    with contextlib.nullcontext() if shown else _stderr_held_back():
        loaded = importlib.import_module(module)
        if "tensorflow" in sys.modules:
            sys.modules["tensorflow"].config.list_physical_devices()
    return loaded


def log_from(level: str | None) -> None:
    """Lets us and libraries log to stderr, also at their start and from C++.

    Args:
      level: debug, info, warning or error; what is below is not shown. If None, that
        is warning, but info of how far a command is and of what a server takes up, and
        nothing of C++ is shown.
    """
    for name in _TOLD:
        logging.getLogger(name).setLevel(logging.NOTSET if level else logging.INFO)
    if level is None:
        # What shows warnings where nothing was configured.
        logging.lastResort.setLevel(logging.INFO)
        return
    logging.basicConfig(level=level.upper(), stream=sys.stderr)
    numbers = {"debug": "0", "info": "0", "warning": "1", "error": "2"}
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = numbers[level]


def freeze_kernels() -> None:
    """Lets TensorFlow lay out kernels for the CPU once, and not for each batch.

    It asks for this at the process's first convolution, and convolves with what it
    has laid out from then on: for a process that changes no kernels. One in which the
    variable is set to 0 goes without.
    """
    os.environ.setdefault(_FROZEN, "1")


def thaw_kernels() -> None:
    """The reverse, for a process that trains, whatever its environment says."""
    os.environ.pop(_FROZEN, None)


def in_processes(function: Callable, tasks: Iterable, workers: int) -> Iterator:
    """Calls a function for a few tasks at a time, in processes of one thread each.

    Args:
      function: of a module's top level; from a list of tasks to that of their
        results.
      tasks: taken as they are needed.
      workers: processes; with one or none it is called here.

    Yields:
      The results in the order of the tasks; few wait in memory.
    """
    if workers <= 1:
        for chunk in _chunks(tasks):
            yield from function(chunk)
        return
    # Else the tracker of semaphores has its say where a second Ctrl-C ends all.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    others = multiprocessing.active_children()
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), start_worker
    ) as pool:
        waiting = collections.deque()
        try:
            for chunk in _chunks(tasks):
                with _interrupts_blocked():
                    waiting.append(pool.submit(function, chunk))
                if len(waiting) > 4 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BaseException:
            # The pool waits for all that was submitted, which nobody wants any more.
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
            raise


def start_worker() -> None:
    """Starts a process of a pool: one thread, and an end with its parent.

    Interrupts are the parent's to handle; a parent that is killed cannot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threads = load("tensorflow").config.threading
    threads.set_intra_op_parallelism_threads(1)
    # In the caller's thread: handing over to another costs a tenth of a record.
    threads.set_inter_op_parallelism_threads(-1)


def _chunks(tasks: Iterable) -> Iterator[list]:
    tasks = iter(tasks)
    while chunk := list(itertools.islice(tasks, _CHUNK)):
        yield chunk


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """For processes that begin within: Ctrl-C reaches them before `start_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
