"""What the benchmarks share: flags, the real images many times over, and a table."""

import argparse
import os
import random
import statistics
import sys
from pathlib import Path

from clouds.config import fields
from clouds.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CLOUDS_DATA", ROOT.parent / "shared/data/clouds"))


def add_data_flag(parser):
    """Adds --data, the real images' folder."""
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="folder with fullres/train.csv and fullres/train_images; CLOUDS_DATA "
        "may name it too (default: %(default)s)",
    )


def add_size_flag(parser, default="320x480", shown="height x width"):
    """Adds --size, read as the commands read theirs; none if there is no default."""
    if default:
        shown += " (default: %(default)s)"
    parser.add_argument(
        "--size", type=_size, default=default, metavar="HxW", help=shown
    )


def _size(text):
    try:
        return fields.read(text, fields.Size, "a size")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def find(data):
    """The csv and the folder of the full-resolution images."""
    csv, images = data / "fullres/train.csv", data / "fullres/train_images"
    if not csv.is_file() or not images.is_dir():
        raise SystemExit(
            f"--data must hold fullres/train.csv and fullres/train_images. Received: "
            f"'{data}', which does not. Give the folder, or set CLOUDS_DATA."
        )
    return csv, images


def repeat(data, folder, copies):
    """Links each image under `copies` names, and writes the csv that fits."""
    # Peers' environments may be without it.
    import pandas as pd

    csv, images = find(data)
    frame = pd.read_csv(csv, dtype=str, keep_default_na=False)
    linked = folder / "train_images"
    linked.mkdir()
    for image in images.iterdir():
        for copy in range(copies):
            (linked / f"{copy:03}-{image.name}").symlink_to(image.resolve())
    parts = [
        frame.assign(Image_Label=f"{copy:03}-" + frame["Image_Label"])
        for copy in range(copies)
    ]
    pd.concat(parts).to_csv(folder / "train.csv", index=False)
    return folder / "train.csv", linked


def spread(values, digits=2):
    """Smallest, median and largest, as columns of a table."""
    columns = min(values), statistics.median(values), max(values)
    return " ".join(f"{value:9.{digits}f}" for value in columns)


def interval(values, digits=2, resamples=2000):
    """Median of the values, with its 95 % bootstrap interval, as text."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(values, k=len(values))) for _ in range(resamples)
    )
    low, high = medians[resamples // 40], medians[-resamples // 40]
    middle = statistics.median(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def tell(text):
    """Writes progress."""
    print(text, file=sys.stderr, flush=True)
