"""Kills commands at random moments, runs them again, and compares their output.

A command must end with the files that an undisturbed one writes, and a restarted server
must answer as one that was not killed. Tests of `bin/make_tfrecords`, `bin/train` and
`bin/predict` kill those.

    python tests/faults/kills.py [KILLS [COMMAND ...]]
"""

import contextlib
import hashlib
import random
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

from helpers import small, tiny_export
from helpers.commands import make_tfrecords
from helpers.forked import Command

from clouds.cli import main
from clouds.models import unet
from clouds.runtime import files

_WITH_TIMES = ("report.html", "run.json", "request.json")
"""Files with times in them: they must exist."""


class Kind(NamedTuple):
    """A command: its arguments, and the folder that it writes into."""

    arguments: list
    out: str


def make(folder: Path) -> None:
    """Makes scenes, records, an evaluated run and an exported model."""
    unet.build = small.build_smooth
    scenes, records, run = (folder / name for name in ("scenes", "records", "run"))
    sample = ["--out", str(scenes), "--train", "8", "--test", "4", "--size", "96x144"]
    assert main.main(["make_scenes", *sample]) == 0
    assert main.main(make_tfrecords(scenes, records)) == 0
    small.write_run(run, records)
    of_run = ["--records", str(records), "--run", str(run)]
    assert main.main(["evaluate", *of_run]) == 0
    tiny_export.write(folder / "model")
    # The first command starts the process from which all are forked.
    Command("train", "--help").ended(0)


def kinds(folder: Path, url: str) -> dict[str, Kind]:
    """Returns the commands to kill."""
    records, run, scenes = (folder / name for name in ("records", "run", "scenes"))
    images = ["--images", scenes / "test_images", "--batch-size", 1]
    labels = ["--csv", scenes / "train.csv", "--images", scenes / "train_images"]
    made = ["--train", 20, "--test", 1, "--size", "96x144"]
    return {
        "evaluate": Kind(
            ["evaluate", "--records", records, "--run", run, "--tune"], "run"
        ),
        "report": Kind(["report", "--records", records, "--run", run], "run"),
        "describe": Kind(
            ["describe", *labels, "--out", folder / "described"], "described"
        ),
        "make_scenes": Kind(["make_scenes", "--out", folder / "made", *made], "made"),
        "request": Kind(
            ["request", "--server", url, *images, "--out", folder / "masks"], "masks"
        ),
    }


def contents(folder: Path) -> dict[str, str]:
    """Returns the checksums of the files in a folder, without unfinished ones."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): ""
        if path.name in _WITH_TIMES
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if not path.name.startswith(files.PART)
    }


@contextlib.contextmanager
def restored(folder: Path) -> Iterator[Callable[[], None]]:
    """Yields a function that restores a folder to its present state."""
    with tempfile.TemporaryDirectory() as name:
        saved = Path(name, "saved")
        if folder.exists():
            shutil.copytree(folder, saved)

        def restore() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            if saved.exists():
                shutil.copytree(saved, folder)

        yield restore


def tried(kind: Kind, folder: Path, kills: int) -> tuple[int, int]:
    """Kills a command; returns the kills while it ran, and the different outputs."""
    out, hit, different = folder / kind.out, 0, 0
    chance = random.Random(0)
    with restored(out) as restore:
        begun = time.monotonic()
        Command(*kind.arguments, build=small.build_smooth).ended(0)
        seconds, expected = time.monotonic() - begun, contents(out)
        for _ in range(kills):
            restore()
            command = Command(*kind.arguments, build=small.build_smooth)
            time.sleep(seconds * chance.random())
            hit += command.runs()
            command.kill()
            Command(*kind.arguments, build=small.build_smooth).ended(0)
            found = contents(out)
            if found != expected:
                different += 1
                names = {name for name, _ in expected.items() ^ found.items()}
                print(f"{kind.arguments[0]}: {sorted(names)}", file=sys.stderr)
    return hit, different


class Server:
    """A server on one port, which can be killed and started again."""

    def __init__(self, model: Path):
        """Starts it."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._model = model
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it is ready."""
        flags = ("--model", self._model, "--port", self._port)
        self.command = Command("serve", *flags)
        self.command.wait_for(self._is_ready)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/v1/models/clouds").status == 200
        return False


def tried_server(kind: Kind, server: Server, folder: Path, kills: int):
    """Kills the server while `bin/request` asks it, and starts it again."""
    out, hit, different = folder / kind.out, 0, 0
    chance = random.Random(0)
    begun = time.monotonic()
    Command(*kind.arguments).ended(0)
    seconds, expected = time.monotonic() - begun, contents(out)
    for _ in range(kills):
        shutil.rmtree(out)
        client = Command(*kind.arguments)
        time.sleep(seconds * chance.random())
        hit += client.runs()
        server.command.kill()
        server.start()
        client.ended(0)
        different += contents(out) != expected
    return hit, different


def long_form(kills: int, *names: str) -> int:
    """Prints a line per command; returns 1 if an output differed."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):
            make(folder)
        server = Server(folder / "model")
        commands = kinds(folder, server.url)
        for title in names or (*commands, "serve"):
            if title == "serve":
                found = tried_server(commands["request"], server, folder, kills)
            else:
                found = tried(commands[title], folder, kills)
            print(f"{title}: {kills} kills, {found[0]} while it ran, ", end="")
            print(f"{found[1]} outputs differ", flush=True)
            failed += found[1]
        server.command.kill()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(long_form(*map(int, sys.argv[1:2] or [20]), *sys.argv[2:]))
