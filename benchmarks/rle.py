"""Times the run-length codes against the notebook's and pycocotools', ms a mask.

Peers take turns, so that a busy machine slows all. Masks are of smooth, large
blobs, about a quarter of the pixels, as the labels are, or of noise: as many runs
as there can be. pycocotools writes the runs of COCO, which are binary and so less
to write; its time counts the copy to the column-major order that it asks for. The
ratio is that of the medians: above 1 ours is faster.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/rle.py --rounds 9
"""

import argparse
import statistics
import time

import numpy as np

from clouds import rle, schema

try:
    from pycocotools import mask as coco
except ImportError:
    coco = None

MASKS = 4


def blobs(size, generator):
    """Draws a mask of few, large, smooth blobs."""
    rows, columns = (np.linspace(0, 2 * np.pi, length) for length in size)
    height = np.zeros(size)
    for _ in range(12):
        down, along, phase = generator.uniform([-2.5, -2.5, 0], [2.5, 2.5, 2 * np.pi])
        height += np.cos(down * rows[:, None] + along * columns + phase)
    return height > np.quantile(height, 0.75)


def noise(size, generator):
    """Draws a mask each of whose pixels is set by chance."""
    return generator.random(size) < 0.5


def notebook_encode(mask):
    """The notebook's `mask2rle`, which it gives masks of 64-bit integers."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def notebook_decode(text, size):
    """The notebook's `rle2mask`, whose loop fills run after run."""
    height, width = size
    mask = np.zeros(height * width).astype(np.uint8)
    numbers = np.asarray([int(number) for number in text.split()])
    lengths = numbers[1::2]
    position = 0
    for index, start in enumerate(numbers[::2] - 1):
        mask[int(start) : int(start + lengths[index])] = 1
        position += lengths[index]
    return mask.reshape(width, height).T


def coco_encode(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))


def ways(masks):
    """What each peer is called with, both ways; refuses results that differ."""
    size = masks[0].shape
    texts = [rle.encode(mask) for mask in masks]
    for mask, text in zip(masks, texts, strict=True):
        if text != notebook_encode(mask):
            raise RuntimeError("clouds.rle and the notebook write other texts.")
        for decode in (rle.decode, notebook_decode):
            if not np.array_equal(decode(text, size), mask):
                raise RuntimeError(f"{decode.__module__} paints another mask.")
    integers = [mask.astype(np.int64) for mask in masks]
    encoders = {"clouds": (rle.encode, masks), "notebook": (notebook_encode, integers)}
    decoders = {
        "clouds": (lambda text: rle.decode(text, size), texts),
        "notebook": (lambda text: notebook_decode(text, size), texts),
    }
    if coco:
        encoders["pycocotools"] = coco_encode, masks
        decoders["pycocotools"] = coco.decode, [coco_encode(mask) for mask in masks]
    return {"encode": encoders, "decode": decoders}


def clock(call, inputs, seconds):
    """Mean milliseconds a call, over all inputs for so many seconds at least."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < seconds:
        for each in inputs:
            call(each)
        calls += len(inputs)
    return 1e3 * (time.perf_counter() - start) / calls


def compare(name, peers, options):
    """Prints a row a peer, and how its median goes into ours."""
    times = {who: [] for who in peers}
    for call, inputs in peers.values():
        call(inputs[0])
    for _ in range(options.rounds):
        for who, (call, inputs) in peers.items():
            times[who].append(clock(call, inputs, options.seconds))
    ours = statistics.median(times["clouds"])
    for who, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):9.3f} {middle:9.3f} {max(values):9.3f}"
        print(f"{name:<24} {who:<12} {spread} {middle / ours:9.1f}", flush=True)


def main():
    """Prints milliseconds and ratios of each kind of mask, size and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each peer")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn at least")
    options = parser.parse_args()
    print(f"{'ms a mask':<37} {'min':>9} {'median':>9} {'max':>9} {'/clouds':>9}")
    for kind in (blobs, noise):
        for size in (schema.GRID, schema.SUBMISSION_SIZE):
            generator = np.random.default_rng(0)
            masks = [kind(size, generator) for _ in range(MASKS)]
            for way, peers in ways(masks).items():
                shape = "x".join(map(str, size))
                compare(f"{way} {kind.__name__} {shape}", peers, options)
    if coco is None:
        print("pycocotools is not installed: it is left out.")


if __name__ == "__main__":
    main()
