"""Worker processes."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator

from clouds.runtime import interrupts, startup

_CHUNK = 16


def in_processes(function: Callable, tasks: Iterable, workers: int) -> Iterator:
    """Maps a function over tasks, in chunks, with single-threaded processes.

    Args:
      function: function of a module's top level, from a list of tasks to the list of
        their results.
      tasks: consumed lazily.
      workers: number of processes; with 0 or 1 the function is called in this one.

    Yields:
      The results in the order of the tasks. Only a few are in memory.
    """
    if workers <= 1:
        for chunk in _chunks(tasks):
            yield from function(chunk)
        return
    # Otherwise the resource tracker warns when a second Ctrl-C ends all processes.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    # Otherwise workers would import a user's json.py from the working folder.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    others = multiprocessing.active_children()
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), start_worker
    ) as pool:
        pending = collections.deque()
        try:
            for chunk in _chunks(tasks):
                # A worker must not be interrupted before `start_worker` ignores it.
                with interrupts.blocked():
                    pending.append(pool.submit(function, chunk))
                if len(pending) > 4 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BaseException:
            # The pool would wait for everything submitted, which nobody needs any more.
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
            raise


def start_worker() -> None:
    """Prepares a worker process: one thread, no interrupts, an end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threads = startup.load("tensorflow").config.threading
    threads.set_intra_op_parallelism_threads(1)
    # In the caller's thread: a hand-over to another costs a tenth of a record's time.
    threads.set_inter_op_parallelism_threads(-1)


def _chunks(tasks: Iterable) -> Iterator[list]:
    tasks = iter(tasks)
    while chunk := list(itertools.islice(tasks, _CHUNK)):
        yield chunk


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
