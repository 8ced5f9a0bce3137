"""Maps of frequencies on a grid in degrees."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from clouds.plots import common

_LOG = logging.getLogger(__name__)


def draw_frequencies(
    frequency: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    labels: Sequence[str],
    path: Path,
    *,
    title: str,
) -> None:
    """Draws a map for each label, with coastlines if cartopy is installed.

    Args:
      frequency: float[R, Q, C], NaN where nothing is observed.
      latitude: float[R + 1], edges in degrees.
      longitude: float[Q + 1], edges in degrees, which may continue above 180.
      labels: names of the C labels.
      path: picture to write.
      title: line above all maps.
    """
    lines = list(_coastlines())

    def panel(index: int) -> common.Panel:
        def draw(ax: Axes) -> None:
            values = np.ma.masked_invalid(frequency[..., index])
            ax.set_facecolor(common.LINE)
            mesh = ax.pcolormesh(
                longitude, latitude, values, vmin=0, cmap="viridis", rasterized=True
            )
            for line in lines:
                for turn in (0, 360):
                    ax.plot(line[:, 0] + turn, line[:, 1], color=common.INK, lw=0.6)
            ax.set(xlim=longitude[[0, -1]], ylim=latitude[[0, -1]], aspect="equal")
            ax.set(title=labels[index], xlabel="longitude", ylabel="latitude")
            bar = ax.figure.colorbar(mesh, ax=ax, orientation="horizontal")
            bar.ax.xaxis.set_major_formatter(PercentFormatter(1))

        return draw

    height = np.ptp(latitude) / np.ptp(longitude)
    columns = 1 if height < 0.25 else 2
    size = (6, 1.6 + 5.5 * height) if columns == 2 else (12, 1.6 + 11.5 * height)
    figure = common.arrange(
        [panel(index) for index in range(len(labels))],
        columns=columns,
        size=size,
        title=title,
    )
    common.save(figure, path)


def _coastlines() -> Iterator[np.ndarray]:
    """Yields coastlines as float[N, 2], longitude and latitude, if cartopy is there."""
    try:
        from cartopy.io import shapereader

        file = shapereader.natural_earth("110m", "physical", "coastline")
        lines = list(shapereader.Reader(file).geometries())
    except ImportError:
        return
    except OSError as error:
        # Cartopy downloads the coastlines when they are first used.
        _LOG.warning("The map has no coastlines: %s", error)
        return
    for line in lines:
        for part in getattr(line, "geoms", [line]):
            yield np.asarray(part.coords)[:, :2]
