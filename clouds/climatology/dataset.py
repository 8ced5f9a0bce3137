"""The NetCDF file of a climatology, after the CF conventions 1.11."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import clouds
from clouds.climatology import frequencies
from clouds.climatology.frequencies import Daily, Frequency
from clouds.config.presentation import Climatology
from clouds.geo import cf
from clouds.runtime import files

_DAY = np.timedelta64(1, "D")
_GRID = ("latitude", "longitude")
_CELLS = (*_GRID, "pattern")
_MEANING = "area covered by the pattern divided by the observed area"


def write(
    path: Path,
    daily: Daily,
    overall: Frequency,
    monthly: Mapping[np.datetime64, Frequency],
    labels: Sequence[str],
    settings: Climatology,
) -> None:
    """Writes the file atomically.

    Args:
      path: the file.
      daily: sums by day.
      overall: frequencies over all days.
      monthly: frequencies by month.
      labels: names of the C patterns.
      settings: settings, for the attributes.
    """
    import xarray

    months = np.array(list(monthly))
    values = {**_of_days(daily, overall), **_of_months(daily, monthly)}
    axes = {
        "time": (daily.days, daily.days + _DAY),
        "month": (months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]")),
        "latitude": (daily.cells.latitude[:-1], daily.cells.latitude[1:]),
        "longitude": (daily.cells.longitude[:-1], daily.cells.longitude[1:]),
    }
    pattern = cf.pattern(labels)
    coordinates = {"pattern": ("pattern", pattern.values, pattern.attributes)}
    coordinates["pattern_name"] = ("pattern", np.array(labels, object))
    encoding = dict.fromkeys(("latitude_bnds", "longitude_bnds"), {"_FillValue": None})
    for name, (low, high) in axes.items():
        ends, attributes = np.stack([low, high], axis=1), {"bounds": f"{name}_bnds"}
        if name in _GRID:
            centres, unit = ends.mean(1), "north" if name == "latitude" else "east"
            attributes |= {"standard_name": name, "units": f"degrees_{unit}"}
            # Coordinates have no missing values.
            encoding[name] = {"_FillValue": None}
        else:
            centres, ends = (x.astype("datetime64[ns]") for x in (low, ends))
            attributes["standard_name"] = "time"
            attributes["units_metadata"] = "leap_seconds: none"
            encoding[name] = {"units": "days since 1970-01-01", "dtype": "int32"}
            encoding[name]["calendar"] = "standard"
        coordinates[name] = (name, centres, attributes)
        values[f"{name}_bnds"] = ((name, "bnds"), ends)
    data = xarray.Dataset(values, coordinates, _attributes(settings))
    compressed = {"zlib": True, "complevel": 4, "shuffle": True}
    for name, variable in data.data_vars.items():
        if variable.ndim > 1:
            encoding[name] = {**encoding.get(name, {}), **compressed}
    # HDF5 ends the process if a file that it writes to does not fit on the disk.
    contents = io.BytesIO()
    data.to_netcdf(contents, engine="h5netcdf", encoding=encoding)
    files.write(path, contents.getvalue())


def _of_days(daily: Daily, overall: Frequency) -> dict:
    frequency = frequencies.ratio(daily.covered, daily.observed).astype(np.float32)
    observed = "observed fraction of the cell, added up over the maps"
    return {
        **_named("frequency", _CELLS, overall, "all days"),
        "observed": (_GRID, daily.observed.mean(0), _text("mean of daily_observed")),
        "daily_frequency": (
            ("time", *_CELLS),
            frequency,
            _text(f"{_MEANING}, by day"),
        ),
        "daily_observed": (("time", *_GRID), daily.observed, _text(observed)),
        "daily_maps": ("time", daily.maps, _text("number of maps")),
    }


def _of_months(daily: Daily, monthly: Mapping[np.datetime64, Frequency]) -> dict:
    of_days = daily.days.astype("datetime64[M]")
    chosen = np.stack([of_days == month for month in monthly])
    joined = Frequency(
        *(np.stack(part) for part in zip(*monthly.values(), strict=True))
    )
    observed = np.stack([daily.observed[days].mean(0) for days in chosen])
    return {
        **_named("monthly_frequency", ("month", *_CELLS), joined, "days of the month"),
        "monthly_observed": (
            ("month", *_GRID),
            observed,
            _text("mean of daily_observed"),
        ),
        "monthly_days": (
            "month",
            chosen.sum(1).astype(np.int32),
            _text("number of days with maps"),
        ),
    }


def _named(name: str, dimensions, found: Frequency, days: str) -> dict:
    end = f"{{}} % quantile of {name}, bootstrap over days"
    return {
        name: (dimensions, found.value, _text(f"{_MEANING}, over {days}")),
        f"{name}_low": (dimensions, found.low, _text(end.format("2.5"))),
        f"{name}_high": (dimensions, found.high, _text(end.format("97.5"))),
    }


def _text(meaning: str) -> dict[str, str]:
    return {"long_name": meaning, "units": "1"}


def _attributes(settings: Climatology) -> dict[str, str]:
    inputs = [settings.submission] if settings.submission else settings.maps
    chosen = "post-processed masks"
    if settings.threshold is not None:
        chosen = f"probabilities above {settings.threshold:g}"
    title = "Frequency of patterns of cloud organisation"
    return {"Conventions": cf.CONVENTIONS} | cf.provenance(
        title,
        source=f"clouds {clouds.__version__}, from {chosen}",
        inputs=[Path(path).name for path in inputs],
        resamples=settings.resamples,
    )
