"""Sets this network against segmentation-models', each in a process of its own.

Both run in turn, never at once; a ratio is of one round. Used by `train_step.py`
and `inference.py`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from clouds.config import fields
from lib import peers

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-oracle"


class Contender:
    """A process of a script here, `contender.py` or another that answers like it."""

    def __init__(self, python, *arguments, script="contender.py"):
        script = str(ROOT / "benchmarks/lib" / script)
        self.process = subprocess.Popen(
            [str(python), script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={
                "PYTHONPATH": f"{ROOT}:{ROOT}/benchmarks",
                "PATH": "/usr/bin:/bin",
                "HOME": "/tmp",
            },
        )
        self.read()

    def read(self):
        """The next answer."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended. Run it by itself to see why.")
        return json.loads(line)

    def ask(self, what="round"):
        """Asks for a round, or for the limit."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.read()


def parse_flags(arguments, description):
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers.add_size_flag(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1, help="a round")
    parser.add_argument("--precision", default="mixed_bfloat16", help="of ours")
    return parser.parse_args(arguments)


def run(mode, description, multiply_adds, targets):
    """Measures and prints.

    Args:
      mode: train or infer.
      description: of the benchmark.
      multiply_adds: of a pixel.
      targets: of the ratios of time and of memory; None for none.
    """
    options = parse_flags(sys.argv[1:], description)
    shared = ["--size", fields.shown(options.size, fields.Size)]
    shared += ["--batch", options.batch]
    shared += ["--steps", options.steps, "--precision"]
    peers.tell("starting both …")
    sides = {
        "clouds": Contender(sys.executable, "ours", mode, *shared, options.precision),
        "segmentation-models": Contender(
            ENVIRONMENT / "bin" / "python", "theirs", mode, *shared, "float32"
        ),
    }
    rounds = []
    for index in range(options.rounds):
        peers.tell(f"round {index + 1} …")
        rounds.append({name: side.ask() for name, side in sides.items()})
    limit = sides["clouds"].ask("limit")["limit"]
    names = {
        "clouds": f"clouds, {options.precision}",
        "segmentation-models": "segmentation-models, float32",
    }
    print("s an image                              min    median       max")
    for name in sides:
        values = [answer[name]["seconds"] / options.batch for answer in rounds]
        print(f"{names[name]:<32} {peers.spread(values, 4)}")
    for label, key in (("time", "seconds"), ("processor time", "processor")):
        ratios = [
            answer["clouds"][key] / answer["segmentation-models"][key]
            for answer in rounds
        ]
        print(f"{f'ratio of {label}':<32} {peers.spread(ratios, 3)}")
    print(f"target for the ratio of time <= {targets[0]}")
    memory = {name: rounds[-1][name]["memory"] for name in sides}
    print(
        f"peak memory {memory['clouds'] / 1e9:.2f} and "
        f"{memory['segmentation-models'] / 1e9:.2f} GB, ratio "
        f"{memory['clouds'] / memory['segmentation-models']:.3f}; target "
        f"{'none' if targets[1] is None else f'<= {targets[1]}'}"
    )
    pixels = options.size[0] * options.size[1]
    ours = statistics.median(answer["clouds"]["seconds"] for answer in rounds)
    ideal = multiply_adds * pixels * options.batch / limit
    print(
        f"a matrix product makes {limit / 1e9:.0f} G multiply-adds a second here; the "
        f"notebook's {multiply_adds * pixels / 1e9:.1f} G an image at that rate: "
        f"{ideal / options.batch:.4f} s, {ideal / ours:.2f} of ours"
    )
