"""Computes how often each pattern covers each cell (the command `bin/climatology`)."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clouds.climatology import dataset, frequencies, scenes, trajectories
from clouds.climatology.frequencies import Daily, Frequency
from clouds.config.presentation import Climatology
from clouds.geo import packages
from clouds.plots.climatology import draw_frequencies
from clouds.runtime import files, progress
from clouds.text import counted

FILE = "climatology.nc"
PICTURE = "climatology.png"
TRAJECTORY = "trajectory.csv"


def compute(settings: Climatology) -> None:
    """Writes the climatology of maps as NetCDF, tables and a picture.

    Args:
      settings: maps, grid, and output folder.

    Raises:
      InputError: a package is missing, a file cannot be read, or maps do not fit
        together.
    """
    packages.check("bin/climatology", "xarray", "h5netcdf")
    points = trajectories.read(settings.trajectory) if settings.trajectory else None
    found, labels = scenes.find(settings)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    daily = frequencies.add_up(found, settings.cells, settings.threshold)
    months = daily.days.astype("datetime64[M]")
    overall = frequencies.estimate(
        daily.covered, daily.observed, resamples=settings.resamples
    )
    monthly = {
        month: _estimate(daily, months == month, settings)
        for month in progress.bar(np.unique(months), desc="months", unit="month")
    }
    dataset.write(out / FILE, daily, overall, monthly, labels, settings)
    _write_tables(out, daily, months, labels, settings)
    draw_frequencies(
        overall.value,
        daily.cells.latitude,
        daily.cells.longitude,
        labels,
        out / PICTURE,
        title=f"{_span(daily.days)}, {counted(len(daily.days), 'day')} with maps",
    )
    print(_summary(daily, labels, settings))
    written = [out / name for name in (FILE, PICTURE, "daily.csv", "monthly.csv")]
    if points:
        inside = trajectories.write(
            out / TRAJECTORY, points, found, labels, settings.threshold
        )
        written.append(out / TRAJECTORY)
        print(f"trajectory: {inside:,} of {counted(len(points), 'point')} have values")
    print(*written, sep="\n")


def _estimate(daily: Daily, chosen: np.ndarray, settings: Climatology) -> Frequency:
    return frequencies.estimate(
        daily.covered[chosen], daily.observed[chosen], resamples=settings.resamples
    )


def _span(days: np.ndarray) -> str:
    return f"{days[0]} to {days[-1]}"


def _write_tables(
    out: Path,
    daily: Daily,
    months: np.ndarray,
    labels: Sequence[str],
    settings: Climatology,
) -> None:
    covered, observed = daily.domain
    shares = frequencies.ratio(covered, observed)[:, 0, 0]
    with files.writing(out / "daily.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["day", "maps", "observed", *labels])
        for day, maps, seen, values in zip(
            daily.days, daily.maps, observed[:, 0, 0], shares, strict=True
        ):
            writer.writerow([day, maps, f"{seen:.6f}", *_texts(values)])
    with files.writing(out / "monthly.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        ends = [f"{label}{end}" for label in labels for end in ("", "_low", "_high")]
        writer.writerow(["month", "days", "observed", *ends])
        for month in np.unique(months):
            chosen = months == month
            found = frequencies.estimate(
                covered[chosen], observed[chosen], resamples=settings.resamples
            )
            values = np.stack(found, axis=-1).ravel()
            seen = observed[chosen].mean()
            writer.writerow([month, chosen.sum(), f"{seen:.6f}", *_texts(values)])


def _texts(values: np.ndarray) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6f}" for value in values]


def _summary(daily: Daily, labels: Sequence[str], settings: Climatology) -> str:
    found = frequencies.estimate(*daily.domain, resamples=settings.resamples)
    cells = daily.cells
    lines = [
        f"{counted(int(daily.maps.sum()), 'map')} of "
        f"{counted(len(daily.days), 'day')}, {_span(daily.days)}, "
        f"{cells.rows}x{cells.columns} cells of {cells.size:g} degrees",
        "frequency over all cells, with 95 % intervals over days:",
    ]
    width = max(map(len, labels))
    for label, value, low, high in zip(labels, *(x[0, 0] for x in found), strict=True):
        lines.append(f"  {label:{width}}{value:7.3f}  [{low:.3f}, {high:.3f}]")
    if settings.submission:
        lines.append(
            "A csv of masks does not say what was observed: all of each image counts."
        )
    return "\n".join(lines)
