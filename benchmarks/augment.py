"""Times the augmentation against albumentations, milliseconds an image.

Each measurement is a process of its own, with its own number of threads; peers
take turns, so that a busy machine slows both. Draws are random, as in training:
about a third of the images is distorted.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/augment.py --rounds 3
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from lib import peers

ROOT = Path(__file__).resolve().parents[1]
STEP = 178.0
"""Milliseconds an image of a mixed_bfloat16 training step on two cores: planning's
figure, for a share to print; give the machine's own with --step."""


def batch(count, size):
    """Makes smooth images and masks, uint8."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, size[0] // 16, size[1] // 16, 7))
    fine = coarse.repeat(16, 1).repeat(16, 2).astype("uint8")
    return fine[..., :3].copy(), (fine[..., 3:] > 128).astype("uint8")


def time_albumentations(options):
    """Milliseconds an image of the notebook's composition, on one core."""
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    composition = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            albumentations.GridDistortion(p=0.2),
            albumentations.ElasticTransform(p=0.2),
        ]
    )
    images, masks = batch(options.batch, options.size)

    def run():
        for image, mask in zip(images, masks, strict=True):
            composition(image=image, mask=mask)

    return clock(run, options)


def time_ours(options, threads, compiled):
    """Milliseconds per image of our augmentation, in a graph or compiled by XLA."""
    import tensorflow as tf

    from clouds.training import augment

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    layer = augment.build()
    step = tf.function(
        lambda *pair: layer(pair, training=True),
        jit_compile=compiled,
        autograph=False,
    )
    pair = [tf.constant(values) for values in batch(options.batch, options.size)]
    return clock(lambda: [values.numpy() for values in step(*pair)], options)


def clock(run, options):
    """Mean over the batches of a round: its draws cost more or less."""
    for _ in range(3):
        run()
    start = time.perf_counter()
    for _ in range(options.batches):
        run()
    return 1e3 * (time.perf_counter() - start) / options.batches / options.batch


def measure(python, who, arguments):
    """Runs one measurement in a process of its own."""
    command = [python, __file__, *arguments, "--measure", who]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def parse(arguments):
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="images a batch")
    parser.add_argument("--batches", type=int, default=60, help="batches a round")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    peers.add_size_flag(parser)
    parser.add_argument(
        "--step", type=float, default=STEP, help="ms an image of a training step"
    )
    parser.add_argument(
        "--oracle",
        default=os.environ.get("CLOUDS_ORACLE", ROOT / ".venv-oracle/bin/python"),
        help="Python that has albumentations 1.3.1",
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments):
    """Prints each peer's median and range, and the ratios."""
    options = parse(arguments)
    cores = os.cpu_count() or 1
    if options.measure == "albumentations":
        print(time_albumentations(options))
        return
    if options.measure:
        mode, threads = options.measure.split("-")
        print(time_ours(options, int(threads), mode == "xla"))
        return
    ours = [f"{mode}-{n}" for n in sorted({1, cores}) for mode in ("graph", "xla")]
    times = {who: [] for who in ("albumentations", *ours)}
    for _ in range(options.rounds):
        for who, values in times.items():
            python = options.oracle if who == "albumentations" else sys.executable
            values.append(measure(str(python), who, arguments))
    peer = statistics.median(times["albumentations"])
    print(f"{'ms an image':<16} median    range          albumentations/it")
    for who, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):.2f}-{max(values):.2f}"
        print(f"{who:<16} {middle:6.2f}    {spread:<13}  {peer / middle:.2f}")
    best = statistics.median(times[f"graph-{cores}"])
    print(f"In a graph on {cores} cores: {best / options.step:.1%} of a training step")


if __name__ == "__main__":
    main(sys.argv[1:])
