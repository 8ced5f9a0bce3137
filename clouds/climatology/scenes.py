"""Maps of masks, read from NetCDF, Zarr, or a csv of masks with places."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clouds import rle
from clouds.climatology.cells import Grid
from clouds.config.presentation import Climatology
from clouds.data import annotations
from clouds.errors import InputError
from clouds.geo import cf, netcdf, packages, places, zarr_store
from clouds.geo.cf import Layout

# The times that nanoseconds since 1970 reach.
_FIRST, _LAST = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")
_ADVICE = (
    "Give both in --places, or names such as "
    "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg."
)
_AXES = ("latitude", "longitude")
_DIMENSIONS = ("time", *_AXES, "pattern")
_ROUNDING = 1e-6


class Values(NamedTuple):
    """The values of a map.

    Attributes:
      mask: bool[H, W, C].
      observed: bool[H, W].
      probability: float32[H, W, C], NaN where not observed; None if unknown.
    """

    mask: np.ndarray
    observed: np.ndarray
    probability: np.ndarray | None = None

    def present(self, threshold: float | None) -> np.ndarray:
        """Returns where each pattern counts as present, bool[H, W, C].

        Args:
          threshold: probability to exceed; None for the masks.
        """
        if threshold is None:
            return self.mask
        # Probabilities are stored in steps, whose last digits are rounded.
        above = self.probability > threshold + _ROUNDING
        return self.observed[..., None] & above


@dataclasses.dataclass(frozen=True)
class Scene:
    """A map.

    Attributes:
      name: name of its image.
      source: file that it comes from, for errors.
      time: datetime64[s], UTC.
      grid: its cells.
      read: reads its values.
    """

    name: str
    source: str
    time: np.datetime64
    grid: Grid
    read: Callable[[], Values]

    @property
    def day(self) -> np.datetime64:
        """datetime64[D], UTC."""
        return self.time.astype("datetime64[D]")


def find(settings: Climatology) -> tuple[list[Scene], tuple[str, ...]]:
    """Finds all maps, without reading their values.

    Args:
      settings: files of maps, or masks and places.

    Returns:
      The maps by time, and the names of their labels.

    Raises:
      InputError: a file is missing or not as expected; files differ in their labels; or
        an image occurs twice.
    """
    if settings.submission:
        scenes, labels = _of_submission(settings)
    else:
        scenes, labels = [], None
        for path in settings.maps:
            read, its_labels = _of_maps(path)
            labels = labels or its_labels
            if its_labels != labels:
                raise InputError(
                    f"--maps: {path} has the patterns {', '.join(its_labels)}, "
                    f"{settings.maps[0]} {', '.join(labels)}. Give files of one "
                    "network."
                )
            scenes += read
    if not scenes:
        raise InputError("--maps: no file has a map. Predict images first.")
    _check_times(scenes)
    _check_unique(scenes)
    return sorted(scenes, key=lambda scene: scene.time), labels


def _check_times(scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        if not _FIRST <= scene.time < _LAST:
            raise InputError(
                f"{scene.source}: the time of {scene.name}, {scene.time}, must be from "
                f"{_FIRST} to {_LAST}. Correct it."
            )


def _check_unique(scenes: Sequence[Scene]) -> None:
    seen = {}
    for scene in scenes:
        edges = (tuple(axis[[0, -1]]) for axis in scene.grid)
        key = (scene.name, scene.time, *edges)
        if key in seen:
            raise InputError(
                f"--maps: {scene.name} of {scene.time} is in {seen[key]} and in "
                f"{scene.source}. Give each map once, as it would be counted twice."
            )
        seen[key] = scene.source


def _of_maps(path: str) -> tuple[list[Scene], tuple[str, ...]]:
    """Returns the maps of a NetCDF file or Zarr store, and their labels."""
    file = _open(path)
    missing = [name for name in _DIMENSIONS if name not in file.dims]
    missing += [name for name in ("mask", "pattern_name") if name not in file]
    if missing:
        raise InputError(
            f"{path} has no {missing[0]}. Expected a file of bin/predict --netcdf or "
            "--zarr, with the dimensions time, latitude, longitude and pattern."
        )
    file = file.transpose(*_DIMENSIONS, ...)
    grid = Grid(*(_edges(file, axis, path) for axis in _AXES))
    times = file["time"].values.astype("datetime64[s]")
    if np.isnat(times).any():
        row = int(np.isnat(times).argmax())
        raise InputError(f"{path}: map {row + 1} has no time. Predict it again.")
    if "image" in file:
        names = file["image"].values.astype(object)
    else:
        names = np.array([str(time) for time in times])

    def reader(index: int) -> Callable[[], Values]:
        return lambda: _values(file.isel(time=index))

    scenes = [
        Scene(str(name), path, time, grid, reader(index))
        for index, (name, time) in enumerate(zip(names, times, strict=True))
    ]
    return scenes, tuple(map(str, file["pattern_name"].values))


def _open(path: str):
    is_zarr = Path(path).is_dir()
    packages.check("--maps", *(zarr_store if is_zarr else netcdf).PACKAGES)
    import xarray

    if not Path(path).exists():
        raise InputError(f"--maps: '{path}' does not exist. Check the path.")
    engine = "zarr" if is_zarr else "h5netcdf"
    try:
        return xarray.open_dataset(path, engine=engine, cache=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--maps: '{path}' cannot be read as NetCDF or Zarr ({reason}). Give a "
            "file of bin/predict --netcdf or --zarr."
        ) from error


def _edges(file, axis: str, path: str) -> np.ndarray:
    centres = file[axis].values.astype(np.float64)
    bounds = file[axis].attrs.get("bounds")
    if bounds in file:
        values = file[bounds]
        if "time" in values.dims:
            # As xarray concatenates files.
            values = values.isel(time=0)
        values = values.transpose(axis, ...).values.astype(np.float64)
        edges = np.append(values[:, 0], values[-1, 1])
        joined = np.allclose(values[1:, 0], values[:-1, 1])
    elif len(centres) > 1:
        step = np.diff(centres).mean()
        edges = np.append(centres, centres[-1] + step) - step / 2
        joined = np.allclose(np.diff(centres), step, rtol=1e-3)
    else:
        joined = False
    steps = np.diff(edges) if joined else np.zeros(1)
    if not (np.all(steps > 0) or (np.all(steps < 0) and axis == "latitude")):
        raise InputError(
            f"{path}: the bounds of {axis} must be contiguous and ascending. Write the "
            "file again with bin/predict."
        )
    return edges


def _values(file) -> Values:
    mask = file["mask"].values
    if "observed" in file:
        observed = file["observed"].values == 1
    else:
        observed = ~np.isnan(mask[..., 0])
    probability = file["probability"].values if "probability" in file else None
    # Missing values are NaN.
    return Values((mask == 1) & observed[..., None], observed, probability)


def _of_submission(settings: Climatology) -> tuple[list[Scene], tuple[str, ...]]:
    """Returns the maps of a csv of masks, all of whose images have a place."""
    source = annotations.Source(grid=settings.grid)
    table = annotations.read(settings.submission, None, source)
    found = places.find(dict.fromkeys(table.images), table=settings.places)
    located = found.located if found else {}
    undated = [name for name in located if not located[name].time]
    lacking = [name for name in table.images if name not in located] + undated
    if lacking:
        fault = found.faults.get(lacking[0], "") if found else ""
        raise InputError(
            f"--places: {len(lacking)} of {len(table.images)} images have no place or "
            f"no time, first {lacking[0]}. {fault or _ADVICE}"
        )
    scenes = []
    for index, name in enumerate(table.images):
        layout = Layout(located[name].box, settings.grid, table.labels)
        grid = Grid(*cf.edges(layout))
        time = np.datetime64(cf.seconds(located[name].time)[0], "s")

        def read(index: int = index) -> Values:
            decoded = [
                rle.decode(text, settings.grid, where=table.where(index, label))
                for label, text in enumerate(table.texts[index])
            ]
            mask = np.stack(decoded, axis=-1).astype(bool)
            return Values(mask, np.ones(mask.shape[:2], bool))

        scenes.append(Scene(name, settings.submission, time, grid, read))
    return scenes, table.labels
