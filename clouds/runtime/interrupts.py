"""Ctrl-C in commands: the first one stops a command cleanly, the second at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

EXIT_CODE = 130


@contextlib.contextmanager
def exiting(message: str) -> Iterator[None]:
    """Ends the process at once on Ctrl-C, with a line on stderr.

    For imports, which have nothing to clean up: an exception raised in them may end in
    a bare `except`, or in C++ code that aborts.

    Args:
      message: line to print.
    """
    # File descriptor 2 itself is redirected during imports.
    stderr = os.dup(2)

    def exit_now(number, frame):
        os.write(stderr, f"{message}\n".encode())
        os._exit(EXIT_CODE)

    try:
        with _handled_by(exit_now):
            yield
    finally:
        os.close(stderr)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raises KeyboardInterrupt on the first Ctrl-C, and ends the process on the second.

    The second one also works where the exception was swallowed, or while clean-up takes
    long.
    """

    def interrupt(number, frame):
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(EXIT_CODE))
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def requested(message: str) -> Iterator[threading.Event]:
    """Only sets an event on the first Ctrl-C; the second acts as it did before.

    Args:
      message: line to print on stdout at the first one.

    Yields:
      The event.
    """
    event = threading.Event()
    previous = signal.getsignal(signal.SIGINT)

    def request(number, frame):
        event.set()
        signal.signal(signal.SIGINT, previous)
        # Not print(), which may be what was interrupted.
        os.write(1, f"\n{message}\n".encode())

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signal.signal(signal.SIGINT, request)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Blocks Ctrl-C, also in processes that start within the block."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextlib.contextmanager
def _handled_by(handler: Callable) -> Iterator[None]:
    # A shell may have had SIGINT ignored for a job in the background: leave it so.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        # After the first Ctrl-C, the second must end whatever still cleans up.
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
