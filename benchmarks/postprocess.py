"""Times probabilities to text: this package, the notebook, and the best of OpenCV.

Batches of [16, 320, 480, 4] to run-length text at 350x525, threshold 0.5, minimum area
10000: `clouds.postprocess.apply`, the function that predictions and exports use, in a
graph; the notebook's loop over components at 320x480, its resizing and its mask2rle;
and resizing, thresholding, `connectedComponentsWithStats`, a look-up table and a
vectorised NumPy encoder, which give the same text as this package except for pixels at
the threshold. Each gets the probabilities where its network leaves them: in a tensor of
the graph, or in a NumPy array; one more row includes the copy from such an array. Each
uses its default threads; a second row of OpenCV uses one thread per core, one image
each.
Peers take turns in one process, and a ratio is of one round.

Kinds of probabilities: `predictions`, what a trained run predicts for the validation
images of its records, resized to 320x480 (with --run and --records, such as those of
bin/quickstart); `smooth` and `noisy`, synthetic ones; and `half, smooth`, `half,
medium` and `half, noisy`, where half of the pixels exceed the threshold, without
resizing at the end.

Then this package alone, with growing pixels, components and batches.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/postprocess.py --rounds 10
  PYTHONPATH=. .venv/bin/python benchmarks/postprocess.py --batch 64 \
    --run runs/quickstart --records tfrecords/quickstart
"""

import argparse
import concurrent.futures
import functools
import os
import time

import cv2
import numpy as np
from lib import notebook, peers
from lib.notebook import MIN_SIZE, NETWORK, SUBMISSION, THRESHOLD

from clouds.runtime import startup

TARGETS = {("predictions", "notebook"): 3, ("predictions", "OpenCV"): 3}
"""Times as fast as a peer; 1 with other kinds."""

HALVES = {"smooth": 40, "medium": 8, "noisy": 1}
"""Width of the blur, in pixels, of planes with half of the pixels set."""


def smooth(generator, batch, size=NETWORK, scale=40):
    """Probabilities as of a trained network: few large blobs with soft borders."""
    noise = generator.normal(size=(4 * batch, *size)).astype(np.float32)
    maps = np.stack([cv2.GaussianBlur(plane, (0, 0), scale) for plane in noise])
    maps /= maps.std(axis=(1, 2), keepdims=True)
    maps = 1 / (1 + np.exp(3 - 4 * maps))
    return np.ascontiguousarray(maps.reshape(batch, 4, *size).transpose(0, 2, 3, 1))


def noisy(generator, batch, size=NETWORK):
    """Probabilities as of an unsure network: the same, with specks all over."""
    maps = smooth(generator, batch, size)
    specks = generator.normal(size=maps.shape).astype(np.float32)
    specks = np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in specks])
    return np.clip(maps + 0.8 * specks, 0, 1)


def half_set(generator, batch, scale):
    """Probabilities of which half exceed the threshold."""
    noise = generator.normal(size=(batch * 4, *NETWORK)).astype(np.float32)
    maps = np.stack([cv2.GaussianBlur(plane, (0, 0), scale) for plane in noise])
    maps /= maps.std(axis=(1, 2), keepdims=True)
    maps = 1 / (1 + np.exp(-4 * maps)).reshape(batch, 4, *NETWORK)
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


def predicted(run, records, count):
    """What a run predicts for validation images, at 320x480."""
    from clouds.evaluation import held_out

    found = []
    for batch in held_out.load([run], records).batches("predict"):
        found += [cv2.resize(image, NETWORK[::-1]) for image in batch.probabilities]
    if len(found) < count:
        raise SystemExit(f"{records} has {len(found)} validation images, not {count}.")
    return np.stack(found[:count])


def opencv_image(image, size=SUBMISSION):
    """The best of OpenCV and NumPy, for one image."""
    masks = cv2.resize(image, size[::-1]) > THRESHOLD
    texts = []
    for mask in cv2.split(masks.view(np.uint8)):
        # Turned first: OpenCV turns faster than NumPy, and components are the same.
        _, components, stats, _ = cv2.connectedComponentsWithStats(cv2.transpose(mask))
        large = stats[:, cv2.CC_STAT_AREA] > MIN_SIZE
        large[0] = False
        if not large.any():
            texts.append("")
            continue
        kept = large[components].reshape(-1)
        borders = np.flatnonzero(np.diff(kept, prepend=False, append=False))
        borders[1::2] -= borders[::2]
        borders[::2] += 1
        texts.append(" ".join(map(str, borders.tolist())))
    return texts


def opencv(batch, size=SUBMISSION):
    """A text for each image and label, one image after the other."""
    return [opencv_image(image, size) for image in batch]


def opencv_threads(pool, size, batch):
    """The same, an image a thread; OpenCV lets go of Python's lock."""
    return list(pool.map(functools.partial(opencv_image, size=size), batch))


@functools.cache
def graph(min_size, size):
    """The function that predictions use, traced once."""
    import tensorflow as tf

    from clouds.config.rule import Rule
    from clouds.postprocess import apply

    rule = Rule(thresholds=(THRESHOLD,) * 4, min_sizes=(min_size,) * 4, gap=False)

    @tf.function(reduce_retracing=True)
    def encode(batch):
        images = tf.zeros([tf.shape(batch)[0], 1, 1, 3], tf.uint8)
        return apply(batch, rule, images, size, outputs=("rle",))["rle"]

    return encode


def ours(batch, size=SUBMISSION):
    """One graph."""
    return graph(MIN_SIZE, size)(batch).numpy().astype(str)


def clock(action, batch):
    """Milliseconds an image."""
    start = time.perf_counter()
    action(batch)
    return 1e3 * (time.perf_counter() - start) / len(batch)


def agree(batch, size):
    """The share of texts that are the same as OpenCV's."""
    return float(np.mean(ours(batch, size) == np.array(opencv(batch, size))))


def compare(kind, batch, rounds, size=SUBMISSION):
    """Prints a row a peer, and the ratios to ours."""
    import tensorflow as tf

    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    tensor = tf.constant(batch)
    actions = {
        "clouds": lambda _: ours(tensor, size),
        "clouds, from NumPy": lambda batch: ours(batch, size),
        "notebook": lambda batch: notebook.texts(batch, size),
        "OpenCV": lambda batch: opencv(batch, size),
        "OpenCV, threads": functools.partial(opencv_threads, pool, size),
    }
    times = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            times[name].append(clock(action, batch))
    times = {name: values[1:] for name, values in times.items()}
    print(f"{kind}: {agree(batch, size):.1%} of the texts are OpenCV's, to the letter")
    print("ms an image                    min    median       max")
    for name, values in times.items():
        print(f"{name:<24} {peers.spread(values)}")
    for name in list(times)[1:]:
        ratios = [a / b for a, b in zip(times[name], times["clouds"], strict=True)]
        is_peer = name in ("notebook", "OpenCV")
        note = f"   target >= {TARGETS.get((kind, name), 1)}" if is_peer else ""
        print(f"{f'{name} / clouds':<24} {peers.spread(ratios)}{note}")
    print()


def grow(generator, rounds):
    """Prints how our time grows."""
    print("ours alone               pixels   components   batch   ms an image")
    cases = [
        (f"{height}x{width}", smooth(generator, 8, (height, width)))
        for height, width in ((160, 240), (320, 480), (640, 960))
    ]
    cases += [
        (f"blobs of {scale} pixels", smooth(generator, 8, scale=scale))
        for scale in (40, 10, 3, 1)
    ]
    cases += [
        (f"batch of {count}", smooth(generator, count)) for count in (1, 4, 16, 64)
    ]
    for name, batch in cases:
        size = batch.shape[1:3]

        def clean(batch, size=size):
            return graph(0, size)(batch).numpy()

        clean(batch)
        spent = min(clock(clean, batch) for _ in range(rounds))
        planes = (batch > THRESHOLD).transpose(0, 3, 1, 2).reshape(-1, *size)
        count = np.mean(
            [cv2.connectedComponents(plane.astype(np.uint8))[0] - 1 for plane in planes]
        )
        pixels = size[0] * size[1]
        print(f"{name:<22} {pixels:8} {count:12.1f} {len(batch):7} {spent:13.2f}")


def main():
    """Compares, then grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns of each peer")
    parser.add_argument("--batch", type=int, default=16, help="images a batch")
    parser.add_argument("--run", help="folder of a run, for real predictions")
    parser.add_argument("--records", help="folder of its records")
    options = parser.parse_args()
    startup.load("tensorflow")
    generator = np.random.default_rng(0)
    if options.run:
        batch = predicted(options.run, options.records, options.batch)
        compare("predictions", batch, options.rounds)
    for kind, make in (("smooth", smooth), ("noisy", noisy)):
        compare(kind, make(generator, options.batch), options.rounds)
    for kind, scale in HALVES.items():
        batch = half_set(generator, options.batch, scale)
        compare(f"half, {kind}", batch, options.rounds, NETWORK)
    grow(generator, options.rounds)


if __name__ == "__main__":
    main()
