"""Measures the memory of conversion and prediction over many images.

Prints the resident memory of a command and its workers after each tenth of the images,
and the slope of the last half in MB per 1,000 images.

    python tests/faults/memory.py [IMAGES]
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

import numpy as np
from helpers import small
from helpers.forked import Command

from clouds import schema
from clouds.cli import main
from clouds.models import unet

_PAGE = os.sysconf("SC_PAGE_SIZE") / 1e6
_SAMPLED_EVERY = 0.2
_DISTINCT = 20


def make(folder: Path, images: int) -> None:
    """Makes a folder of images, linked from a few distinct ones, and their csv."""
    sample = ["--out", folder / "scenes", "--train", _DISTINCT, "--test", 0]
    assert main.main(["make_scenes", *map(str, sample), "--size", "350x525"]) == 0
    (folder / "images").mkdir()
    distinct = sorted((folder / "scenes/train_images").iterdir())
    rows = (folder / "scenes/train.csv").read_text().splitlines()
    lines = rows[:1]
    for number in range(images):
        first = number % _DISTINCT
        os.link(distinct[first], folder / f"images/{number:06d}.jpg")
        for label in range(4):
            text = rows[1 + 4 * first + label].partition(",")[2]
            lines.append(f"{number:06d}.jpg_{schema.CLOUDS.labels[label]},{text}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def resident(process: int) -> float:
    """Returns the resident memory of a process and its children, in MB."""
    total = 0.0
    with contextlib.suppress(OSError):
        total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
        for thread in Path(f"/proc/{process}/task").iterdir():
            children = (thread / "children").read_text().split()
            total += sum(resident(int(child)) for child in children)
    return total


def measure(title: str, arguments: list[str], images: int) -> None:
    """Runs a command, and prints its memory over time."""
    command, memory = Command(*arguments, build=small.build_smooth), []
    while command.runs():
        memory.append(resident(command.pid))
        time.sleep(_SAMPLED_EVERY)
    command.ended(0)
    places = np.linspace(0, len(memory) - 2, 11).astype(int)[1:]
    half = np.array(memory[len(memory) // 2 : -1])
    slope = np.polyfit(np.linspace(0, images / 2000, len(half)), half, 1)[0]
    shown = " ".join(f"{memory[place]:.0f}" for place in places)
    print(f"{title}: {shown} MB; slope {slope:+.1f} MB per 1,000 images", flush=True)


def long_form(images: int) -> None:
    """Measures both commands."""
    unet.build = small.build_smooth
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):
            make(folder, images)
        source = ["--images", f"{folder}/images"]
        records = ["--csv", f"{folder}/train.csv", "--out", f"{folder}/records"]
        records += ["--size", "64x96", "--workers", "1"]
        measure("make_tfrecords", ["make_tfrecords", *source, *records], images)
        run = small.write_run(folder / "run", folder / "records")
        out = ["--out", f"{folder}/predicted", "--overlays", "0"]
        measure("predict", ["predict", "--run", str(run), *source, *out], images)


if __name__ == "__main__":
    long_form(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
