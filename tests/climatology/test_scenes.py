import numpy as np
import pytest
from helpers import map_files

from clouds.climatology import scenes
from clouds.config.presentation import Climatology
from clouds.errors import InputError

xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
pytest.importorskip("h5netcdf", reason="`bin/setup geo` installs it")


def find(**flags):
    return scenes.find(Climatology(out="out", **flags))


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_maps_are_read_back(tmp_path, name):
    if name == "a.zarr":
        pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    path = str(tmp_path / name)
    written = map_files.write(path, "2020-01-01", "2020-01-02T13:30:00Z")
    found, labels = find(maps=(path,))
    assert labels == ("Fish", "Sugar")
    assert [str(one.time) for one in found] == [
        "2020-01-01T00:00:00",
        "2020-01-02T13:30:00",
    ]
    assert [one.name for one in found] == ["2020-01-01.jpg", "2020-01-02T13:30:00Z.jpg"]
    assert found[0].grid.latitude.tolist() == [4, 3, 2, 1, 0]
    assert found[0].grid.longitude.tolist() == list(range(170, 186, 2))
    for one, (probability, mask, observed) in zip(found, written, strict=True):
        values = one.read()
        assert (values.mask == mask).all() and (values.observed == observed).all()
        assert np.nanmax(abs(values.probability - probability)) < 0.0021
        assert (np.isnan(values.probability[..., 0]) == ~observed).all()


def test_edges_follow_from_centres_without_bounds(tmp_path):
    path, bare = tmp_path / "a.nc", str(tmp_path / "b.nc")
    map_files.write(path, "2020-01-01")
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        file = file.drop_vars(["latitude_bnds", "longitude_bnds"])
        file.to_netcdf(bare, engine="h5netcdf")
    found, _ = find(maps=(bare,))
    assert np.allclose(found[0].grid.latitude, [4, 3, 2, 1, 0])


def test_files_that_do_not_fit_are_refused(tmp_path):
    path, other, bad = (str(tmp_path / name) for name in ("a.nc", "b.nc", "c.nc"))
    map_files.write(path, "2020-01-01")
    map_files.write(other, "2020-01-02", labels=("Fish", "Flower"))
    with pytest.raises(
        InputError, match=r"b\.nc has the patterns Fish, Flower, .*a\.nc"
    ):
        find(maps=(path, other))
    with pytest.raises(
        InputError, match=r"2020-01-01\.jpg of .* is in .*counted twice"
    ):
        find(maps=(path, path))
    with pytest.raises(InputError, match="does not exist"):
        find(maps=(str(tmp_path / "none.nc"),))
    (tmp_path / "text.nc").write_text("no")
    with pytest.raises(InputError, match=r"text\.nc' cannot be read as NetCDF"):
        find(maps=(str(tmp_path / "text.nc"),))
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        file.drop_vars("mask").to_netcdf(bad, engine="h5netcdf")
    with pytest.raises(InputError, match=r"c\.nc has no mask"):
        find(maps=(bad,))


def test_masks_of_a_csv_have_the_places_of_their_images(tmp_path):
    table, places = tmp_path / "m.csv", tmp_path / "p.csv"
    rows = ["a.jpg_A,1 2", "a.jpg_B,", "b.jpg_A,", "b.jpg_B,5 1"]
    table.write_text("Image_Label,EncodedPixels\n" + "\n".join(rows) + "\n")
    flags = {"submission": str(table), "places": str(places), "grid": (2, 3)}
    places.write_text(
        "image,time,west,south,east,north\n"
        "b.jpg,2020-01-01,0,0,3,2\na.jpg,2020-01-02,178,0,-179,2\n"
    )
    found, labels = find(**flags)
    assert labels == ("A", "B") and [one.name for one in found] == [
        "b.jpg",
        "a.jpg",
    ]
    assert found[1].grid.longitude.tolist() == [178, 179, 180, 181]
    assert found[0].read().mask[..., 1].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert found[1].read().mask[..., 0].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert found[0].read().observed.all()
    places.write_text("image,time,west,south,east,north\nb.jpg,2020-01-01,0,0,3,2\n")
    with pytest.raises(InputError, match=r"1 of 2 images have no place .*first a\.jpg"):
        find(**flags)


def test_the_order_of_dimensions_and_bounds_with_a_time_do_not_matter(tmp_path):
    path, other = str(tmp_path / "a.nc"), str(tmp_path / "b.nc")
    map_files.write(path, "2020-01-01", "2020-01-02")
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        parts = [file.isel(time=[k]) for k in range(2)]
        joined = xarray.concat(parts, "time", data_vars="all")
        joined = joined.transpose("pattern", "longitude", "time", ...)
        joined.to_netcdf(other, engine="h5netcdf")
    found, again = (find(maps=(each,))[0] for each in (path, other))
    for one, same in zip(found, again, strict=True):
        assert (one.grid.latitude == same.grid.latitude).all()
        for a, b in zip(one.read(), same.read(), strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_a_place_at_fault_is_named(tmp_path):
    table, places = tmp_path / "m.csv", tmp_path / "p.csv"
    table.write_text("Image_Label,EncodedPixels\na.jpg_A,1 2\na.jpg_B,\n")
    flags = {"submission": str(table), "places": str(places), "grid": (2, 3)}
    places.write_text("image,time,west,south,east,north\na.jpg,2020-01-01,5,0,5,2\n")
    with pytest.raises(InputError, match=r"p\.csv, row 2 has an impossible box"):
        find(**flags)
    places.write_text("image,time,west,south,east,north\na.jpg,1200-01-01,1,0,5,2\n")
    with pytest.raises(InputError, match="time of a.jpg, 1200-01-01T00:00:00, must be"):
        find(**flags)
