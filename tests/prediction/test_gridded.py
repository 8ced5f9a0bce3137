import json

import numpy as np
import pytest
from helpers import small
from PIL import Image

from clouds import rle, schema
from clouds.cli import main
from clouds.data import annotations
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
    out, file = tmp_path / "out", tmp_path / "maps.nc"
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
