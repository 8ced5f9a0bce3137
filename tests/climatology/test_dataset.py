import numpy as np
import pytest

from clouds.climatology import dataset, frequencies
from clouds.climatology.cells import Cells
from clouds.climatology.frequencies import Daily
from clouds.config.presentation import Climatology

xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")


def test_xarray_reads_every_variable_back_cell_by_cell(tmp_path):
    random = np.random.default_rng(0)
    days = np.array(["2020-01-30", "2020-01-31", "2020-02-01"], "datetime64[D]")
    observed = random.random((3, 2, 4)).astype(np.float32)
    covered = observed[..., None] * random.random((3, 2, 4, 2)).astype(np.float32)
    daily = Daily(
        Cells(2.5, 40, 2, 142, 4), days, np.int32([1, 2, 1]), covered, observed
    )
    overall = frequencies.estimate(covered, observed, resamples=20)
    monthly = {
        np.datetime64("2020-01"): frequencies.estimate(
            covered[:2], observed[:2], resamples=20
        ),
        np.datetime64("2020-02"): frequencies.estimate(
            covered[2:], observed[2:], resamples=20
        ),
    }
    settings = Climatology(maps=("some/a.nc",), out="out", threshold=0.4)
    dataset.write(tmp_path / "c.nc", daily, overall, monthly, ("A", "B c"), settings)
    with xarray.open_dataset(tmp_path / "c.nc", engine="h5netcdf") as read:
        assert read.frequency.dims == ("latitude", "longitude", "pattern")
        for end in ("", "_low", "_high"):
            field = end.strip("_") or "value"
            expected = getattr(overall, field)
            assert (read[f"frequency{end}"].values == expected).all()
            for k, one in enumerate(monthly.values()):
                found = read[f"monthly_frequency{end}"].values[k]
                assert (found == getattr(one, field)).all()
        expected = (covered / observed[..., None]).astype(np.float32)
        assert np.allclose(read.daily_frequency, expected)
        assert (read.daily_observed.values == observed).all()
        assert read.daily_maps.values.tolist() == [1, 2, 1]
        assert read.monthly_days.values.tolist() == [2, 1]
        assert np.allclose(read.monthly_observed[0], observed[:2].mean(0))
        assert read.latitude.values.tolist() == [11.25, 13.75]
        assert read.longitude_bnds.values[[0, -1]].tolist() == [
            [175, 177.5],
            [182.5, 185],
        ]
        assert (read.time.values == days).all()
        assert read.month_bnds.values[0].astype("datetime64[D]").astype(
            str
        ).tolist() == [
            "2020-01-01",
            "2020-02-01",
        ]
        assert read.pattern_name.values.tolist() == ["A", "B c"]
        assert read.pattern.flag_meanings == "A B_c"
        assert read.source.endswith("from probabilities above 0.4")
        assert (read.inputs, read.Conventions) == ('["a.nc"]', "CF-1.11")
