import csv

import numpy as np
import pytest
from helpers import map_files

from clouds.cli import main

xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
pytest.importorskip("h5netcdf", reason="`bin/setup geo` installs it")


def climatology(out, *flags):
    return main.main(["climatology", "--out", str(out), *map(str, flags)])


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_maps_become_a_file_tables_a_picture_and_a_trajectory(tmp_path, capsys):
    days = ["2020-01-30", "2020-01-31", "2020-02-03"]
    written = map_files.write(tmp_path / "a.nc", *days)
    track = tmp_path / "ship.csv"
    track.write_text("time,lat,lon\n2020-01-31T12:00,3.5,171\n2020-02-01,3.5,171\n")
    flags = ("--maps", tmp_path / "a.nc", "--cells", 2, "--trajectory", track)
    assert climatology(tmp_path / "out", *flags, "--resamples", 50) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("climatology.nc", "climatology.png"),
        *("daily.csv", "monthly.csv", "trajectory.csv"),
    }
    # Rows of the maps are at 3.5, 2.5, 1.5 and 0.5 degrees north.
    areas = np.diff(np.sin(np.deg2rad(np.arange(4, -1, -1.0))))
    seen = np.array([(areas @ observed).sum() for _, _, observed in written])
    fish = np.array([(areas @ mask[..., 0]).sum() for _, mask, _ in written])
    rows = table(tmp_path / "out/daily.csv")
    assert [row["day"] for row in rows] == days
    found = [float(row["Fish"]) for row in rows]
    assert np.allclose(found, fish / seen, atol=1e-5)
    assert np.allclose(
        [float(row["observed"]) for row in rows], seen / areas.sum() / 7, atol=1e-5
    )
    rows = table(tmp_path / "out/monthly.csv")
    assert [(row["month"], row["days"]) for row in rows] == [
        ("2020-01", "2"),
        ("2020-02", "1"),
    ]
    assert float(rows[0]["Fish"]) == pytest.approx(
        fish[:2].sum() / seen[:2].sum(), abs=1e-5
    )
    assert float(rows[0]["Fish_low"]) <= float(rows[0]["Fish"])
    rows = table(tmp_path / "out/trajectory.csv")
    assert rows[0]["image"] == "2020-01-31.jpg" and rows[1]["image"] == ""
    assert rows[0]["observed"] == str(int(written[1][2][0, 0]))
    shown = capsys.readouterr().out
    assert "3 maps of 3 days, 2020-01-30 to 2020-02-03, 2x7 cells of 2 degrees" in shown
    assert "1 of 2 points" in shown or "0 of 2 points" in shown
    with xarray.open_dataset(tmp_path / "out/climatology.nc", engine="h5netcdf") as nc:
        # A cell of 2 degrees holds two pixels.
        mask, observed = (np.array([one[k] for one in written], float) for k in (1, 2))
        pairs = np.reshape(areas, (2, 2))
        for row in range(2):
            both = slice(2 - 2 * row, 4 - 2 * row)
            weight = pairs[1 - row][None, :, None]
            covered = (mask[:, both, :, 0] * weight).sum((0, 1))
            with np.errstate(invalid="ignore"):
                expected = covered / (observed[:, both] * weight).sum((0, 1))
            found = nc.frequency.values[row, :, 0]
            assert np.allclose(found, expected, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Give --maps or --submission"),
        (["--maps", "a.nc", "--submission", "m.csv"], "Give --maps or --submission"),
        (["--maps", "a.nc", "--cells", "7"], "--cells must divide 180"),
        (["--maps", "a.nc", "--threshold", "2"], "--threshold must be from 0 to 1"),
        (["--maps", "a.nc", "--places", "p.csv"], "--places needs --submission"),
        (["--maps", "none.nc"], "'none.nc' does not exist"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(tmp_path, capsys, flags, message):
    assert climatology(tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
