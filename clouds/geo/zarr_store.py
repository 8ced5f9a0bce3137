"""Stores maps of masks and probabilities as Zarr (format 2), and appends to them.

A store grows image by image. First the new chunks are written, where no reader looks
yet; then `.zmetadata`, the consolidated metadata, is replaced, in which all arrays are
one time longer. So a reader sees the store before or after, and a killed writer leaves
it as it was. An image of an earlier time than the last becomes part of a new store,
made of links to the chunks of the old one, which then replaces it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clouds.errors import InputError
from clouds.geo import cf, zarr_files
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place
from clouds.runtime import files

PACKAGES = ("zarr",)
"""Optional packages that it needs."""

_COMPARED = ("weights", "flips", "tiles", "rule")
_ZARR_FILES = (".zgroup", ".zattrs", ".zarray")


class _Stored(NamedTuple):
    """Contents of a store.

    Attributes:
      attributes: global attributes.
      arrays: values of all arrays but the maps, by name.
      shapes: shapes of all arrays, by name.
    """

    attributes: dict
    arrays: dict[str, np.ndarray]
    shapes: dict[str, tuple]

    def index(self, time: int) -> int:
        """Returns the place of a time in the store, of ascending times."""
        return int(np.searchsorted(self.arrays["time"], time))


def check(
    path: str,
    layout: Layout,
    attributes: Mapping[str, str],
    located: Mapping[str, Place] = {},
) -> None:
    """Rejects a store to which maps cannot be appended.

    Args:
      path: folder of the store, which need not exist.
      layout: what all maps have in common.
      attributes: global attributes of a new store.
      located: places of the images to append, by their names.

    Raises:
      InputError: the folder is no store, or a damaged one, or one of other maps: of
        another grid, other labels, another run or rule, or another image of a time.
    """
    stored = _read(path)
    if stored is None:
        return
    _compare(path, stored, layout, attributes)
    for name, place in located.items():
        _is_stored(path, stored, name, place)


@contextlib.contextmanager
def appending(
    path: str, layout: Layout, attributes: Mapping[str, str]
) -> Iterator[Callable[[str, Place, Map], bool]]:
    """Appends maps to a store, or starts it.

    Args:
      path: folder of the store.
      layout: what all maps have in common.
      attributes: global attributes of a new store.

    Yields:
      A function that adds the maps of an image, given its name and place. It returns
      False, and changes nothing, if the store has them already.

    Raises:
      InputError: as for `check`, or another process is writing to the store.
    """
    zarr_files.recover(Path(path))
    Path(path).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        locks.enter_context(files.sole_writer(path, "--zarr"))
        zarr_files.clean(Path(path))
        check(path, layout, attributes)

        def add(name: str, place: Place, maps: Map) -> bool:
            stored = _read(path) or _Stored(dict(attributes), zarr_files.empty(), {})
            index = stored.index(cf.seconds(place.time)[0])
            if _is_stored(path, stored, name, place):
                _compare_maps(path, index, name, place, layout, maps)
                return False
            image = name, place, maps
            new = zarr_files.encode(
                stored.attributes, stored.arrays, layout, index, image
            )
            if index == len(stored.arrays["time"]):
                zarr_files.commit(Path(path), new)
            else:
                rebuilt = zarr_files.rebuilt(Path(path), layout, index, new)
                locks.enter_context(rebuilt)
            return True

        yield add


def _read(path: str) -> _Stored | None:
    """Reads a store; None if there is none, or one that was never finished."""
    import zarr

    folder = Path(path)
    if not (folder / zarr_files.METADATA).is_file():
        # A killed writer leaves files of a new store, and those of an array.
        known = {*_ZARR_FILES, *_names()}
        foreign = folder.is_dir() and {each.name for each in folder.iterdir()} - known
        foreign = {name for name in foreign or () if not name.startswith(files.PART)}
        if foreign:
            raise InputError(
                f"--zarr: '{path}' is no Zarr store of bin/predict: it holds "
                f"{min(foreign)}. Give another folder."
            )
        return None
    try:
        group = zarr.open_group(path, mode="r", zarr_format=2, use_consolidated=True)
        attributes, arrays = dict(group.attrs), dict(group.arrays())
        shapes = {name: array.shape for name, array in arrays.items()}
        values = {
            name: array[...]
            for name, array in arrays.items()
            if "latitude" not in array.attrs["_ARRAY_DIMENSIONS"][1:]
        }
        missing = set(_names()) - set(arrays)
    except Exception as error:  # Any part of a damaged store may be anything.
        raise InputError(
            f"--zarr: '{path}' is damaged ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0][:100]}). Give another folder."
        ) from error
    if missing:
        raise InputError(
            f"--zarr: '{path}' is no Zarr store of bin/predict: it has no "
            f"{min(missing)}. Give another folder."
        )
    return _Stored(attributes, values, shapes)


def _names() -> list[str]:
    layout = Layout((0, 0, 1, 1), (1, 1), ("",))
    return [one.name for one in cf.variables(layout)]


def _compare(path: str, stored: _Stored, layout: Layout, attributes: Mapping) -> None:
    """Rejects a store of another grid, other labels, or another run or rule."""
    labels, other = list(stored.arrays["pattern_name"]), list(layout.labels)
    if labels != other:
        raise _differs(path, f"has the labels {', '.join(labels)}", ", ".join(other))
    size = stored.shapes["observed"][1:]
    if size != tuple(layout.size):
        shown = ["x".join(map(str, each)) for each in (size, layout.size)]
        raise _differs(path, f"has a grid of {shown[0]} cells", shown[1])
    for name, values in zip(("latitude", "longitude"), cf.edges(layout), strict=True):
        bounds = stored.arrays[f"{name}_bnds"]
        ends = [bounds[0, 0], bounds[-1, 1]], [values[0], values[-1]]
        if not np.allclose(*ends, atol=1e-6):
            shown = [f"{first:g} to {last:g}" for first, last in ends]
            raise _differs(path, f"has {name}s from {shown[0]}", shown[1])
    for name in _COMPARED:
        one, other = stored.attributes.get(name), attributes.get(name)
        if one == other:
            continue
        if name == "weights":
            shown = [
                each.get("run", "unknown") for each in (stored.attributes, attributes)
            ]
            raise _differs(
                path, f"is of other weights, of the run {shown[0]}", shown[1]
            )
        raise _differs(path, f"has {name} {one}", other)


def _differs(path: str, has: str, instead: object) -> InputError:
    return InputError(
        f"--zarr: '{path}' {has}, not {instead}. Give another folder, since all maps "
        "of a store are of one grid, run and rule."
    )


def _is_stored(path: str, stored: _Stored, name: str, place: Place) -> bool:
    """Returns whether an image is stored; rejects another one of its time."""
    time, times = cf.seconds(place.time)[0], stored.arrays["time"]
    index = stored.index(time)
    if index == len(times) or times[index] != time:
        return False
    if (other := stored.arrays["image"][index]) != name:
        raise InputError(
            f"--zarr: '{path}' has {other} of {place.time} already, so {name} cannot "
            "be added. Give another folder, such as one for each satellite."
        )
    return True


def _compare_maps(path, index, name, place, layout, maps) -> None:
    """Rejects maps that differ from those of the store."""
    import zarr

    group = zarr.open_group(path, mode="r", zarr_format=2, use_consolidated=True)
    for key, rows, values in cf.blocks(layout, maps):
        if not np.array_equal(group[key][index, rows], values):
            raise InputError(
                f"--zarr: '{path}' has another map of {name}, {place.time}, although "
                "run and rule are the same: the image was another. Give another folder."
            )
