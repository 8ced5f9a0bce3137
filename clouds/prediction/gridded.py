"""The gridded files of a prediction: their checks, and writing them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import clouds
from clouds.config.prediction import Prediction
from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.geo import netcdf, rasters
from clouds.geo.netcdf import Layout, Map
from clouds.geo.places import HOW, Places
from clouds.prediction import maps
from clouds.prediction.journal import Journal
from clouds.schema import MaskSpec
from clouds.text import counted


def check(settings: Prediction, places: Places | None, paths: Mapping) -> None:
    """Rejects images that do not fit into one NetCDF file, before any is predicted.

    Args:
      settings: settings with the file.
      places: places of the images.
      paths: paths of the images by their names.

    Raises:
      InputError: h5netcdf is missing; no image has a place; or the images differ in box
        or size, lack a time, or have the same time.
    """
    netcdf.check_package("--netcdf")
    if not places or not places.located:
        raise InputError(f"--netcdf: no image has a place. {HOW}.")
    located = places.located
    undated = [name for name, place in located.items() if not place.time]
    if undated:
        raise InputError(
            f"--netcdf: {len(undated)} of {counted(len(located), 'image')} have no "
            f"time, first {undated[0]}. Give times in --places, or dates such as "
            "2020-02-01 in the names."
        )
    _check_one_grid(located, paths)
    images = {}
    for name, place in located.items():
        time = netcdf.seconds(place.time)[0]
        if time in images:
            raise InputError(
                f"--netcdf: {images[time]} and {name} have the same time, "
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


def _check_one_grid(located: Mapping, paths: Mapping) -> None:
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
                    f"--netcdf: all images must have one {what}. {first} has "
                    f"{_shown(one)}, {name} {_shown(other)}. Predict each {what} by "
                    "itself."
                )


def _shown(numbers: Sequence[float]) -> str:
    if len(numbers) == 2:
        return f"{numbers[1]}x{numbers[0]} pixels"
    return ",".join(f"{number:g}" for number in numbers)


def write(
    settings: Prediction, places: Places, journal: Journal, rule: Rule, spec: MaskSpec
) -> None:
    """Writes the NetCDF file.

    Args:
      settings: settings with the file, the folder and the runs.
      places: places of the images.
      journal: entries of the predicted images; those without a place are left out.
      rule: rule of the masks.
      spec: labels and grid of the masks.
    """
    located = {name: places.located[name] for name in journal if name in places.located}
    if not located:
        return
    ordered = sorted(located, key=lambda name: netcdf.seconds(located[name].time))
    first = next(journal.entries(iter(ordered)))
    box = located[first.image].box
    layout = Layout(box, first.size(spec.grid), spec.labels)
    attributes = netcdf.provenance(
        "Patterns of cloud organisation",
        source=f"clouds {clouds.__version__}, a segmentation network",
        references="https://doi.org/10.1175/BAMS-D-19-0324.1",
        run=list(settings.run),
        rule=dataclasses.asdict(rule),
    )
    with netcdf.writing(settings.netcdf, layout, attributes) as add:
        for entry in journal.entries(iter(ordered)):
            probability, observed = maps.load(Path(settings.out), entry.image)
            if not rule.gap:
                # Black pixels are dark sea then, and no gap.
                observed = np.ones_like(observed)
            add(
                entry.image,
                located[entry.image],
                Map(probability, entry.masks(spec.grid), observed),
            )
