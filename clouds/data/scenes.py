"""Procedural scenes of shallow clouds with true masks: the sample data.

Images are uint8[H, W, 3], RGB; masks are bool[H, W, 4], one channel per label in the
order of `schema.CLOUDS`. A mask is a union of one to three rectangles without the
orbit gap. Pixels of the gap are exactly (0, 0, 0), all others are 1 or more.

Positions are fractions of the height and width, lengths of textures are fractions of
the short side, so that a seed gives the same scene at every size of one aspect ratio.
A field gives the depth of the clouds: clear at 0 and below, fully cloudy from 1.
"""

from typing import NamedTuple

import cv2
import numpy as np

from clouds import schema
from clouds.errors import InputError

SMALLEST_SIDE = 32
"""Minimum height and width of a scene in pixels."""

_CANVAS = 256
"""Minimum short side on which textures are drawn before they are averaged down."""
_SKETCH = 256
"""Short side on which skeletons and soft shapes are drawn before they are scaled."""
_COUNT_ODDS = (0.03, 0.22, 0.41, 0.28, 0.06)
"""Probabilities of 0, 1, 2, 3 and 4 labels in a scene, close to the competition's."""

_Rng = np.random.Generator
_Shape = tuple[int, int]


class _Box(NamedTuple):
    top: float
    left: float
    bottom: float
    right: float


class _Gap(NamedTuple):
    top: tuple[float, float]
    bottom: tuple[float, float]


def scene(
    seed: int, size: tuple[int, int] = (350, 525)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the scene of a seed.

    Args:
      seed: number of the scene, from 0.
      size: height and width in pixels, each at least `SMALLEST_SIDE`.

    Returns:
      The image, uint8[H, W, 3] in RGB, and its masks, bool[H, W, 4]. The same
      seed and size give the same bytes.

    Raises:
      InputError: The seed is negative or no integer, or the size is no pair of
        integers, or is too small.
    """
    height, width = _checked(seed, size)
    layout, paint, grain = np.random.default_rng(seed).spawn(3)
    gap = _draw_gap(layout)
    areas = _draw_areas(layout, gap)
    hidden = _wedge(gap, (height, width))
    masks = np.stack([_raster(boxes, (height, width)) for boxes in areas], axis=-1)

    enlarge = -(-_CANVAS // min(height, width))
    image = _paint(paint, areas, (height * enlarge, width * enlarge))
    if enlarge > 1:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image += 2.2 * grain.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(np.rint(image), 1, 255).astype(np.uint8)
    image[hidden] = 0
    return image, masks & ~hidden[..., None]


def _checked(seed: int, size: tuple[int, int]) -> _Shape:
    integers = (int, np.integer)
    if not isinstance(seed, integers) or seed < 0:
        raise InputError(
            f"Seed of a scene must be an integer from 0 up. Received: {seed!r}. "
            "Count the scenes from 0."
        )
    pair = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(n, integers) for n in pair):
        raise InputError(
            "Size of a scene must be two integers, height and width. "
            f"Received: {size!r}. Pass for example size=(350, 525)."
        )
    if min(pair) < SMALLEST_SIDE:
        raise InputError(
            f"Height and width of a scene must be at least {SMALLEST_SIDE} pixels. "
            f"Received: {size!r}. Draw a larger scene and scale it down."
        )
    return int(pair[0]), int(pair[1])


def _draw_gap(rng: _Rng) -> _Gap | None:
    present = rng.random() < 0.6
    slant = rng.uniform(0.06, 0.16) * rng.choice([-1, 1])
    centre = rng.uniform(-0.02, 1.02)
    halves = rng.uniform(0.015, 0.03), rng.uniform(0.04, 0.07)
    upper, lower = rng.permutation(halves)
    if not present:
        return None
    above, below = centre - slant / 2, centre + slant / 2
    return _Gap((above - upper, above + upper), (below - lower, below + lower))


def _draw_areas(rng: _Rng, gap: _Gap | None) -> list[list[_Box]]:
    """Lists the boxes of each label: little overlap, no small remainders."""
    areas = [[] for _ in schema.CLOUDS.labels]
    grid = schema.SUBMISSION_SIZE
    hidden = _wedge(gap, grid)
    taken = np.zeros(grid, bool)
    for label in rng.permutation(len(areas))[: rng.choice(5, p=_COUNT_ODDS)]:
        least = np.inf
        for _ in range(30):
            boxes = _draw_boxes(rng)
            seen = _raster(boxes, grid) & ~hidden
            overlap = (seen & taken).sum() / max(seen.sum(), 1)
            if overlap < least and _fits(seen):
                least, areas[label] = overlap, boxes
            if least < 0.1:
                break
        taken |= _raster(areas[label], grid)
    return areas


def _draw_boxes(rng: _Rng) -> list[_Box]:
    count = rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])
    boxes = []
    for share in rng.uniform(0.1, 0.36, count) / count**0.5:
        tall = 2 ** rng.uniform(-1, 1)
        height, width = min((share * tall) ** 0.5, 1), min((share / tall) ** 0.5, 1)
        # Partly outside and clipped, since many labelled areas end at the border.
        top = np.clip(rng.uniform(-0.15, 1.15 - height), 0, 1 - height)
        left = np.clip(rng.uniform(-0.15, 1.15 - width), 0, 1 - width)
        boxes.append(_Box(top, left, top + height, left + width))
    return boxes


def _fits(mask: np.ndarray) -> bool:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    parts = stats[1:, cv2.CC_STAT_AREA] / mask.size
    return len(parts) > 0 and parts.min() > 0.07 and parts.sum() < 0.45


def _raster(boxes: list[_Box], shape: _Shape) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for box in boxes:
        rows = slice(round(box.top * shape[0]), round(box.bottom * shape[0]))
        columns = slice(round(box.left * shape[1]), round(box.right * shape[1]))
        mask[rows, columns] = True
    return mask


def _wedge(gap: _Gap | None, shape: _Shape) -> np.ndarray:
    if gap is None:
        return np.zeros(shape, bool)
    y, x = _positions(shape)
    left, right = (
        above + y * (below - above)
        for above, below in zip(gap.top, gap.bottom, strict=True)
    )
    return (x >= left) & (x < right)


def _positions(shape: _Shape) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centres of the pixels, float32[H, 1] and float32[1, W] in 0..1."""
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n for n in shape)
    return y[:, None], x[None]


def _paint(rng: _Rng, areas: list[list[_Box]], shape: _Shape) -> np.ndarray:
    """Draws everything except gap and noise, float32[H, W, 3] in 0..255."""
    light, far, *streams = rng.spawn(2 + len(areas))
    inside = np.zeros(shape, np.float32)
    cover = np.zeros(shape, np.float32)
    for label, boxes, stream in zip(schema.CLOUDS.labels, areas, streams, strict=True):
        if boxes:
            within = _within(boxes, shape)
            field, opacity = _PATTERNS[label](stream, shape)
            cover = np.maximum(cover, opacity * _smooth(field - 3 * (1 - within)))
            inside = np.maximum(inside, within)
    stray = 0.75 * _smooth(_stray(far, shape) - 3 * inside)
    cover = np.maximum(cover, stray)
    mist = cv2.resize(cover, _sketch_shape(shape)[::-1], interpolation=cv2.INTER_AREA)
    mist = _scaled(cv2.GaussianBlur(mist, (0, 0), 0.013 * _SKETCH), shape)
    return _lit(light, np.maximum(cover, cover * 0.8 + mist * 0.3), shape)


def _smooth(field: np.ndarray) -> np.ndarray:
    clipped = np.clip(field, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def _within(boxes: list[_Box], shape: _Shape) -> np.ndarray:
    """Returns 1 inside the boxes and 0 outside, with a narrow soft border."""
    mask = _raster(boxes, _sketch_shape(shape)).astype(np.float32)
    return _scaled(cv2.GaussianBlur(mask, (0, 0), 0.01 * _SKETCH), shape)


def _sketch_shape(shape: _Shape, side: int = _SKETCH) -> _Shape:
    return tuple(round(n / min(shape) * side) for n in shape)


def _scaled(values: np.ndarray, shape: _Shape) -> np.ndarray:
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _noise(rng: _Rng, shape: _Shape, cell: float, octaves: int = 1) -> np.ndarray:
    """Draws noise of mean 0 and standard deviation 1, with grains up to `cell` wide."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = [max(2, round(n / min(shape) / cell * 2**octave)) for n in shape]
        grains = rng.standard_normal(grid, dtype=np.float32)
        grains = cv2.resize(grains, shape[::-1], interpolation=cv2.INTER_CUBIC)
        total += 0.6**octave * grains
    return total / total.std()


def _distance(rng: _Rng, sketch: np.ndarray, shape: _Shape) -> np.ndarray:
    """Returns the distance of each pixel from a drawing, slightly distorted."""
    blank = np.where(sketch, 0, 1).astype(np.uint8)
    distance = cv2.distanceTransform(blank, cv2.DIST_L2, 5) / _SKETCH
    y, x = np.mgrid[: sketch.shape[0], : sketch.shape[1]].astype(np.float32)
    dy, dx = (0.008 * _SKETCH * _noise(rng, sketch.shape, 0.09, 3) for _ in "yx")
    bent = cv2.remap(
        distance, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(bent, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _dots(points: np.ndarray, shape: _Shape) -> np.ndarray:
    """Draws points [N, 2] (y and x as fractions of the short side) on a sketch."""
    sketch = np.zeros(_sketch_shape(shape), np.uint8)
    y, x = np.floor(points * _SKETCH).astype(int).T
    kept = (y >= 0) & (y < sketch.shape[0]) & (x >= 0) & (x < sketch.shape[1])
    sketch[y[kept], x[kept]] = 1
    return sketch


def _fish(rng: _Rng, shape: _Shape) -> tuple[np.ndarray, float]:
    """Fish: skeletons of long wavy spines with ribs, clear sky between them."""
    tall, wide = np.divide(shape, min(shape))
    period, tilt = rng.uniform(0.21, 0.26), rng.uniform(-0.25, 0.25)
    lean = rng.uniform(0.3, 1.0) * rng.choice([-1, 1])
    x = np.arange(-0.1, wide + 0.1, 0.035)
    sketch = np.zeros(_sketch_shape(shape), np.uint8)
    beyond = 0.1 + 0.125 * wide
    for row in np.arange(-beyond - rng.uniform(0, period), tall + beyond, period):
        wave = 0.02 * np.sin(rng.uniform(4, 9) * x + rng.uniform(0, 6.3))
        spine = np.stack([x, row + tilt * (x - wide / 2) + wave], axis=-1)
        lines = [spine]
        for side in (-1, 1):
            reach = rng.uniform(0.01, 0.085, (len(x), 1))
            lines += list(np.stack([spine, spine + reach * [lean, side]], axis=1))
        cv2.polylines(sketch, [np.int32(line * _SKETCH) for line in lines], False, 1)
    ragged = 0.5 * _noise(rng, shape, 0.07, 4) + 0.35 * _noise(rng, shape, 0.016, 2)
    return (0.012 - _distance(rng, sketch, shape)) / 0.013 + ragged, 0.85


def _flower(rng: _Rng, shape: _Shape) -> tuple[np.ndarray, float]:
    """Flower: large stratiform cells with clear rings around them."""
    tall, wide = np.divide(shape, min(shape))
    period = rng.uniform(0.18, 0.23)
    y, x = np.mgrid[-period : tall + period : period, -period : wide + period : period]
    x[1::2] += period / 2
    points = np.stack([y.ravel(), x.ravel()], axis=-1)
    points += rng.uniform(0, period, 2)
    points += rng.uniform(-0.22, 0.22, points.shape) * period
    depth = 0.39 - _distance(rng, _dots(points, shape), shape) / period
    return (depth + 0.1 * _noise(rng, shape, 0.09, 5)) / 0.25, 0.95


def _gravel(rng: _Rng, shape: _Shape) -> tuple[np.ndarray, float]:
    """Gravel: grains along wide arcs, as behind gust fronts."""
    middle = np.divide(shape, 2 * min(shape))
    heading, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.8)
    centre = middle + far * np.array([np.sin(heading), np.cos(heading)])
    arcs = []
    for radius in np.arange(0.1, far + np.hypot(*middle), rng.uniform(0.07, 0.085)):
        turn = np.arange(0, 2 * np.pi, 0.033 / radius)
        arcs.append(radius * np.stack([np.sin(turn), np.cos(turn)], axis=-1))
    points = centre + np.concatenate(arcs)
    points = points[rng.random(len(points)) < 0.85]
    points += rng.normal(0, 0.006, points.shape)
    ragged = 0.35 * _noise(rng, shape, 0.05, 3) + 0.3 * _noise(rng, shape, 0.016)
    return (0.0165 - _distance(rng, _dots(points, shape), shape)) / 0.015 + ragged, 0.9


def _sugar(rng: _Rng, shape: _Shape) -> tuple[np.ndarray, float]:
    """Sugar: fine puffs, evenly distributed."""
    puffs = _noise(rng, shape, 0.012) + 0.3 * _noise(rng, shape, 0.1, 2)
    return (puffs - 0.55) / 1.5, 0.7


_PATTERNS = {"Fish": _fish, "Flower": _flower, "Gravel": _gravel, "Sugar": _sugar}


def _stray(rng: _Rng, shape: _Shape) -> np.ndarray:
    """Scattered clouds without a pattern."""
    lumps = 0.8 * _noise(rng, shape, 0.35, 2) + _noise(rng, shape, 0.07, 4)
    return (lumps - rng.uniform(1.2, 2.2)) / 1.6


def _cirrus(rng: _Rng, shape: _Shape) -> np.ndarray:
    tall, wide = _sketch_shape(shape, 64)
    side = int(np.ceil(np.hypot(tall, wide)))
    streaks = cv2.resize(
        rng.standard_normal((side // 5, side // 40 + 2), dtype=np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-60, 60), 1)
    turn[:, 2] += (wide - side) / 2, (tall - side) / 2
    streaks = cv2.warpAffine(streaks, turn, (wide, tall))
    veil = np.clip(streaks - 0.2 + 0.6 * _noise(rng, (tall, wide), 0.7), 0, None)
    return _scaled(0.12 * np.minimum(veil, 2), shape)


def _lit(rng: _Rng, cover: np.ndarray, shape: _Shape) -> np.ndarray:
    """Composes clouds, sea with sun glint, cirrus, and haze towards the sides."""
    y, x = _positions(shape)
    sea = (rng.uniform(0.7, 1.2) * np.array([12, 18, 35])).astype(np.float32)
    cast = rng.uniform(0.96, 1.0, 3).astype(np.float32)
    strength = rng.uniform(0.12, 0.34) * (rng.random() < 0.5)
    middle, lean, width = rng.uniform([0.1, -0.25, 0.06], [0.9, 0.25, 0.14]).tolist()
    glint = strength * np.exp(-(((x - middle - lean * (y - 0.5)) / width) ** 2) / 2)
    haze = rng.uniform(0.03, 0.12) * np.abs(2 * x - 1) ** 2
    veil = _cirrus(rng, shape) * (rng.random() < 0.4)

    white = cover * (0.9 + 0.12 * _noise(rng, shape, 0.04, 3))
    image = (1 - np.clip(white + veil, 0, 1))[..., None] * sea
    image += (glint * (1 - cover))[..., None] * np.float32([200, 195, 185])
    image += (haze * (1 - cover))[..., None] * np.float32([110, 150, 200])
    image += (white + veil)[..., None] * (245 * cast)
    return image
