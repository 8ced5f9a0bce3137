"""Commands in processes of their own, begun within a moment.

They are forked from a process that has imported TensorFlow and done nothing with it;
each would need seconds to import it itself.
"""

import atexit
import functools
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from clouds.cli import main
from clouds.runtime import pool, startup

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["clouds.training.train", "clouds.prediction.predict", "clouds.data.make_tfrecords"]
)


class Command:
    """A command that runs."""

    def __init__(self, *words, build=None, folder=None, environment=None):
        """Begins it.

        Args:
          *words: its name and flags.
          build: takes the place of `unet.build`.
          folder: its working folder; None for that of the tests.
          environment: variables that it has besides.
        """
        words = [str(word) for word in words]
        file, name = tempfile.mkstemp(dir=_folder())
        os.close(file)
        self._shown = Path(name)
        arguments = (words, build, self._shown, folder, environment or {})
        self._process = _FORKS.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._process.exitcode

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def wait_for(self, condition):
        """Waits until something holds, while it runs and for five minutes."""
        for _ in range(30_000):
            if condition():
                return
            assert self.runs(), self.ended()
            time.sleep(0.01)
        raise AssertionError(self._shown.read_text())

    def kill(self):
        """Ends it at once."""
        self._process.kill()
        self._process.join()

    def interrupt(self):
        """Sends what Ctrl-C sends."""
        os.kill(self._process.pid, signal.SIGINT)

    def ended(self, code=None) -> str:
        """Waits for its end, with an exit code if one is given; what it printed."""
        self._process.join()
        shown = self._shown.read_text()
        assert code is None or self._process.exitcode == code, shown
        return shown


def in_workers(monkeypatch):
    """Has the program fork its workers too."""
    monkeypatch.setattr(pool.multiprocessing, "get_context", lambda method: _FORKS)


@functools.cache
def _folder():
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return folder


def _run(words, build, shown, folder, environment):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with shown.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    if folder:
        os.chdir(folder)
    if build:
        startup.load("clouds.models.unet").build = build
    sys.exit(main.main(words))
