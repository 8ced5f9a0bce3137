"""Times the network on a GPU against segmentation_models.pytorch, on the same card.

Ours: network, losses and augmentation on Keras with JAX, without TensorFlow. Theirs:
U-Net with ResNet34, `torch.compile`, channels_last, autocast to bfloat16, fused Adam.
Both train on BCE + Dice with random images, each in a process of its own, one after the
other; the peak of a matrix product in bfloat16 is measured on the same card. Before
anything is timed, logits in float32 and bfloat16 on the card are compared with those in
float32 on the CPU.

Needs Keras, JAX, PyTorch and segmentation_models_pytorch. Measurements that would start
after the minutes are over are left out, and listed.

Example:
  PYTHONPATH=. python benchmarks/on_gpu.py --minutes 8 --out on_gpu.json
  PYTHONPATH=. python benchmarks/on_gpu.py --small     (on CPUs, to try the script)
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lib import gpu

# Of an image of 320x480: multiplications and additions, forward (see `inference.py`).
FORWARD = 2 * 18.4e9 / (320 * 480)

SIDES = {"ours": "gpu_keras", "torch": "gpu_torch"}


def parse_flags():
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="320x480", help="height x width")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 8, 64, 16])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0, help="in all")
    parser.add_argument("--peer", default="torch", choices=["torch", "none"])
    parser.add_argument("--small", action="store_true", help="a form for CPUs")
    parser.add_argument("--out", help="file for the results, as JSON")
    options = parser.parse_args()
    if options.small:
        options.size, options.batches = "64x96", [2]
        options.seconds, options.rounds = 0.1, 2
    options.size = tuple(map(int, options.size.split("x")))
    return options


def run_side(side, options, until):
    """Runs one side in a process, and returns its answers."""
    root = Path(__file__).parents[1]
    fields = {**vars(options), "until": until}
    process = subprocess.Popen(
        [sys.executable, "-m", f"lib.{SIDES[side]}", json.dumps(fields)],
        env={**os.environ, "PYTHONPATH": f"{root}:{root}/benchmarks"},
        stdout=subprocess.PIPE,
        text=True,
    )
    answers = []
    for line in process.stdout:
        if line.startswith(gpu.MARK):
            answers.append(json.loads(line.removeprefix(gpu.MARK)))
            print(f"{side}: {line.removeprefix(gpu.MARK)}", end="", file=sys.stderr)
    if process.wait():
        raise SystemExit(f"{side} ended with {process.returncode}; its error is above.")
    return answers


def shown(answers, options):
    """Formats the table."""
    facts = {each["kind"]: each for each in answers["ours"]}
    peak = facts["peak"]["flops"]
    lines = [f"{facts['device']['name']}, matrix product {peak / 1e12:.3g} TFLOP/s"]
    for each in answers["ours"]:
        if each["kind"] == "error":
            lines.append(
                f"logits in {each['precision']}: largest difference from float32 on "
                f"the CPU, relative to the largest: {each['relative']:.1e}"
            )
    rates = {
        side: {(a["what"], a["batch"]): a for a in found if a["kind"] == "rate"}
        for side, found in answers.items()
    }
    for (what, batch), found in rates["ours"].items():
        work = (
            FORWARD * options.size[0] * options.size[1] * (1 if what == "infer" else 3)
        )
        share = found["rate"][0] * work / peak
        line = (
            f"{what}, batches of {batch}: {spread(found)}, {share:.1%} of the product"
        )
        if other := rates.get("torch", {}).get((what, batch)):
            ratio = found["rate"][0] / other["rate"][0]
            line += f"; PyTorch {spread(other)}; {ratio:.2f} times as fast"
        lines.append(line)
    for side, found in answers.items():
        missing = [
            f"{a['what']} {a['batch']}" for a in found if a["kind"] == "left out"
        ]
        if missing:
            lines.append(f"{side}: no time for {', '.join(missing)}")
    return "\n".join(lines)


def spread(answer):
    """Formats a rate, its range and its memory."""
    text = "{:.3g} [{:.3g}, {:.3g}] images/s".format(*answer["rate"])
    return f"{text}, {answer['memory'] / 2**30:.1f} GiB" if answer["memory"] else text


def main():
    """Measures both sides, and prints the table."""
    options = parse_flags()
    started, answers = time.time(), {}
    sides = [side for side in SIDES if side == "ours" or side == options.peer]
    for number, side in enumerate(sides, start=1):
        until = started + options.minutes * 60 * number / len(sides)
        # What begins at the end still has to compile and run.
        answers[side] = run_side(side, options, until - 45 * (not options.small))
    if options.out:
        Path(options.out).write_text(json.dumps(answers, indent=1))
    print(shown(answers, options))


if __name__ == "__main__":
    main()
