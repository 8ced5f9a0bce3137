"""Runs each command with a full disk, a read-only one, and files that vanish.

A command must end with an error of one line or without effect on its result, and the
same command must succeed as soon as the disk has room, is writable or the files are
back. Needs root, to mount a file system in memory:

    sudo python tests/faults/disks.py [COMMAND ...]
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # As the commands set it.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

from faults import kills
from helpers import small
from helpers.commands import make_tfrecords
from helpers.forked import Command


class Case(NamedTuple):
    """A command, what it reads, and what it writes into the mounted folder."""

    arguments: list
    reads: Path
    out: Path


def make(folder: Path) -> None:
    """Makes what the commands read, and places and boxes of the images."""
    kills.make(folder)
    names = sorted(path.name for path in (folder / "scenes/test_images").iterdir())
    rows = ["image,time,west,south,east,north"]
    rows += [f"{n},2020-02-0{k + 1},0,0,15,10" for k, n in enumerate(names)]
    (folder / "places.csv").write_text("\n".join(rows) + "\n")
    for annotator in ("ann", "bob"):
        boxes = [f"{k},{name},0,0,900,700,Fish\n" for k, name in enumerate(names)]
        (folder / f"{annotator}.csv").write_text("".join(boxes))
    shutil.copytree(folder / "run", folder / "other")
    flags = ["--run", folder / "run", "--images", folder / "scenes/test_images"]
    flags += ["--out", folder / "masks", "--threshold", 0.4, "--min-area", 0]
    _run(["predict", *flags])


def cases(folder: Path, out: Path) -> dict[str, Case]:
    """Returns the commands."""
    scenes, run, records = (folder / name for name in ("scenes", "run", "records"))
    test = scenes / "test_images"
    masks, places = folder / "masks/submission.csv", folder / "places.csv"
    beam = "--runner-options=--prism_location=none --direct_num_workers=1"
    rule = ["--threshold", 0.4, "--min-area", 0]
    train = ["--epochs", 1, "--batch-size", 4, "--precision", "float32"]
    located = ["--places", places, "--overlays", 0, *rule]
    of_run = ["--run", run, "--images", test]
    table = {
        "make_scenes": (["--train", 20, "--test", 1, "--size", "96x144"], scenes),
        "describe": (["--csv", scenes / "train.csv"], scenes / "train.csv"),
        "train": (["--records", records, *train], records),
        "evaluate": (["--records", records, "--run", run], records),
        "predict": ([*of_run, *rule, "--masks"], test),
        "predict --zarr": ([*of_run, *located, "--zarr", out / "maps.zarr"], test),
        "predict --geotiff": ([*of_run, *located, "--geotiff", "--geojson"], test),
        "export": (["--run", run, *rule], run),
        "report": (["--records", records, "--run", run], run),
        "compare": ([run, folder / "other"], run),
        "agreement": (
            ["--boxes", folder / "ann.csv", folder / "bob.csv"],
            folder / "bob.csv",
        ),
        "climatology": (["--submission", masks, "--places", places], masks),
        "predict-archive": (
            ["--model", folder / "model", "--images", test, beam],
            test,
        ),
    }
    netcdf = ["predict", *of_run, *located, "--overwrite", "--out", folder / "netcdf"]
    netcdf += ["--netcdf", out.with_suffix(".nc")]
    found = {
        "make_tfrecords": Case(make_tfrecords(scenes, out), scenes, out),
        "predict --netcdf": Case(netcdf, test, out.with_suffix(".nc")),
    }
    for name, (flags, reads) in table.items():
        target = out / f"{name}.html" if name in ("report", "compare") else out
        flag = "--run" if name == "train" else "--out"
        found[name] = Case([name.split()[0], *flags, flag, target], reads, target)
    return found


def _run(arguments, code: int | None = 0) -> tuple[int, str]:
    command = Command(*arguments, build=small.build_smooth)
    text = command.ended(code)
    return command.code, text


def _verdict(code: int, text: str) -> str:
    if "Traceback" in text:
        print(text, file=sys.stderr)
        return f"traceback and code {code}"
    if code == 0:
        return "succeeded"
    errors = [line for line in text.splitlines() if "error:" in line]
    print(*errors, sep="\n", file=sys.stderr)
    return f"error {code}" if errors else f"code {code} without an error"


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """Mounts a file system of a size in memory."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m"]
    subprocess.run(["mount", *options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _full(case: Case, disk: Path) -> str:
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free
    with filler.open("wb") as file:
        file.write(bytes(free - 8192))
    found = _verdict(*_run(case.arguments, None))
    filler.unlink()
    return found


def _read_only(case: Case, disk: Path) -> str:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        return _verdict(*_run(case.arguments, None))
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def _input_gone(case: Case, disk: Path) -> str:
    hidden = case.reads.with_name(f"hidden-{case.reads.name}")
    command = Command(*case.arguments, build=small.build_smooth)
    time.sleep(0.3)
    case.reads.rename(hidden)
    text = command.ended()
    if case.reads.exists():
        # `make_scenes` reads nothing.
        shutil.rmtree(case.reads)
    hidden.rename(case.reads)
    return _verdict(command.code, text)


def _output_gone(case: Case, disk: Path) -> str:
    command = Command(*case.arguments, build=small.build_smooth)
    end = time.monotonic() + 60
    while command.runs() and not case.out.exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    if case.out.is_dir():
        shutil.rmtree(case.out, ignore_errors=True)
    else:
        case.out.unlink(missing_ok=True)
    text = command.ended()
    return _verdict(command.code, text)


FAULTS = {
    "full disk": _full,
    "read-only": _read_only,
    "input vanishes": _input_gone,
    "output vanishes": _output_gone,
}


def tried(case: Case, disk: Path) -> dict[str, str]:
    """Tries all faults; returns what came of each, and of the same command after it."""
    found = {}
    for name, fault in FAULTS.items():
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        verdict = fault(case, disk)
        again = _verdict(*_run(case.arguments, None))
        found[name] = f"{verdict}, then {again}"
    return found


def long_form(*names: str) -> int:
    """Prints a line per command and fault; returns 1 if one is not as it must be."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):
            make(folder)
        disk = folder / "disk"
        with mounted(disk, 600):
            every = cases(folder, disk / "out")
            for title in names or every:
                for fault, found in tried(every[title], disk).items():
                    bad = "traceback" in found or "without an error" in found
                    bad |= not found.endswith("then succeeded")
                    failed += bad
                    print(f"{title}: {fault}: {found}{'  <--' * bad}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(long_form(*sys.argv[1:]))
