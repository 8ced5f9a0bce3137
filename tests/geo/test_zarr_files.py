import numpy as np
import pytest

from clouds.geo import zarr_files
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place

LAYOUT = Layout((0, 0, 3, 2), (2, 3), ("Fish",))


def encode(times, index):
    maps = Map(
        np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3, 1), bool), np.ones((2, 3), bool)
    )
    image = "a.jpg", Place(LAYOUT.box, "1970-01-02"), maps
    return zarr_files.encode({"title": "t"}, times, LAYOUT, index, image)


def test_only_the_chunks_of_the_new_map_are_encoded():
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    times = zarr_files.empty() | {
        "time": np.arange(2) * 86400 * 5,
        "time_bnds": np.zeros((2, 2), np.int64),
        "image": np.array(["x", "y"], object),
        "satellite": np.array(["", ""], object),
    }
    contents = encode(times, 1)
    assert {key for key in contents if key.startswith("mask/")} == {
        "mask/.zarray",
        "mask/.zattrs",
        "mask/1.0.0.0",
    }
    assert b"1970" not in contents["time/0"]
    assert b'"title"' in contents[".zmetadata"]


def test_chunks_of_fill_values_are_written_over_what_a_killed_writer_left():
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    maps = Map(
        np.full((2, 3, 1), 255, np.uint8),
        np.zeros((2, 3, 1), bool),
        np.zeros((2, 3), bool),
    )
    image = "a.jpg", Place(LAYOUT.box, "1970-01-02"), maps
    contents = zarr_files.encode({}, zarr_files.empty(), LAYOUT, 0, image)
    assert {"probability/0.0.0.0", "mask/0.0.0.0", "observed/0.0.0"} < set(contents)


def test_the_metadata_that_make_a_store_longer_are_written_after_the_chunks(
    tmp_path, monkeypatch
):
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    order = []
    monkeypatch.setattr(
        zarr_files.files, "write", lambda path, _: order.append(path.name)
    )
    zarr_files.commit(tmp_path, encode(zarr_files.empty(), 0))
    place = order.index(".zmetadata")
    assert not any(name.startswith(".z") for name in order[:place])
    assert all(name.startswith(".z") for name in order[place:])
