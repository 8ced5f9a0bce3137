"""Values of the maps along a trajectory, such as that of a ship."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clouds.climatology.scenes import Scene
from clouds.errors import InputError
from clouds.geo import tables
from clouds.runtime import archives, files, progress

_COLUMNS = ("time", "lat", "lon")


def read(path: str) -> list[tuple[np.datetime64, float, float]]:
    """Reads a trajectory.

    Args:
      path: csv with the columns time (ISO 8601, UTC), lat and lon (degrees).

    Returns:
      Time as datetime64[s], latitude and longitude of each point.

    Raises:
      InputError: the csv cannot be read, lacks a column, or a value is impossible.
    """
    content = archives.decompress(
        archives.read(path, "The csv of the trajectory"), path
    )
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path}, row 1: no column {missing[0]}. Expected time, lat and lon."
            )
        points = [_point(row, f"{path}, row {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a csv in UTF-8 ({error}). Save it as such."
        ) from error
    if not points:
        raise InputError(f"{path} has no points. It needs a row for each.")
    return points


def _point(row: dict, where: str) -> tuple[np.datetime64, float, float]:
    try:
        time = tables.to_utc((row["time"] or "").strip()).removesuffix("Z")
        latitude, longitude = float(row["lat"]), float(row["lon"])
    except (ValueError, TypeError, OverflowError):
        received = ", ".join(str(row[name]) for name in _COLUMNS)
        raise InputError(
            f"{where}: time must be as 2015-02-05T13:30Z, lat and lon numbers. "
            f"Received: {received}."
        ) from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 360):
        raise InputError(
            f"{where}: lat must be from -90 to 90, lon from -180 to 360. Received: "
            f"{latitude:g}, {longitude:g}."
        )
    return np.datetime64(time, "s"), latitude, longitude


def write(
    path: Path,
    points: Sequence[tuple[np.datetime64, float, float]],
    scenes: Sequence[Scene],
    labels: Sequence[str],
    threshold: float | None = None,
) -> int:
    """Writes the values of the maps at each point of a trajectory.

    Of the maps of the point's day (UTC) that contain it, the one closest in time is
    used. Whether a pattern is present is that of the cell at the point; probabilities
    are interpolated between the centres of cells. Values are empty where there is no
    map, or where it is not observed.

    Args:
      path: csv to write.
      points: the trajectory (see `read`).
      scenes: the maps.
      labels: names of the patterns.
      threshold: as for `frequencies.add_up`.

    Returns:
      The number of points with values.
    """
    by_day = defaultdict(list)
    for scene in scenes:
        by_day[scene.day].append(scene)
    chosen = defaultdict(list)
    for index, (time, latitude, longitude) in enumerate(points):
        around = [
            (abs(scene.time - time), number, scene)
            for number, scene in enumerate(by_day[time.astype("datetime64[D]")])
            if _position(scene, latitude, longitude) is not None
        ]
        if around:
            chosen[id(min(around)[-1])].append((index, min(around)[-1]))
    rows: list[list] = [["", "", *[""] * 2 * len(labels)] for _ in points]
    found = 0
    for group in progress.bar(chosen.values(), desc="trajectory", unit="map"):
        values = group[0][1].read()
        present = values.present(threshold).astype(int)
        for index, scene in group:
            row, column = _position(scene, *points[index][1:])
            near = int(row), int(column)
            rows[index][:2] = [scene.name, int(values.observed[near])]
            if not values.observed[near]:
                continue
            found += 1
            rows[index][2 : 2 + len(labels)] = present[near].tolist()
            if values.probability is not None:
                between = _interpolate(values.probability, row - 0.5, column - 0.5)
                texts = ["" if np.isnan(p) else f"{p:.4f}" for p in between]
                rows[index][2 + len(labels) :] = texts
    _write(path, points, rows, labels)
    return found


def _position(
    scene: Scene, latitude: float, longitude: float
) -> tuple[float, float] | None:
    """Returns row and column of a point in cells; None outside of the map."""
    row = _index(scene.grid.latitude, latitude)
    for turn in (-360, 0, 360):
        column = _index(scene.grid.longitude, longitude + turn)
        if row is not None and column is not None:
            return row, column
    return None


def _index(edges: np.ndarray, value: float) -> float | None:
    count, sign = len(edges) - 1, 1 if edges[-1] > edges[0] else -1
    index = np.interp(
        sign * value, sign * edges, np.arange(count + 1.0), left=np.nan, right=np.nan
    )
    # The last edge belongs to the last cell.
    return None if np.isnan(index) else float(min(index, np.nextafter(count, 0)))


def _interpolate(values: np.ndarray, row: float, column: float) -> np.ndarray:
    """Interpolates bilinearly between centres; missing neighbours do not count."""
    total, weight = np.zeros(values.shape[-1]), 0.0
    for y in (int(np.floor(row)), int(np.floor(row)) + 1):
        for x in (int(np.floor(column)), int(np.floor(column)) + 1):
            share = (1 - abs(row - y)) * (1 - abs(column - x))
            inside = tuple(np.clip([y, x], 0, np.array(values.shape[:2]) - 1))
            if not np.isnan(values[inside]).any():
                total, weight = total + share * values[inside], weight + share
    return total / weight if weight > 0 else np.full(len(total), np.nan)


def _write(path: Path, points, rows, labels: Sequence[str]) -> None:
    with files.writing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        named = [*labels, *(f"{label}_probability" for label in labels)]
        writer.writerow([*_COLUMNS, "image", "observed", *named])
        for (time, latitude, longitude), values in zip(points, rows, strict=True):
            writer.writerow([f"{time}Z", f"{latitude:g}", f"{longitude:g}", *values])
