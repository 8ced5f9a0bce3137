"""The files of a prediction that need the places of its images, on a grid or not.

NetCDF and Zarr hold the maps of all images by time, on one grid; GeoTIFFs one image
each; GeoParquet the polygons of all.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import clouds
from clouds.config.prediction import Prediction
from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.geo import cf, geoparquet, geotiff, netcdf, packages, rasters, zarr_store
from clouds.geo.cf import Layout, Map
from clouds.geo.places import HOW, Places
from clouds.prediction import geojson, maps, outputs
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.tiling import plan
from clouds.schema import MaskSpec
from clouds.text import counted

_PACKAGES = {
    "--netcdf": netcdf.PACKAGES,
    "--zarr": zarr_store.PACKAGES,
    "--geotiff": geotiff.PACKAGES,
    "--geoparquet": geoparquet.PACKAGES,
}


def check(settings: Prediction, places: Places | None, paths: Mapping) -> None:
    """Rejects images that do not fit into the files, before any is predicted.

    Args:
      settings: settings with the files.
      places: places of the images.
      paths: paths of the images by their names.

    Raises:
      InputError: a package is missing; no image has a place; or images of one file
        differ in box or size, lack a time, or have the same time.
    """
    for flag in settings.located:
        packages.check(flag, *_PACKAGES[flag])
    flag = settings.located[0]
    if not places or not places.located:
        reason = next(iter(places.faults.values()), "") if places else ""
        raise InputError(f"{flag}: no image has a place. {reason or f'{HOW}.'}")
    if not settings.series:
        return
    flag, located = next(iter(settings.series)), places.located
    undated = [name for name, place in located.items() if not place.time]
    if undated:
        raise InputError(
            f"{flag}: {len(undated)} of {counted(len(located), 'image')} have no "
            f"time, first {undated[0]}. Give times in --places, or dates such as "
            "2020-02-01 in the names."
        )
    _check_one_grid(flag, located, paths)
    images = {}
    for name, place in located.items():
        time = cf.seconds(place.time)[0]
        if time in images:
            raise InputError(
                f"{flag}: {images[time]} and {name} have the same time, "
                f"{place.time}. Give times in --places, or predict each satellite by "
                "itself."
            )
        images[time] = name


def check_new(settings: Prediction, stored: dict) -> None:
    """Rejects to replace a NetCDF file that is not of this prediction.

    Args:
      settings: settings with the file.
      stored: stored result of the prediction.

    Raises:
      InputError: the file exists, and is none of the prediction's.
    """
    own = stored.get("settings", {}).get("netcdf")
    if settings.netcdf and Path(settings.netcdf).exists() and own != settings.netcdf:
        raise InputError(
            f"--netcdf: '{settings.netcdf}' exists. Give another name, or --overwrite."
        )


def check_store(
    settings: Prediction,
    places: Places,
    paths: Mapping,
    attributes: dict[str, str],
    spec: MaskSpec,
) -> None:
    """Rejects a Zarr store to which the maps cannot be appended, before predicting.

    Args:
      settings: settings with the store.
      places: places of the images.
      paths: paths of the images by their names.
      attributes: from `provenance`.
      spec: labels and grid of the masks of one image.

    Raises:
      InputError: as for `zarr_store.check`.
    """
    located = places.located
    size, box = spec.grid, next(iter(located.values())).box
    if settings.in_tiles:
        sizes = (rasters.size(paths[n]) for n in located if "://" not in paths[n])
        scene = next(filter(None, sizes), None)
        if scene is None:
            return
        name = next(iter(located))
        tiles = plan.tiling(settings, spec.grid, paths[name], scene, box)
        size = tiles.rows.cells, tiles.columns.cells
    layout = Layout(box, size, spec.labels)
    zarr_store.check(settings.zarr, layout, attributes, located)


def provenance(
    settings: Prediction, rule: Rule, weights: Sequence[str]
) -> dict[str, str]:
    """Returns the attributes that say what the files were made by.

    Args:
      settings: run, flips and tiles.
      rule: rule of the masks.
      weights: SHA-256 of the weights of each run.
    """
    return cf.provenance(
        "Patterns of cloud organisation",
        source=f"clouds {clouds.__version__}, a segmentation network",
        references="https://doi.org/10.1175/BAMS-D-19-0324.1",
        run=list(settings.run),
        weights=list(weights),
        flips=settings.flips,
        rule=dataclasses.asdict(rule),
        **({"tiles": plan.identity(settings)} if settings.in_tiles else {}),
    )


def _check_one_grid(flag: str, located: Mapping, paths: Mapping) -> None:
    known = {}
    for name, place in located.items():
        # To read the headers of remote files would take as long as to predict them.
        size = None if "://" in paths[name] else rasters.size(paths[name])
        for what, other in (("box", place.box), ("size", size)):
            if other is None:
                continue
            first, one = known.setdefault(what, (name, other))
            if one != other:
                raise InputError(
                    f"{flag}: all images must have one {what}. {first} has "
                    f"{_shown(one)}, {name} {_shown(other)}. Predict each {what} by "
                    "itself."
                )


def _shown(numbers: Sequence[float]) -> str:
    if len(numbers) == 2:
        return f"{numbers[1]}x{numbers[0]} pixels"
    return ",".join(f"{number:g}" for number in numbers)


def write(
    settings: Prediction,
    places: Places,
    journal: Journal,
    rule: Rule,
    attributes: dict[str, str],
    spec: MaskSpec,
) -> None:
    """Writes the files.

    Args:
      settings: settings with the files and the folder.
      places: places of the images.
      journal: entries of the predicted images; those without a place are left out.
      rule: rule of the masks.
      attributes: from `provenance`.
      spec: labels and grid of the masks.
    """
    names = [name for name in journal if name in places.located]
    if not names:
        return
    with contextlib.ExitStack() as stack:
        adders = []
        if settings.series:
            names.sort(key=lambda name: cf.seconds(places.located[name].time))
            first = next(journal.entries(iter(names)))
            box = places.located[first.image].box
            layout = Layout(box, first.size(spec.grid), spec.labels)
            if settings.netcdf:
                file = netcdf.writing(settings.netcdf, layout, attributes)
                adders.append(_map_adder(stack.enter_context(file)))
            if settings.zarr:
                store = zarr_store.appending(settings.zarr, layout, attributes)
                adders.append(_map_adder(stack.enter_context(store)))
        out = Path(settings.out)
        if settings.geotiff:
            (out / outputs.GEOTIFFS).mkdir(exist_ok=True)
            adders.append(_geotiff_adder(out / outputs.GEOTIFFS, attributes, spec))
        if settings.geoparquet:
            file = geoparquet.writing(out / outputs.GEOPARQUET, attributes)
            adders.append(_polygon_adder(stack.enter_context(file), spec))
        for entry in journal.entries(iter(names)):
            one = _map(out, entry, rule, spec) if maps.needed(settings) else None
            for add in adders:
                add(entry, places.located[entry.image], one)


def _map(out: Path, entry: Entry, rule: Rule, spec: MaskSpec) -> Map:
    probability, observed = maps.load(out, entry.image)
    if not rule.gap:
        # Black pixels are dark sea then, and no gap.
        observed = np.ones_like(observed)
    return Map(probability, entry.masks(spec.grid), observed)


def _map_adder(add):
    return lambda entry, place, one: add(entry.image, place, one)


def _geotiff_adder(folder: Path, attributes: dict[str, str], spec: MaskSpec):
    def add(entry, place, one: Map) -> None:
        path = folder / f"{entry.image}.tif"
        geotiff.write(path, place, one.mask, one.observed, spec.labels, attributes)

    return add


def _polygon_adder(add_one, spec: MaskSpec):
    def add(entry, place, _) -> None:
        for feature in geojson.placed_features(entry, place, spec):
            add_one(feature)

    return add
