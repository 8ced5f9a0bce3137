"""Times a run's network in each precision that an export could have, with its Dice.

Beside float32 and the half precisions: batch normalisations folded into the
convolutions before them, and kernels kept as int8 with a scale a channel. Each is a
SavedModel, timed through TensorFlow's C++ loader in turns, eight images and one at a
time; a ratio is of one round. Dice is the competition's, of the validation images, by
the run's rule.

With PYTHONPATH=. :
  benchmarks/precision.py --run runs/first --records tfrecords/clouds
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from lib import peers

sys.path.insert(0, str(peers.ROOT / "tests"))

from helpers import loader  # noqa: E402

from clouds.config import fields  # noqa: E402


def clock(request, times):
    """Milliseconds of a call."""
    start = time.perf_counter()
    for _ in range(times):
        request()
    return 1e3 * (time.perf_counter() - start) / times


def main():
    """Writes the models, and compares them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="whose network")
    parser.add_argument("--records", required=True, help="with validation images")
    peers.add_size_flag(parser, shown="at which they are timed")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    size = fields.shown(options.size, fields.Size)
    with tempfile.TemporaryDirectory() as folder:
        script = str(peers.ROOT / "benchmarks/lib/precision_variants.py")
        command = [sys.executable, script, options.run, options.records, size]
        environment = os.environ | {
            "PYTHONPATH": f"{peers.ROOT}:{peers.ROOT}/benchmarks"
        }
        command.append(folder)
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
        dice = json.loads(Path(folder, "dice.json").read_text())
        # As in bin/serve.
        os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
        models = {name: loader.Model(Path(folder, name)) for name in dice}
        sizes = {
            name: sum(
                path.stat().st_size
                for path in Path(folder, name).rglob("*")
                if path.is_file()
            )
            for name in dice
        }
    images = np.random.default_rng(0).integers(
        256, size=(8, *options.size, 3), dtype=np.uint8
    )
    for batch in (8, 1):
        requests = {
            name: model.request("network", images[:batch])
            for name, model in models.items()
        }
        found = {name: [] for name in requests}
        for number in range(-1, options.rounds):
            peers.tell(f"{batch} at a time, round {number + 1} …")
            for name, request in requests.items():
                took = clock(request, 8 // batch) / batch
                if number >= 0:
                    found[name].append(took)
        print(f"\n{batch} at a time at {size}: ms an image, min, median, max;")
        print("times float32; MB; Dice")
        for name, times in found.items():
            ratios = [
                other / own for own, other in zip(times, found["float32"], strict=True)
            ]
            print(
                f"{name:<22} {peers.spread(times, 1)}   {peers.spread(ratios)}"
                f"   {sizes[name] / 1e6:6.1f}   {dice[name]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
