r"""Follows the memory of `bin/predict`, in a folder of images as large as can be had.

The command runs as a process of its own. Printed are the images a second after the
first batch, and the memory of the process (resident, TensorFlow's libraries included)
when a tenth, two tenths and so on of the images are done. Then the ratio of its highest
in the second half to that in the first: 1 means that memory does not grow with the
number of images. Last its highest when the files are written and pictures are drawn.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/predict.py --run runs/first \
    --images train_images -- --flips --geojson
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PERIOD = 0.5


def follow(process, journal):
    """Yields seconds, images that are done and megabytes, until the process ends."""
    watched, begun = psutil.Process(process.pid), time.perf_counter()
    lines, read = 0, 0
    while process.poll() is None:
        time.sleep(PERIOD)
        if journal.exists():
            with journal.open("rb") as file:
                file.seek(read)
                added = file.read()
            read += len(added)
            lines += added.count(b"\n")
        try:
            memory = watched.memory_info()
        except psutil.Error:
            return
        # The first line holds the settings.
        yield time.perf_counter() - begun, max(0, lines - 1), memory.rss / 1e6


def table(samples):
    """Prints the memory at each tenth of the images."""
    images = samples[-1][1]
    first = next(sample for sample in samples if sample[1])
    last = next(sample for sample in samples if sample[1] == images)
    print(f"{'images':>8} {'seconds':>8} {'MB':>7}")
    for tenth in range(1, 11):
        sample = next(sample for sample in samples if sample[1] * 10 >= images * tenth)
        print(f"{sample[1]:>8} {sample[0]:>8.1f} {sample[2]:>7.0f}")
    rate = (last[1] - first[1]) / (last[0] - first[0])
    print(
        f"{rate:.1f} images/s, {1e3 / rate:.1f} ms an image, from image {first[1]} on"
    )
    halves = {False: [], True: []}
    for _, done, memory in samples:
        if 0 < done < images:
            halves[2 * done > images].append(memory)
    early, late = max(halves[False]), max(halves[True])
    print(f"highest: {early:.0f} and {late:.0f} MB, ratio {late / early:.3f};", end=" ")
    print(f"at the end {max(sample[2] for sample in samples):.0f} MB")


def main():
    """Runs the command, and prints what was seen of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="folder of a run")
    parser.add_argument("--images", required=True, help="what bin/predict takes")
    parser.add_argument("flags", nargs="*", help="more flags of bin/predict")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        line = [
            sys.executable,
            "-m",
            "clouds.cli.main",
            "predict",
            "--run",
            options.run,
        ]
        line += ["--images", options.images, "--out", out, *options.flags]
        process = subprocess.Popen(line, stdout=sys.stderr)
        samples = list(follow(process, Path(out) / "predict.jsonl.part"))
        if process.wait() not in (0, 3):
            sys.exit(process.returncode)
    table(samples)


if __name__ == "__main__":
    main()
