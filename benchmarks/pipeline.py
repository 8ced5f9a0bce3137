"""Times the pipeline against the notebook's generator, and beside a training step.

First, images per second: `clouds.data.pipeline.train_batches` on records of 320x480,
without augmentation, which runs on the device; and a generator that does the notebook's
work on the same full-resolution images: reads and resizes JPEGs, paints four
masks at 1400x2100 and resizes them, augments with albumentations or does not.
Each measurement is a process of its own, and peers take turns; a ratio is of one
round.

Second, milliseconds of a training step fed by the pipeline and of one fed by a
batch that lies ready, in blocks that take turns, and the time that the first
waits for its batch.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/pipeline.py --rounds 3
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from lib import peers

SIZE = (320, 480)
GRID = (1400, 2100)
OURS = ("clouds", "clouds, one core")
THEIRS = {
    "augmented": (True, None),
    "augmented, one thread": (True, 1),
    "plain": (False, None),
    "plain, one thread": (False, 1),
}
TARGETS = {"augmented": 50, "plain": 20}
WAIT = 0.02


def prepare(options, folder):
    """Makes the records in `folder`, and the csv and images that they are made of."""
    from clouds.config.data import Records
    from clouds.data import make_tfrecords

    csv, images = peers.repeat(options.data, folder, options.copies)
    settings = Records(csv=str(csv), images=str(images), out=f"{folder}/records")
    with contextlib.redirect_stdout(sys.stderr):
        make_tfrecords.convert(settings)


def batches_of(folder, size):
    """The pipeline."""
    from clouds.data import manifest, pipeline

    records = f"{folder}/records"
    return pipeline.train_batches(records, manifest.read(records), size)


def time_ours(options, one_core):
    """Images a second of the pipeline."""
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    batches = iter(batches_of(options.folder, options.batch))
    return clock(batches, options.batch, options.seconds)


def time_theirs(options, augmented, threads):
    """Images a second of a generator that does the notebook's work."""
    import cv2

    if threads:
        cv2.setNumThreads(threads)
    frame = pd.read_csv(options.folder / "train.csv", keep_default_na=False)
    frame["image"] = frame["Image_Label"].str.split("_").str[0]
    batches = generate(frame, options, augmented)
    return clock(batches, options.batch, options.seconds)


def clock(batches, size, seconds):
    """Images a second over at least `seconds`, after a first batch."""
    next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        next(batches)
        count += size
    return count / (time.perf_counter() - start)


def generate(frame, options, augmented):
    """Endless batches, as the notebook makes them: float64 images, int64 masks."""
    augment = composition() if augmented else None
    names = frame["image"].unique()
    random = np.random.default_rng(0)
    while True:
        images = np.empty((options.batch, *SIZE, 3))
        masks = np.empty((options.batch, *SIZE, 4), dtype=int)
        for index, name in enumerate(random.choice(names, options.batch)):
            images[index] = read_image(options.folder / "train_images" / name)
            texts = frame[frame["image"] == name]["EncodedPixels"].values
            masks[index] = read_masks(texts)
        if augment:
            for index in range(options.batch):
                moved = augment(image=images[index], mask=masks[index])
                images[index], masks[index] = moved["image"], moved["mask"]
        yield images, masks


def composition():
    """The notebook's augmentation."""
    import albumentations

    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            albumentations.GridDistortion(p=0.2),
            albumentations.ElasticTransform(p=0.2),
        ]
    )


def read_image(path):
    """float32[320, 480, 3] in 0..1, resized from the full size."""
    import cv2

    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(image.astype(np.float32) / 255.0, SIZE[::-1])


def read_masks(texts):
    """float64[320, 480, C], painted at full size run by run, then resized."""
    import cv2

    masks = np.zeros((*SIZE, len(texts)))
    for label, text in enumerate(texts):
        if not text:
            continue
        numbers = np.asarray([int(number) for number in text.split()])
        plane = np.zeros(GRID[0] * GRID[1]).astype(np.uint8)
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            plane[int(start) : int(start + length)] = 1
        masks[..., label] = cv2.resize(plane.reshape(GRID[::-1]).T, SIZE[::-1])
    return masks


def time_steps(options):
    """Milliseconds of training steps, and of their waiting for a batch."""
    from clouds.config.training import Training
    from clouds.training import trainer as trainer_module

    precision = options.precision
    if precision == "auto":
        precision = trainer_module.fastest_precision()
    settings = Training(
        records=f"{options.folder}/records",
        run=str(options.folder),
        size=SIZE,
        batch_size=options.step_batch,
        precision=precision,
    )
    trainer = trainer_module.build(settings)
    fed = iter(batches_of(options.folder, options.step_batch))
    ready = itertools.repeat(next(fed))
    blocks = {"ready": [], "fed": [], "wait": []}
    time_block(trainer, ready, 2)
    for _ in range(options.blocks):
        blocks["ready"].append(time_block(trainer, ready, options.steps)[0])
        step, wait = time_block(trainer, fed, options.steps)
        blocks["fed"].append(step)
        blocks["wait"].append(wait)
    return {"precision": precision} | blocks


def time_block(trainer, batches, steps):
    """Milliseconds of a step, and of its waiting for a batch: means over a block."""
    waited, began = 0, time.perf_counter()
    for _ in range(steps):
        start = time.perf_counter()
        images, masks = next(batches)
        waited += time.perf_counter() - start
        trainer.train_on_batch((images, masks), masks)
    spent = time.perf_counter() - began
    return 1e3 * spent / steps, 1e3 * waited / steps


def measure(python, who, folder, arguments):
    """Runs one measurement in a process of its own."""
    peers.tell(f"{who} …")
    command = [str(python), __file__, *arguments]
    command += ["--measure", who, "--folder", str(folder)]
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONPATH": f"{peers.ROOT}:{peers.ROOT}/benchmarks",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(options):
    """Does one measurement, in the process made for it."""
    if options.measure == "steps":
        return time_steps(options)
    if options.measure in OURS:
        return time_ours(options, options.measure != OURS[0])
    return time_theirs(options, *THEIRS[options.measure])


def report_rates(rates):
    """Prints images a second, and how many times the notebook's ours are."""
    print("images a second                min    median       max")
    for who, values in rates.items():
        print(f"{who:<24} {peers.spread(values, 1)}")
    print("\ntimes the notebook's           min    median       max   target")
    for ours, theirs in itertools.product(OURS, THEIRS):
        if theirs.endswith("thread") != ours.endswith("core"):
            continue
        ratios = [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]
        target = TARGETS[theirs.split(",")[0]]
        print(f"{theirs:<24} {peers.spread(ratios, 1)}   >= {target}")


def report_steps(steps, options):
    """Prints the steps, and the share of them that waits for data."""
    print(f"\nms a step, {steps['precision']}, batch {options.step_batch}")
    for name in ("ready", "fed", "wait"):
        print(f"{name:<24} {peers.spread(steps[name])}")
    ready, fed = (statistics.median(steps[name]) for name in ("ready", "fed"))
    wait = sum(steps["wait"]) / sum(steps["fed"])
    print(f"(fed - ready) / fed {(fed - ready) / fed:.1%}, of the medians")
    print(f"wait / fed {wait:.2%}; target < {WAIT:.0%}")


def parse(arguments):
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers.add_data_flag(parser)
    for flag, default, text in (
        ("--batch", 32, "images a batch, of the rates"),
        ("--copies", 60, "names an image"),
        ("--rounds", 3, "processes of each; 0 for none"),
        ("--seconds", 5, "of each process"),
        ("--step-batch", 8, "images a training step"),
        ("--steps", 12, "a block"),
        ("--blocks", 3, "fed each way; 0 for none"),
    ):
        parser.add_argument(
            flag, type=int, default=default, help=f"{text} (default: {default})"
        )
    parser.add_argument("--precision", default="auto", help="of the training step")
    parser.add_argument(
        "--oracle",
        default=os.environ.get("CLOUDS_ORACLE", peers.ROOT / ".venv-oracle/bin/python"),
        help="Python that has albumentations 1.3.1 (default: %(default)s)",
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments):
    """Prints the rates, the steps and the ratios."""
    options = parse(arguments)
    if options.measure:
        print(json.dumps(answer(options)))
        return
    from clouds.runtime import startup

    startup.load("tensorflow")
    rates = {who: [] for who in (*OURS, *THEIRS)}
    with tempfile.TemporaryDirectory() as folder:
        prepare(options, Path(folder))
        for index in range(options.rounds):
            peers.tell(f"round {index + 1}")
            for who, values in rates.items():
                python = sys.executable if who in OURS else options.oracle
                values.append(measure(python, who, folder, arguments))
        if options.rounds:
            report_rates(rates)
        if options.blocks:
            steps = measure(sys.executable, "steps", folder, arguments)
            report_steps(steps, options)


if __name__ == "__main__":
    main(sys.argv[1:])
