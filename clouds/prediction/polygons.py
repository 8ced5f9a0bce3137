"""Masks as polygons along the edges of their pixels.

Masks are bool[H, W]. Points are (x, y), x to the right and y down from the top left
corner, so that a pixel covers x..x+1 and y..y+1; or (longitude, latitude) in degrees. A
polygon is one 4-connected component of the mask: a list of rings, the outline first,
then its holes. Rings are closed and simple: the last point is the first, no other is
repeated. By the shoelace formula outlines have positive areas and holes negative ones,
as in GeoJSON (RFC 7946).
"""

import math

import cv2
import numpy as np

from clouds.config.fields import Box

_DIGITS = 7
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""East, south, west and north: each is a right turn from the one before."""


def trace(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Traces the outlines of a mask.

    Args:
      mask: bool[H, W].

    Returns:
      The polygons, each a list of int64[N, 2].
    """
    components = _components(mask)
    edges = _edges(components)
    polygons = {}
    for ring, component in _rings(edges, components.shape):
        polygons.setdefault(component, []).append(ring)
    # A component has one outline, the ring of positive area.
    return [sorted(rings, key=_area, reverse=True) for rings in polygons.values()]


def trace_in_degrees(mask: np.ndarray, box: Box) -> list[list[np.ndarray]]:
    """Traces the outlines of a mask in plate carrée projection.

    Args:
      mask: bool[H, W].
      box: bounding box of the mask; it crosses the antimeridian if its east is below
        its west, and the polygons are then cut there.

    Returns:
      The polygons, each a list of float64[N, 2], rounded to a centimetre.
    """
    west, south, east, north = box
    west, east = -180 if west == 180 else west, 180 if east == -180 else east
    height, width = mask.shape
    if east > west:
        halves = [(0, width, west)]
    else:
        east += 360
        cut = (180 - west) / (east - west) * width
        halves = [(0, cut, west), (cut, width, west - 360)]
    degrees = (east - west) / width, (south - north) / height

    def convert(ring: np.ndarray, first: float, last: float, zero: float) -> np.ndarray:
        x = np.clip(ring[:, 0] + _columns(first, last).start, first, last)
        points = np.stack([zero + x * degrees[0], north + ring[:, 1] * degrees[1]], 1)
        # The y axis is reversed, and so is the orientation of the ring.
        return points[::-1].round(_DIGITS)

    return [
        [convert(ring, *half) for ring in polygon]
        for half in halves
        # The column that is cut is part of both halves, each of which clips it.
        for polygon in trace(mask[:, _columns(*half[:2])])
    ]


def _columns(first: float, last: float) -> slice:
    """Returns the columns between two positions, including partial ones."""
    return slice(math.floor(round(first, 6)), math.ceil(round(last, 6)))


def _components(mask: np.ndarray) -> np.ndarray:
    """Returns the number of each pixel's component, int64[H+2, W+2]; 0 outside."""
    pixels = np.pad(np.ascontiguousarray(mask, np.uint8), 1)
    return cv2.connectedComponents(pixels, connectivity=4)[1].astype(np.int64)


def _edges(components: np.ndarray) -> np.ndarray:
    """Returns the directed edges between components, with the pixel to their right.

    Returns:
      int64[E], sorted: component, start and direction in one number.
    """
    edges = []
    # The shift to the neighbour, and the corner where this side starts.
    sides = (1, 0, 0, 0), (-1, 1, 0, 1), (-1, 0, 1, 1), (1, 1, 1, 0)
    for direction, (shift, axis, down, right) in enumerate(sides):
        neighbours = np.roll(components, shift, axis)
        y, x = np.nonzero((components != neighbours) & (components != 0))
        component = components[y, x]
        start = x + right, y + down
        edges.append(_key(component, *start, direction, components.shape))
    return np.sort(np.concatenate(edges))


def _key(component, x, y, direction, shape):
    height, width = shape
    return ((component * (height + 1) + y) * (width + 1) + x) * 4 + direction


def _rings(edges: np.ndarray, shape: tuple[int, int]):
    """Yields rings, int64[N, 2] without the margin, with their components."""
    starts, direction = np.divmod(edges, 4)
    rows, x = np.divmod(starts, shape[1] + 1)
    component, y = np.divmod(rows, shape[0] + 1)
    ends = np.stack([x, y]) + _STEPS[direction].T
    following = np.full(len(edges), -1)
    # Where two pixels of a component touch at a corner, a ring turns left: it follows
    # the same hole, and so passes the corner only once.
    for turn in (1, 0, 3):
        key = _key(component, *ends, (direction + turn) % 4, shape)
        nearest = np.minimum(np.searchsorted(edges, key), len(edges) - 1)
        following = np.where(edges[nearest] == key, nearest, following)
    corner = direction[following] != direction
    points = ends.T - 1
    following, visited = following.tolist(), np.zeros(len(edges), bool)
    for first in range(len(edges)):
        if visited[first]:
            continue
        ring, edge = [], first
        while True:
            ring.append(edge)
            edge = following[edge]
            if edge == first:
                break
        visited[ring] = True
        ring = np.array(ring)
        ring = points[ring[corner[ring]]]
        yield np.concatenate([ring, ring[:1]]), int(component[first])


def _area(ring: np.ndarray) -> float:
    """Returns the signed area, by the shoelace formula."""
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2
