"""Ctrl-C in a command: the first one ends it cleanly, a second one at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

EXIT_CODE = 130

_AGAIN = 1.0
"""Seconds after which an exception that is not on its way any more is raised again."""


@contextlib.contextmanager
def ending(message: str) -> Iterator[None]:
    """Within, Ctrl-C prints a line and ends the process at once.

    For imports, which have nothing to lose: an exception may there end in a bare
    `except`, or in C++ that aborts.

    Args:
      message: the line.
    """
    if not _ours():
        yield
        return
    stderr = os.dup(2)

    def end(number, frame):
        os.write(stderr, f"{message}\n".encode())
        os._exit(EXIT_CODE)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(stderr)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Within, a first Ctrl-C is raised until it is heeded, a second ends the process.

    An exception gets lost in a callback of the garbage collector, such as JAX has one,
    or in a bare `except`. While it is on its way, through whatever is cleaned up, it is
    not raised again.
    """
    if not _ours():
        yield
        return

    def interrupt(number, frame):
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(EXIT_CODE))
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise KeyboardInterrupt

    def again(number, frame):
        if not _on_its_way():
            raise KeyboardInterrupt

    told = sys.unraisablehook

    def tell(lost):
        if lost.exc_type is not KeyboardInterrupt:
            told(lost)

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = told
        if signal.getsignal(signal.SIGALRM) is again:
            signal.setitimer(signal.ITIMER_REAL, 0)
        # After a first one for good: what ends the process may take its time too.
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _ours() -> bool:
    """Whether nobody else has a say, such as a shell that ignores it for us."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _on_its_way() -> bool:
    error = sys.exception()
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
