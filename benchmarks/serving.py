"""Times JPEG bytes to text through the C++ loader that TensorFlow Serving has inside.

Full-resolution JPEGs (2100x1400), one and eight at a time, in a process without
TensorFlow's Python (`tests/helpers/loader.py`). The whole is compared with its parts,
measured separately through the same loader: decode, network, post-process. And
against the notebook's way with the same weights, in an environment of its own
(`bin/test --oracle`): OpenCV's decoder and resizing, segmentation-models on TensorFlow
2.15 in float32, the notebook's loop over components and its mask2rle. All take turns, a
batch at a time, and a ratio is of one round, in which images are met equally often.
Ours have their kernels laid out once, as in `bin/serve` and `docker/compose.yaml`
(TF_ONEDNN_ASSUME_FROZEN_WEIGHTS; 0 in the environment does without).

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/serving.py --run runs/first
"""

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib import duel, peers

sys.path.insert(0, str(duel.ROOT / "tests"))

from helpers import loader  # noqa: E402

from clouds.config import fields  # noqa: E402

PARTS = ("decode", "network", "postprocess")
TARGETS = {"whole / parts": "<= 1.10", "notebook / whole": ">= 2.2"}


def write(options, folder):
    """Writes the export and its parts, in a process of their own."""
    peers.tell("exporting …")
    script = str(duel.ROOT / "benchmarks/lib/serving_parts.py")
    size = fields.shown(options.size, fields.Size) if options.size else "-"
    command = [sys.executable, script, options.run, size, options.precision]
    environment = os.environ | {"PYTHONPATH": f"{duel.ROOT}:{duel.ROOT}/benchmarks"}
    command.append(str(folder))
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def requests(model, parts, contents):
    """The requests to time for a batch, by name."""
    images = parts("decoded", contents)["images"]
    found = model("probabilities", contents)["probabilities"]
    return {
        "whole": model.request("serving_default", contents),
        "decode": parts.request("decode", contents),
        "network": parts.request("network", images),
        "postprocess": parts.request("postprocess", images, found),
    }


def clock(action):
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def one_round(batches, peer):
    """Seconds a side or part, of all batches."""
    seconds = dict.fromkeys(["whole", *PARTS, "notebook"], 0.0)
    for numbers, asked in batches:
        for name, answer in asked.items():
            seconds[name] += clock(answer)
        seconds["notebook"] += peer.ask(" ".join(map(str, numbers)))["seconds"]
    return seconds


def compare(batches, peer, rounds):
    """Prints a row a side or part, and the ratios."""
    size = len(batches[0][0])
    images = size * len(batches)
    one_round(batches[:1], peer)
    found = []
    for number in range(rounds):
        peers.tell(f"{size} at a time, round {number + 1} …")
        found.append(one_round(batches, peer))
    print(f"{size} at a time, ms an image        min    median       max")
    for name in found[0]:
        print(f"{name:<24} {peers.spread([1e3 * s[name] / images for s in found])}")
    ratios = {
        "whole / parts": [s["whole"] / sum(s[k] for k in PARTS) for s in found],
        "notebook / whole": [s["notebook"] / s["whole"] for s in found],
    }
    for name, values in ratios.items():
        print(f"{name:<24} {peers.spread(values)}   target {TARGETS[name]}")
    print(flush=True)


def parse_flags():
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="-", help="to export; random if left out")
    peers.add_size_flag(parser, None, "of the network; the run's, or 320x480")
    parser.add_argument("--precision", default="mixed_bfloat16", help="of the export")
    parser.add_argument("--rounds", type=int, default=7)
    oracle = os.environ.get("CLOUDS_ORACLE", duel.ENVIRONMENT / "bin" / "python")
    parser.add_argument("--oracle", default=oracle, help="the peer's Python")
    peers.add_data_flag(parser)
    return parser.parse_args()


def main():
    """Writes, compares."""
    options = parse_flags()
    paths = sorted(peers.find(options.data)[1].iterdir())
    files = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write(options, folder)
        peers.tell("starting both …")
        arguments = [folder / "weights.npz", *paths]
        script = "serving_notebook.py"
        peer = duel.Contender(options.oracle, *arguments, script=script)
        os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
        model = loader.Model(folder / "model" / "1")
        parts = loader.Model(folder / "parts")
        for size in (1, 8):
            turns = itertools.cycle(range(len(files)))
            batches = []
            for _ in range(math.lcm(size, len(files)) // size):
                numbers = [next(turns) for _ in range(size)]
                contents = loader.batch_of([files[number] for number in numbers])
                batches.append((numbers, requests(model, parts, contents)))
            compare(batches, peer, options.rounds)


if __name__ == "__main__":
    main()
