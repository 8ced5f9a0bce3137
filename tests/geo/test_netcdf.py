import numpy as np
import pytest

from clouds.errors import InputError
from clouds.geo import cf, netcdf
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place
from clouds.runtime import files

LABELS = ("Fish", "Sugar Flower")
SIZE = (4, 6)


def maps(seed):
    random = np.random.default_rng(seed)
    probability = random.random((*SIZE, 2))
    mask = probability > 0.5
    return probability, Map(cf.pack(probability), mask, random.random(SIZE) > 0.2)


def write(path, box, *times):
    layout = Layout(box, SIZE, LABELS)
    attributes = cf.provenance("Test", source="tests", rule={"gap": True})
    with netcdf.writing(path, layout, attributes) as add:
        for seed, time in enumerate(times):
            add(f"{seed}.jpg", Place(box, time, "Aqua"), maps(seed)[1])
    return path


@pytest.fixture
def packages():
    pytest.importorskip("h5netcdf", reason="`bin/setup geo` installs it")
    return pytest.importorskip("xarray", reason="`bin/setup geo` installs it")


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.filterwarnings("ignore:numpy.ndarray size changed:RuntimeWarning")
def test_xarray_reads_what_was_written_cell_by_cell(packages, tmp_path, engine):
    if engine == "netcdf4":
        pytest.importorskip("netCDF4", reason="`bin/setup geo` installs it")
    path = write(
        tmp_path / "a.nc", (-61.0, 10.0, -55.0, 14.0), "2015-02-05", "2015-02-07"
    )
    with packages.open_dataset(path, engine=engine) as read:
        assert read.probability.dims == ("time", "latitude", "longitude", "pattern")
        assert read.latitude.values.tolist() == [13.5, 12.5, 11.5, 10.5]
        assert read.longitude.values.tolist() == [-60.5 + k for k in range(6)]
        assert read.latitude_bnds.values[0].tolist() == [14, 13]
        days = read.time.values.astype("datetime64[D]").astype(str).tolist()
        assert days == ["2015-02-05", "2015-02-07"]
        ends = read.time_bnds.values[1].astype("datetime64[D]").astype(str).tolist()
        assert ends == ["2015-02-07", "2015-02-08"]
        assert read.pattern_name.values.tolist() == list(LABELS)
        assert read.pattern.flag_meanings == "Fish Sugar_Flower"
        assert read.satellite.values.tolist() == ["Aqua", "Aqua"]
        assert (read.Conventions, read.rule) == ("CF-1.11", '{"gap": true}')
        for seed in range(2):
            probability, (_, mask, observed) = maps(seed)
            day = read.isel(time=seed)
            assert (day.observed.values == observed).all()
            assert (np.isnan(day.mask.values) == ~observed[..., None]).all()
            assert (day.mask.values[observed] == mask[observed]).all()
            error = abs(day.probability.values - probability)[observed].max()
            assert error <= 0.5 / cf.LEVELS + 1e-6
            assert np.isnan(day.probability.values[~observed]).all()


def test_longitudes_ascend_across_the_antimeridian(packages, tmp_path):
    path = write(tmp_path / "a.nc", (177.0, 0.0, -177.0, 4.0), "2015-02-05T13:30:00Z")
    with packages.open_dataset(path, engine="h5netcdf") as read:
        assert read.longitude.values.tolist() == [177.5 + k for k in range(6)]
        assert (read.time_bnds.values == read.time.values).all()


def test_a_file_that_is_not_finished_does_not_exist(packages, tmp_path):
    layout = Layout((0.0, 0.0, 6.0, 4.0), SIZE, LABELS)
    with pytest.raises(KeyError), netcdf.writing(tmp_path / "a.nc", layout, {}):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_map_without_room_on_the_disk_is_refused_before_it_is_written(
    packages, tmp_path, monkeypatch
):
    free = [10_000_000, 10_000_000, 1000]
    monkeypatch.setattr(files, "_free", lambda folder: free.pop(0))
    with pytest.raises(InputError, match="need 4 MB, and the disk of .* has 0.0 MB"):
        write(tmp_path / "a.nc", (0.0, 0.0, 6.0, 4.0), "2015-02-05", "2015-02-07")
    assert not list(tmp_path.iterdir())
