import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import ROOT

from clouds.errors import InputError
from clouds.geo import cf, netcdf, zarr_store
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place
from clouds.runtime import files

pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")

LABELS = ("Fish", "Sugar Flower")
SIZE = (4, 6)
LAYOUT = Layout((-61.0, 10.0, -55.0, 14.0), SIZE, LABELS)
ATTRIBUTES = cf.provenance(
    "Test", run=["runs/a"], weights=["w"], flips=False, rule={"gap": True}
)
DAYS = ("2015-02-05", "2015-02-07", "2015-02-09")


def maps(seed, size=SIZE):
    random = np.random.default_rng(seed)
    probability = random.random((*size, 2))
    return Map(cf.pack(probability), probability > 0.5, random.random(size) > 0.2)


def append(path, *days, layout=LAYOUT, attributes=ATTRIBUTES, seed=0):
    with zarr_store.appending(str(path), layout, attributes) as add:
        return [
            add(f"{day}.jpg", Place(layout.box, day, "Aqua"), one(day, layout, seed))
            for day in days
        ]


def one(day, layout=LAYOUT, seed=0):
    return maps(int(day[8:10]) + seed, layout.size)


def days_of(path):
    with xarray.open_dataset(path, engine="zarr") as read:
        days = read.time.values.astype("datetime64[D]").astype(str).tolist()
        assert [f"{day}.jpg" for day in days] == read.image.values.tolist()
        for index, day in enumerate(days):
            expected, stored = one(day), read.isel(time=index)
            assert (stored.observed.values == expected.observed).all()
            mask = np.where(expected.observed[..., None], expected.mask, np.nan)
            assert np.array_equal(stored.mask.values, mask, equal_nan=True)
    return days


def check_day(day, expected):
    """Compares a day cell by cell."""
    for row, column in np.ndindex(*SIZE):
        cell = {"latitude": row, "longitude": column}
        seen = expected.observed[row, column]
        assert day.observed.isel(cell).item() == seen
        for label in range(2):
            at = cell | {"pattern": label}
            mask, probability = day.mask.isel(at), day.probability.isel(at)
            if seen:
                assert mask.item() == expected.mask[row, column, label]
                exact = expected.probability[row, column, label] / cf.LEVELS
                assert probability.item() == pytest.approx(exact, abs=1e-6)
            else:
                assert np.isnan(mask.item()) and np.isnan(probability.item())


def test_a_store_grows_day_by_day_and_has_what_a_netcdf_file_has(tmp_path):
    assert append(tmp_path / "a.zarr", DAYS[0]) == [True]
    assert append(tmp_path / "a.zarr", *DAYS[1:]) == [True, True]
    assert days_of(tmp_path / "a.zarr") == list(DAYS)
    with xarray.open_dataset(tmp_path / "a.zarr", engine="zarr") as read:
        check_day(read.isel(time=1), one(DAYS[1]))
    with netcdf.writing(tmp_path / "a.nc", LAYOUT, ATTRIBUTES) as add:
        for day in DAYS:
            add(f"{day}.jpg", Place(LAYOUT.box, day, "Aqua"), one(day))
    with (
        xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as file,
        xarray.open_dataset(tmp_path / "a.zarr", engine="zarr") as store,
    ):
        assert set(file.variables) == set(store.variables)
        xarray.testing.assert_allclose(file, store)
        assert file.attrs == store.attrs
        for name in file.variables:
            assert file[name].dims == store[name].dims
            # JSON has no float32 for the scale factor; texts are of another kind.
            if name != "probability" and store[name].dtype.kind in "iuf":
                assert file[name].dtype == store[name].dtype
            assert file[name].attrs.keys() == store[name].attrs.keys()
            for key, value in file[name].attrs.items():
                assert np.array_equal(value, store[name].attrs[key]), (name, key)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_store_reads_the_same_without_consolidated_metadata(tmp_path):
    append(tmp_path / "a.zarr", *DAYS)
    plain = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False)
    with xarray.open_zarr(tmp_path / "a.zarr") as consolidated:
        xarray.testing.assert_identical(plain.load(), consolidated.load())


def test_the_second_append_of_a_day_changes_nothing(tmp_path):
    append(tmp_path / "a.zarr", *DAYS)
    before = {
        p: p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()
    }
    assert append(tmp_path / "a.zarr", *DAYS) == [False] * 3
    after = {p: p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()}
    assert after == before
    with pytest.raises(InputError, match="another map of 2015-02-07.jpg, 2015-02-07"):
        append(tmp_path / "a.zarr", DAYS[1], seed=1)
    assert days_of(tmp_path / "a.zarr") == list(DAYS)


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_day_is_added_in_the_order_of_time(tmp_path, missing):
    path = tmp_path / "a.zarr"
    append(path, *(day for day in DAYS if day != DAYS[missing]))
    # More follow in the same call.
    assert append(path, DAYS[missing], "2015-02-08", "2015-02-10") == [True] * 3
    assert days_of(path) == sorted((*DAYS, "2015-02-08", "2015-02-10"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]


def test_another_image_of_a_day_is_refused_before_anything_is_written(tmp_path):
    append(tmp_path / "a.zarr", *DAYS)
    located = {"b.jpg": Place(LAYOUT.box, DAYS[1], "Terra")}
    with pytest.raises(InputError, match="has 2015-02-07.jpg of 2015-02-07 already"):
        zarr_store.check(str(tmp_path / "a.zarr"), LAYOUT, ATTRIBUTES, located)


@pytest.mark.parametrize(
    ("layout", "changed", "message"),
    [
        (
            Layout((-60, 10, -54, 14), SIZE, LABELS),
            {},
            "longitudes from -61 to -55, not",
        ),
        (Layout(LAYOUT.box, (4, 7), LABELS), {}, "has a grid of 4x6 cells, not 4x7"),
        (
            Layout(LAYOUT.box, SIZE, ("Fish", "B")),
            {},
            "labels Fish, Sugar Flower, not F",
        ),
        (LAYOUT, {"weights": '["v"]', "run": "b"}, 'weights, of the run ["runs/a"], n'),
        (LAYOUT, {"rule": "{}"}, 'has rule {"gap": true}, not {}'),
        (LAYOUT, {"flips": "true"}, "has flips false, not true"),
        (LAYOUT, {"tiles": "[]"}, "has tiles None, not []"),
    ],
)
def test_maps_of_another_kind_are_refused(tmp_path, layout, changed, message):
    append(tmp_path / "a.zarr", *DAYS)
    with pytest.raises(InputError) as error:
        append(
            tmp_path / "a.zarr",
            "2015-03-01",
            layout=layout,
            attributes=ATTRIBUTES | changed,
        )
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert days_of(tmp_path / "a.zarr") == list(DAYS)


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "a.zarr"
    append(path, DAYS[0])
    for days in (DAYS[1:2], ("2015-02-01",)):
        with zarr_store.appending(str(path), LAYOUT, ATTRIBUTES) as add:
            for day in days:
                add(f"{day}.jpg", Place(LAYOUT.box, day, "Aqua"), one(day))
            with pytest.raises(InputError, match="--zarr: another process is writing"):
                append(path, DAYS[2])
    assert days_of(path) == ["2015-02-01", *DAYS[:2]]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("day", [DAYS[1], "2015-02-06"])
def test_a_writer_that_ends_at_any_file_leaves_whole_days(tmp_path, monkeypatch, day):
    first = tmp_path / "first.zarr"
    append(first, DAYS[0], *[DAYS[1]] * (day != DAYS[1]))
    before = days_of(first)
    whole = sorted({*before, day})
    write, states = files.write, set()
    for survived in range(0, 100, 5):
        count, path = 0, tmp_path / f"{survived}/a.zarr"
        path.parent.mkdir()
        subprocess.run(["cp", "-r", first, path], check=True)

        def writing(*arguments, limit=survived):
            nonlocal count
            count += 1
            if count > limit:
                raise Killed
            write(*arguments)

        monkeypatch.setattr(files, "write", writing)
        try:
            append(path, day)
            ended = True
        except Killed:
            ended = False
        monkeypatch.setattr(files, "write", write)
        found = days_of(path)
        assert found in (before, whole)
        states.add(tuple(found))
        # The next writer goes on, another day's chunks in place of what is left.
        append(path, "2015-02-20")
        assert days_of(path) == [*found, "2015-02-20"]
        if ended:
            break
    assert ended and states == {tuple(before), tuple(whole)}
    assert survived > 15


def test_a_writer_that_is_killed_leaves_whole_days(tmp_path):
    path = tmp_path / "a.zarr"
    append(path, DAYS[0])
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests/geo")!r}]
import test_zarr_store as test
from clouds.runtime import files
write = files.write
def writing(path, content):
    if path.name == "0.0.0" and "observed" in str(path) or path.name == "1.0.0":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
files.write = writing
test.append({str(path)!r}, test.DAYS[1])
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    assert (path / "probability" / "1.0.0.0").exists()
    assert days_of(path) == [DAYS[0]]
    assert append(path, DAYS[1]) == [True]
    assert days_of(path) == list(DAYS[:2])


def test_a_replacement_that_ended_between_its_renames_is_finished(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.zarr"
    append(path, *DAYS[1:])
    rename = type(path).rename

    def renaming(self, target):
        if self.name == "part.a.zarr":
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", renaming)
    with pytest.raises(Killed):
        append(path, DAYS[0])
    monkeypatch.setattr(type(path), "rename", rename)
    assert not path.exists()
    assert append(path, DAYS[0]) == [False]
    assert days_of(path) == list(DAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_what_a_killed_replacement_left_is_removed(tmp_path):
    path = tmp_path / "a.zarr"
    append(path, DAYS[0])
    for name in ("part.a.zarr", "part.old.a.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "time").write_text("")
    assert append(path, DAYS[1]) == [True]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert days_of(path) == list(DAYS[:2])


def test_a_writer_killed_at_the_start_leaves_a_folder_that_can_be_used(
    tmp_path, monkeypatch
):
    path, write = tmp_path / "a.zarr", files.write
    for limit in (1, 5, 14):
        left = iter(range(limit))

        def writing(*arguments, left=left):
            if next(left, None) is None:
                raise Killed
            write(*arguments)

        monkeypatch.setattr(files, "write", writing)
        with pytest.raises(Killed):
            append(path, DAYS[0])
        assert not (path / ".zmetadata").exists()
    monkeypatch.setattr(files, "write", write)
    assert append(path, DAYS[1]) == [True]
    assert days_of(path) == [DAYS[1]]


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    import zarr

    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "mine.txt").write_text("")
    with pytest.raises(InputError, match=r"is no Zarr store.*holds mine\.txt"):
        append(folder, DAYS[0])
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]
    zarr.create_group(str(tmp_path / "b.zarr"), zarr_format=2)
    zarr.consolidate_metadata(str(tmp_path / "b.zarr"), zarr_format=2)
    with pytest.raises(InputError, match="is no Zarr store of bin/predict: it has no "):
        append(tmp_path / "b.zarr", DAYS[0])
    append(tmp_path / "c.zarr", DAYS[0])
    (tmp_path / "c.zarr/.zmetadata").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        append(tmp_path / "c.zarr", DAYS[1])


def test_a_store_is_extended_across_the_antimeridian_and_around_the_globe(tmp_path):
    for box, first, last in (
        ((177, 0, -177, 4), 177.5, 182.5),
        ((0, 0, 0, 4), 30, 330),
    ):
        path = tmp_path / f"{first}.zarr"
        append(path, *DAYS, layout=Layout(box, SIZE, LABELS))
        with xarray.open_zarr(path) as read:
            assert read.longitude.values[[0, -1]].tolist() == [first, last]
            assert (np.diff(read.longitude.values) > 0).all()


def test_a_large_map_is_written_in_chunks_of_some_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(cf, "_CELLS_PER_CHUNK", 10)
    monkeypatch.setattr(cf, "_LENGTHS", (3, 4))
    append(tmp_path / "a.zarr", *DAYS)
    assert days_of(tmp_path / "a.zarr") == list(DAYS)
    chunks = {p.name for p in (tmp_path / "a.zarr/observed").glob("2.*")}
    assert chunks == {"2.0.0", "2.0.1", "2.1.0", "2.1.1"}
