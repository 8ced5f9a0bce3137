"""Slow, obvious twins of the vectorised code, and the planes that vex it.

Masks are bool[H, W], probabilities float[H, W]: one plane at a time. `by_plane` calls
them on all planes of a batch.
"""

import cv2
import numpy as np
import tensorflow as tf


def components(mask: np.ndarray, connectivity: int = 8) -> np.ndarray:
    """Numbers the components with OpenCV: int32[H, W], 0 on the background."""
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)[1]


def clean(probabilities: np.ndarray, threshold: float, min_size: float) -> np.ndarray:
    """Adds the large components to an empty mask, one by one."""
    numbers = components(probabilities > threshold)
    kept = np.zeros(numbers.shape, bool)
    for number in range(1, numbers.max(initial=0) + 1):
        component = numbers == number
        if component.sum() > min_size:
            kept |= component
    return kept


def clean_triplet(probabilities, threshold, min_size, top, scope) -> np.ndarray:
    """As `clean`, and asks each component, or the image, for a pixel above the top."""
    numbers = components(probabilities > threshold)
    kept = np.zeros(numbers.shape, bool)
    for number in range(1, numbers.max(initial=0) + 1):
        component = numbers == number
        asked = probabilities[component] if scope == "component" else probabilities
        if component.sum() > min_size and asked.max() > top:
            kept |= component
    return kept


def encode(mask: np.ndarray) -> str:
    """Walks down the columns, pixel by pixel, and notes each run as it ends."""
    height, width = mask.shape
    words, length = [], 0
    for place in range(height * width):
        column, row = divmod(place, height)
        if mask[row, column]:
            length += 1
        elif length:
            words += [place - length + 1, length]
            length = 0
    if length:
        words += [height * width - length + 1, length]
    return " ".join(map(str, words))


def by_plane(function, *batches):
    """Calls a twin on each plane of [B, H, W, C] and stacks what it returns."""
    return np.stack(
        [
            np.stack(
                [
                    function(
                        image[..., label], *(limits[label] for limits in batches[1:])
                    )
                    for label in range(image.shape[-1])
                ],
                axis=-1,
            )
            for image in batches[0]
        ]
    )


def checkerboard(height: int, width: int) -> np.ndarray:
    """Every other pixel: one component of 8, and height * width / 2 of 4."""
    return np.indices((height, width)).sum(0) % 2 == 0


def diagonals(height: int, width: int) -> np.ndarray:
    """Lines one pixel wide, four apart, that join by their corners only."""
    rows, columns = np.indices((height, width))
    return (rows - columns) % 4 == 0


def comb(height: int, width: int) -> np.ndarray:
    """Teeth on every other row, which join in the last column."""
    mask = np.zeros((height, width), bool)
    mask[::2] = True
    mask[:, -1:] = True
    return mask


def serpentine(height: int, width: int) -> np.ndarray:
    """One path to and fro along every other row."""
    mask = np.zeros((height, width), bool)
    mask[::2] = True
    mask[1::4, -1:] = True
    mask[3::4, :1] = True
    return mask


def spiral(height: int, width: int) -> np.ndarray:
    """One path from the rim to the middle, one pixel wide and one apart."""
    mask = np.zeros((height + 4, width + 4), bool)
    free = np.pad(np.ones((height, width), bool), 2)
    row, column, step = 2, 2, (0, 1)
    mask[row, column] = free[row, column]
    turns = 0
    while turns < 2:
        ahead = row + step[0], column + step[1]
        beyond = ahead[0] + step[0], ahead[1] + step[1]
        if free[ahead] and not mask[beyond] and not mask[ahead]:
            row, column = ahead
            mask[row, column] = True
            turns = 0
        else:
            step = step[1], -step[0]
            turns += 1
    return mask[2:-2, 2:-2]


NASTY = {
    plane.__name__: plane
    for plane in (checkerboard, diagonals, comb, serpentine, spiral)
}


def found(probabilities: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> set:
    """Looks at each component of each level by itself.

    Args:
      probabilities: float32[B, H, W, C].
      truth: uint8[B, H, W, C].
      levels: float[T, C].

    Returns:
      Tuples (image, label, level, area, intersection, reach, pixel), the last the
      component's first pixel, to tell twins apart.
    """
    rows = set()
    levels = levels.astype(np.float32)
    for image, label in np.ndindex(len(probabilities), levels.shape[1]):
        plane = probabilities[image, ..., label]
        for level, limit in enumerate(levels[:, label]):
            count, numbers, stats, _ = cv2.connectedComponentsWithStats(
                (plane > limit).astype(np.uint8), connectivity=8
            )
            for number in range(1, count):
                component = numbers == number
                reach = (plane[component].max() > levels[:, label]).sum() - 1
                area = stats[number, cv2.CC_STAT_AREA]
                shared = (component & (truth[image, ..., label] > 0)).sum()
                first = component.T.ravel().argmax()
                rows.add((image, label, level, area, shared, reach, first))
    return rows


def presence(probabilities):
    """Means over the highest 17,500 of 350x525 pixels, or the same share: [B, C]."""
    planes = np.sort(probabilities.reshape(len(probabilities), -1, 4), axis=1)
    top = max(round(17500 / (350 * 525) * planes.shape[1]), 1)
    return planes[:, -top:].mean(axis=1)


def blobs(batch=3, height=23, width=31, labels=4, seed=0):
    """Blobs and noise, in quarters of a hundredth so that ties come up."""
    noise = np.random.default_rng(seed).random((batch, height // 4, width // 4, labels))
    blobs = tf.image.resize(noise, (height, width)).numpy()
    noise = np.random.default_rng(seed + 1).random(blobs.shape)
    return (np.round((0.8 * blobs + 0.2 * noise) * 400) / 400).astype(np.float32)


def maps(count, height=12, width=15, labels=2, blur=1.5, seed=0):
    """Probabilities and a truth that goes with them, some planes of either empty.

    float32 and uint8[count, height, width, labels].
    """
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal((2, count, height, width, labels)).astype("f4")
    if blur:
        planes = noise.transpose(0, 1, 4, 2, 3).reshape(-1, height, width)
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), blur) for plane in planes])
        noise = planes.reshape(2, count, labels, height, width).transpose(0, 1, 3, 4, 2)
        noise = np.ascontiguousarray(noise / noise.std())
    probabilities = 1 / (1 + np.exp(-1.5 * noise[0]))
    truth = noise[0] + noise[1] > 0.5
    truth[::3, ..., 0] = False
    probabilities[1::4, ..., -1] = 0
    return probabilities, truth.astype(np.uint8)


def painted(traced, shape):
    """Draws polygons by the even-odd rule.

    The centre of a pixel inside has an odd number of edges to its left.
    """
    centres_x = np.arange(shape[1]) + 0.5
    centres_y = np.arange(shape[0]) + 0.5
    inside = np.zeros(shape, bool)
    for polygon in traced:
        for ring in polygon:
            for (x1, y1), (x2, y2) in zip(ring[:-1], ring[1:], strict=True):
                crosses = (centres_y > min(y1, y2)) & (centres_y < max(y1, y2))
                if x1 == x2:
                    inside ^= crosses[:, None] & (centres_x > x1)
    return inside
