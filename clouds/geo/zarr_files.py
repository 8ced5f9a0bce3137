"""Writes the files of Zarr stores (format 2): what to write, and in which order.

`zarr_store` says why the order makes a killed writer harmless.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from clouds.geo import cf
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place
from clouds.runtime import files

METADATA = ".zmetadata"
"""Name of the file that makes a folder a store."""

_OLD = "old."


def empty() -> dict[str, np.ndarray]:
    """Returns the values of the variables of times, of a store without any."""
    return {
        "time": np.zeros(0, np.int64),
        "time_bnds": np.zeros((0, 2), np.int64),
        "image": np.zeros(0, object),
        "satellite": np.zeros(0, object),
    }


def encode(
    attributes: Mapping[str, str],
    times: Mapping[str, np.ndarray],
    layout: Layout,
    index: int,
    image: tuple[str, Place, Map],
) -> dict[str, bytes]:
    """Encodes the files of a store with one more image.

    Args:
      attributes: global attributes.
      times: values of the variables of times until now, by name.
      layout: what all maps have in common.
      index: place of the new image among the times.
      image: its name, place and maps.

    Returns:
      The contents of the files by their paths in the store. Chunks of maps are those of
      the new image only; all other files are complete.
    """
    import zarr

    name, place, maps = image
    contents = {}
    memory = zarr.storage.MemoryStore(contents)
    given = {"Conventions": cf.CONVENTIONS, **attributes}
    group = zarr.create_group(memory, zarr_format=2, attributes=given)
    count = len(times["time"]) + 1
    of_time, arrays = cf.of_time(name, place), {}
    for one in cf.variables(layout):
        array = arrays[one.name] = _create(group, one, layout, count)
        if one.values is not None:
            array[...] = one.values
        elif one.name in of_time:
            values = times[one.name].astype(array.dtype)
            array[...] = np.insert(values, index, of_time[one.name], axis=0)
    for key, rows, values in cf.blocks(layout, maps):
        arrays[key][index, rows] = values
    zarr.consolidate_metadata(memory, zarr_format=2)
    return {key: value.to_bytes() for key, value in contents.items()}


def _create(group, one: cf.Variable, layout: Layout, count: int):
    import numcodecs

    lengths = {"time": count, "latitude": layout.size[0], "longitude": layout.size[1]}
    lengths |= {"pattern": len(layout.labels), "bnds": 2}
    shape = tuple(lengths[name] for name in one.dimensions)
    attributes = {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in one.attributes.items()
    }
    if "scale_factor" in attributes:
        # JSON has more digits than float32.
        attributes["scale_factor"] = 1 / cf.LEVELS
    return group.create_array(
        one.name,
        shape=shape,
        dtype=str if one.dtype == cf.TEXT else one.dtype,
        chunks=one.chunks or tuple(max(1, length) for length in shape),
        compressors=numcodecs.Blosc("zstd", 5),
        # xarray takes a fill value for missing values.
        fill_value=one.fill,
        attributes={"_ARRAY_DIMENSIONS": list(one.dimensions), **attributes},
        # Otherwise a chunk that a killed writer left would be read in place of it.
        config={"write_empty_chunks": True},
    )


def commit(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files of a store, those that make it longer last.

    Args:
      folder: folder of the store.
      contents: from `encode`.
    """
    is_metadata = {key: key.rpartition("/")[2].startswith(".z") for key in contents}
    chunks = [key for key in contents if not is_metadata[key]]
    others = [key for key in contents if is_metadata[key] and key != METADATA]
    for key in (*chunks, METADATA, *others):
        path = folder / key
        path.parent.mkdir(exist_ok=True)
        files.write(path, contents[key])


@contextlib.contextmanager
def rebuilt(
    folder: Path, layout: Layout, index: int, contents: Mapping[str, bytes]
) -> Iterator[None]:
    """Replaces a store by one with an image before others.

    Args:
      folder: folder of the store.
      layout: what all maps have in common.
      index: place of the new image among the times.
      contents: from `encode`.

    Yields:
      While the new store is locked.
    """
    new, old = _siblings(folder)
    new.mkdir()
    with files.sole_writer(str(new), "--zarr"):
        for one in cf.variables(layout):
            if "time" in one.dimensions and "latitude" in one.dimensions:
                _link(folder / one.name, new / one.name, index)
        commit(new, contents)
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
        yield


def _link(array: Path, new: Path, index: int) -> None:
    """Links the chunks of an array, with those from an index on one later."""
    new.mkdir()
    for chunk in array.iterdir():
        time, dot, rest = chunk.name.partition(".")
        if not time.isdigit():
            continue
        moved = new / f"{int(time) + (int(time) >= index)}{dot}{rest}"
        try:
            os.link(chunk, moved)
        except OSError:
            # Some file systems have no links.
            shutil.copy2(chunk, moved)


def recover(folder: Path) -> None:
    """Ends the replacement of a store that was killed between its two renames.

    Args:
      folder: folder of the store.

    Raises:
      InputError: another process is replacing it now.
    """
    new, old = _siblings(folder)
    if not folder.exists() and new.exists() and old.exists():
        with files.sole_writer(str(new), "--zarr"):
            new.rename(folder)


def clean(folder: Path) -> None:
    """Removes what a killed replacement left.

    Args:
      folder: folder of the store, which the caller has locked.
    """
    for path in _siblings(folder):
        shutil.rmtree(path, ignore_errors=True)


def _siblings(folder: Path) -> tuple[Path, Path]:
    """Returns the folders of a new store and of the one that it replaces."""
    starts = files.PART, f"{files.PART}{_OLD}"
    return tuple(folder.with_name(f"{start}{folder.name}") for start in starts)
