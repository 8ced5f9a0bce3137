import json

import numpy as np
import pytest
from helpers import small
from PIL import Image

from clouds import rle, schema
from clouds.cli import main
from clouds.data import annotations
from clouds.geo import packages, zarr_files
from clouds.prediction import maps

LATER = "Aqua_CorrectedReflectance20150206_-61--40_10-24.jpeg"
FIRST = "Terra_CorrectedReflectance20150205_-61--40_10-24.jpeg"
GAP = slice(0, 10)


@pytest.fixture(scope="module")
def run(smooth_network, tmp_path_factory):
    return small.write_run(tmp_path_factory.mktemp("run"), "r")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate((LATER, FIRST)):
        write_image(folder / name, seed)
    return folder


def write_image(path, seed=0, size=(60, 40)):
    noise = np.random.default_rng(seed).integers(9, 256, (8, 12, 3), np.uint8)
    pixels = np.array(Image.fromarray(noise).resize(size))
    pixels[:, GAP] = 0
    Image.fromarray(pixels).save(path, quality=100)


def predict(run, images, out, *flags):
    pytest.importorskip("h5netcdf", reason="`bin/setup geo` installs it")
    arguments = ["--run", run, "--images", images, "--out", out, "--overlays", 0]
    arguments += ["--threshold", 0.4, "--min-area", 0, *flags]
    return main.main(["predict", *map(str, arguments)])


def test_a_map_has_the_masks_of_the_submission_by_time(run, images, tmp_path):
    xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
    out, file = tmp_path / "out", tmp_path / "new/maps.nc"
    assert predict(run, images, out, "--netcdf", file, "--probabilities", "npz") == 0
    rows = annotations.read(str(out / "submission_post.csv"))
    with xarray.open_dataset(file, engine="h5netcdf") as read:
        assert read.image.values.tolist() == [FIRST, LATER]
        assert read.pattern_name.values.tolist() == list(schema.CLOUDS.labels)
        assert json.loads(read.attrs["run"]) == [str(run)]
        assert json.loads(read.rule)["thresholds"] == [0.4] * 4
        for name in (FIRST, LATER):
            day = read.isel(time=read.image.values.tolist().index(name))
            observed = day.observed.values > 0
            assert 0 < (~observed).mean() < 0.3
            texts = rows.texts[rows.images.index(name)]
            masks = np.stack([rle.decode(text, (350, 525)) for text in texts], -1)
            assert masks.any() and not masks[~observed].any()
            assert (day.mask.values[observed] == masks[observed]).all()
            kept = np.load(out / "probabilities" / f"{name}.npz")["probabilities"]
            mean = day.probability.mean().item()
            assert mean == pytest.approx(kept[:, 18:].mean(), abs=0.02)
    assert not (out / maps.FOLDER).exists()
    assert predict(run, images, out, "--netcdf", file, "--probabilities", "npz") == 0


def test_what_is_unreadable_or_unplaced_is_added_when_it_is_mended(
    run, images, tmp_path, capsys
):
    xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
    out, file = tmp_path / "out", tmp_path / "maps.nc"
    whole = (images / LATER).read_bytes()
    (images / LATER).write_bytes(b"torn")
    (images / "2015-02-07.jpeg").write_bytes(whole)
    flags = ["--netcdf", file]
    assert predict(run, images, out, *flags) == 3
    with xarray.open_dataset(file, engine="h5netcdf") as read:
        assert read.image.values.tolist() == [FIRST]
    (images / LATER).write_bytes(whole)
    # Its map is lost, and so it is predicted again.
    next((out / maps.FOLDER).iterdir()).unlink()
    world = "0.35\n0\n0\n-0.35\n-60.825\n23.825\n"
    (images / "2015-02-07.jgw").write_text(world)
    assert predict(run, images, out, *flags) == 0
    with xarray.open_dataset(file, engine="h5netcdf") as read:
        assert read.image.values.tolist() == [FIRST, LATER, "2015-02-07.jpeg"]
    assert "2 of 3" not in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (FIRST.replace("-61--40", "-62--41"), (60, 40), "must have one box"),
        (FIRST.replace("0205", "0207"), (90, 60), "must have one size"),
        (LATER.replace("Aqua", "Terra"), (60, 40), "have the same time, 2015-02-06"),
    ],
)
def test_images_that_do_not_fit_one_grid_are_refused_before_predicting(
    run, images, tmp_path, capsys, name, size, message
):
    write_image(images / name, size=size)
    assert predict(run, images, tmp_path / "out", "--netcdf", tmp_path / "a.nc") == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_places_and_times_are_needed_and_a_foreign_file_is_kept(
    run, images, tmp_path, capsys
):
    other, out, file = tmp_path / "other", tmp_path / "out", tmp_path / "a.nc"
    other.mkdir()
    write_image(other / "a.jpeg")
    assert predict(run, other, out, "--netcdf", file) == 2
    assert "--netcdf: no image has a place." in capsys.readouterr().err
    assert predict(run, other, out, "--netcdf", file, "--bbox=-61,10,-40,24") == 2
    assert "1 of 1 image have no time, first a.jpeg" in capsys.readouterr().err
    file.write_text("mine")
    assert predict(run, images, out, "--netcdf", file) == 2
    assert "exists. Give another name, or --overwrite." in capsys.readouterr().err
    assert file.read_text() == "mine"
    records = ["--run", run, "--records", "r", "--out", out, "--netcdf", file]
    assert main.main(["predict", *map(str, records)]) == 2
    assert "--netcdf must be used with --images" in capsys.readouterr().err


DAY = "Aqua_CorrectedReflectance201502{:02}_-61--40_10-24.jpeg"


@pytest.fixture
def days(tmp_path):
    """Three days, the second one of which comes late."""
    folder = tmp_path / "days"
    folder.mkdir()
    for day in (5, 6, 8):
        write_image(folder / DAY.format(day), day)
    return folder


def open_store(path):
    xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    return xarray.open_dataset(path, engine="zarr")


def check_store(path, *folders):
    """Compares a store with the submissions of predictions, cell by cell."""
    with open_store(path) as read:
        names = read.image.values.tolist()
        assert read.time.to_index().is_monotonic_increasing
        expected = {}
        for out in folders:
            rows = annotations.read(str(out / "submission_post.csv"))
            expected |= dict(zip(rows.images, rows.texts, strict=True))
        assert sorted(expected) == names
        for index, name in enumerate(names):
            day = read.isel(time=index)
            masks = [rle.decode(text, (350, 525)) for text in expected[name]]
            observed = day.observed.values > 0
            assert 0 < observed.mean() < 1
            assert (day.mask.values[observed] == np.stack(masks, -1)[observed]).all()
            assert np.isnan(day.mask.values[~observed]).all()
            assert day.probability.isnull().values[~observed].all()


def test_a_store_grows_by_predictions_of_other_days(run, days, tmp_path, capsys):
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    store, late = tmp_path / "belt.zarr", tmp_path / "late"
    late.mkdir()
    (days / DAY.format(6)).rename(late / DAY.format(6))
    flags = ["--zarr", store]
    assert predict(run, days, tmp_path / "one", *flags) == 0
    check_store(store, tmp_path / "one")
    # The day that was missing takes its place.
    assert predict(run, late, tmp_path / "two", *flags) == 0
    check_store(store, tmp_path / "one", tmp_path / "two")
    # Again, in another folder: nothing changes.
    before = (store / "mask/1.0.0.0").stat()
    assert predict(run, late, tmp_path / "three", *flags) == 0
    assert (store / "mask/1.0.0.0").stat() == before
    assert "1 image" in capsys.readouterr().out
    # With another rule, nothing is predicted.
    other = ["--threshold", 0.5, "--zarr", store]
    assert predict(run, late, tmp_path / "four", *other) == 2
    assert "belt.zarr' has rule " in capsys.readouterr().err
    assert not (tmp_path / "four/predict.jsonl.part").exists()
    with open_store(store) as read:
        assert json.loads(read.attrs["run"]) == [str(run)]
        assert read.attrs["source"].startswith("clouds ")


def test_images_that_do_not_fit_into_a_store_are_refused_before_predicting(
    run, days, tmp_path, capsys
):
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    store = tmp_path / "belt.zarr"
    assert predict(run, days, tmp_path / "one", "--zarr", store) == 0
    for name, message in (
        (DAY.format(5).replace("Aqua", "Terra"), "has Aqua_Corr"),
        (DAY.format(9).replace("-61--40", "-60--39"), "has longitudes from -61 to -40"),
    ):
        other = tmp_path / name[:5]
        other.mkdir(exist_ok=True)
        write_image(other / name)
        out = tmp_path / f"{name}.out"
        assert predict(run, other, out, "--zarr", store) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert error.count("\n") == 0
        (other / name).unlink()
    check_store(store, tmp_path / "one")


def test_an_interrupted_append_goes_on_without_predicting_again(
    run, days, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    out, store = tmp_path / "out", tmp_path / "belt.zarr"
    commit = zarr_files.commit

    def interrupted(folder, contents):
        if (folder / zarr_files.METADATA).exists():
            raise KeyboardInterrupt
        commit(folder, contents)

    monkeypatch.setattr(zarr_files, "commit", interrupted)
    assert predict(run, days, out, "--zarr", store) == 130
    with open_store(store) as read:
        assert read.image.values.tolist() == [DAY.format(5)]
    monkeypatch.setattr(zarr_files, "commit", commit)
    capsys.readouterr()
    assert predict(run, days, out, "--zarr", store) == 0
    assert "Already predicted: 3 of 3 images." in capsys.readouterr().out
    check_store(store, out)


def test_geotiffs_and_geoparquet_have_the_masks_of_the_submission(run, days, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    geopandas = pytest.importorskip("geopandas", reason="`bin/setup geo` installs it")
    out = tmp_path / "out"
    write_image(days / "unplaced.jpeg")
    assert predict(run, days, out, "--geotiff", "--geoparquet", "--geojson") == 3
    rows = annotations.read(str(out / "submission_post.csv"))
    polygons = geopandas.read_parquet(out / "masks.parquet")
    features = json.loads((out / "masks.geojson").read_text())["features"]
    located = [one for one in features if one["geometry"]]
    assert len(polygons) == len(located) > 0
    for (_, row), feature in zip(polygons.iterrows(), located, strict=True):
        facts = {name: row[name] for name in feature["properties"]}
        assert facts == feature["properties"]
        assert row.geometry.equals(
            geopandas.GeoDataFrame.from_features([feature]).geometry[0]
        )
    files = sorted(path.name for path in (out / "geotiff").iterdir())
    assert files == [f"{DAY.format(day)}.tif" for day in (5, 6, 8)]
    for name in (DAY.format(day) for day in (5, 6, 8)):
        texts = rows.texts[rows.images.index(name)]
        masks = np.stack([rle.decode(text, (350, 525)) for text in texts])
        with rasterio.open(out / "geotiff" / f"{name}.tif") as file:
            assert file.descriptions == schema.CLOUDS.labels
            assert np.allclose(file.bounds, (-61, 10, -40, 24))
            bands = file.read()
        observed = bands != 255
        assert 0 < observed.mean() < 1
        assert (bands[observed] == masks[observed]).all()


def test_a_package_that_is_missing_is_named_before_anything_is_predicted(
    run, days, tmp_path, monkeypatch, capsys
):
    find_spec = packages.importlib.util.find_spec
    monkeypatch.setattr(
        packages.importlib.util,
        "find_spec",
        lambda name, *rest: (
            None if name in ("zarr", "rasterio", "shapely") else find_spec(name, *rest)
        ),
    )
    for flags, missing in (
        (["--zarr", tmp_path / "z"], "zarr is not installed, which --zarr needs"),
        (["--geotiff"], "rasterio is not installed, which --geotiff needs"),
        (["--geoparquet"], "shapely is not installed, which --geoparquet needs"),
    ):
        assert predict(run, days, tmp_path / "out", *flags) == 2
        assert f"{missing}. Run bin/setup geo" in capsys.readouterr().err


def test_a_projected_geotiff_is_named_with_what_to_do(run, tmp_path, capsys):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    pytest.importorskip("zarr", reason="`bin/setup geo` installs it")
    path = tmp_path / "images/2015-02-05.tif"
    path.parent.mkdir()
    options = {"height": 40, "width": 60, "count": 3, "dtype": "uint8"}
    transform = rasterio.Affine(1000, 0, 0, 0, -1000, 0)
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:3857", transform=transform, **options
    ) as file:
        file.write(np.full((3, 40, 60), 99, np.uint8))
    flags = ["--zarr", tmp_path / "z"]
    assert predict(run, path.parent, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--zarr: no image has a place." in error
    assert "is in a projection, not in degrees, EPSG:4326" in error
    assert "gdalwarp -t_srs EPSG:4326" in error
