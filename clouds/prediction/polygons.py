"""Masks as polygons that follow the edges of their pixels.

Masks are bool[H, W]. Points are (x, y): x to the right and y down, counted from the
top left corner of the mask, so that a pixel covers x..x+1 and y..y+1; or on the
earth (longitude, latitude) in degrees. A polygon is one 4-connected piece of the
mask: a list of rings, the outline first, then its holes. Rings are closed and
simple: the last point is the first, no other comes twice. By the shoelace formula
outlines have positive areas, holes negative ones, as GeoJSON (RFC 7946) wants it.
"""

import math

import cv2
import numpy as np

from clouds.config.fields import Box

_DIGITS = 7
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""East, south, west and north: each is the one before, turned right."""


def trace(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Traces the outlines of a mask.

    Args:
      mask: bool[H, W].

    Returns:
      The polygons, each a list of int64[N, 2].
    """
    pieces = _pieces(mask)
    edges = _edges(pieces)
    polygons = {}
    for ring, piece in _rings(edges, pieces.shape):
        polygons.setdefault(piece, []).append(ring)
    # A piece has one outline, the ring of positive area.
    return [sorted(rings, key=_area, reverse=True) for rings in polygons.values()]


def on_earth(mask: np.ndarray, box: Box) -> list[list[np.ndarray]]:
    """Traces the outlines of a mask in a plate carrée projection.

    Args:
      mask: bool[H, W].
      box: that the mask covers; it crosses the antimeridian if its east is less
        than its west, and the polygons are then cut there.

    Returns:
      The polygons, each a list of float64[N, 2], rounded to a centimetre.
    """
    west, south, east, north = box
    height, width = mask.shape
    if east > west:
        halves = [(0, width, west)]
    else:
        east += 360
        cut = (180 - west) / (east - west) * width
        halves = [(0, cut, west), (cut, width, west - 360)]
    degrees = (east - west) / width, (south - north) / height

    def placed(ring: np.ndarray, first: float, last: float, zero: float) -> np.ndarray:
        x = np.clip(ring[:, 0] + _columns(first, last).start, first, last)
        points = np.stack([zero + x * degrees[0], north + ring[:, 1] * degrees[1]], 1)
        # Up is down now: what turned right turns left.
        return points[::-1].round(_DIGITS)

    return [
        [placed(ring, *half) for ring in polygon]
        for half in halves
        # The column that is cut belongs to both halves, each clipped to its own.
        for polygon in trace(mask[:, _columns(*half[:2])])
    ]


def _columns(first: float, last: float) -> slice:
    """What lies between two places, with columns of which only a part does."""
    return slice(math.floor(round(first, 6)), math.ceil(round(last, 6)))


def _pieces(mask: np.ndarray) -> np.ndarray:
    """int64[H+2, W+2], the number of each pixel's piece; 0 outside."""
    pixels = np.pad(np.ascontiguousarray(mask, np.uint8), 1)
    return cv2.connectedComponents(pixels, connectivity=4)[1].astype(np.int64)


def _edges(pieces: np.ndarray) -> np.ndarray:
    """The directed edges of all pixels between two pieces, the pixel to their right.

    Returns:
      int64[E], sorted: piece, place of the start and direction in one number.
    """
    edges = []
    # The shift that brings a neighbour here, and the corner where this side starts.
    sides = (1, 0, 0, 0), (-1, 1, 0, 1), (-1, 0, 1, 1), (1, 1, 1, 0)
    for direction, (shift, axis, down, right) in enumerate(sides):
        neighbours = np.roll(pieces, shift, axis)
        y, x = np.nonzero((pieces != neighbours) & (pieces != 0))
        key = _key(pieces[y, x], x + right, y + down, direction, pieces.shape)
        edges.append(key)
    return np.sort(np.concatenate(edges))


def _key(piece, x, y, direction, shape):
    height, width = shape
    return ((piece * (height + 1) + y) * (width + 1) + x) * 4 + direction


def _rings(edges: np.ndarray, shape: tuple[int, int]):
    """Yields rings, int64[N, 2] on the mask without its margin, and their pieces."""
    places, direction = np.divmod(edges, 4)
    rows, x = np.divmod(places, shape[1] + 1)
    piece, y = np.divmod(rows, shape[0] + 1)
    ends = np.stack([x, y]) + _STEPS[direction].T
    following = np.full(len(edges), -1)
    # Where two pixels of a piece touch at a corner a ring turns left: it keeps to
    # the same hole, and so passes there once only.
    for turn in (1, 0, 3):
        key = _key(piece, *ends, (direction + turn) % 4, shape)
        found = np.minimum(np.searchsorted(edges, key), len(edges) - 1)
        following = np.where(edges[found] == key, found, following)
    corner = direction[following] != direction
    points = ends.T - 1
    following, seen = following.tolist(), np.zeros(len(edges), bool)
    for first in range(len(edges)):
        if seen[first]:
            continue
        ring, edge = [], first
        while True:
            ring.append(edge)
            edge = following[edge]
            if edge == first:
                break
        seen[ring] = True
        ring = np.array(ring)
        ring = points[ring[corner[ring]]]
        yield np.concatenate([ring, ring[:1]]), int(piece[first])


def _area(ring: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2
