import json

import numpy as np
import pytest
from helpers import small
from PIL import Image

from clouds.cli import main
from clouds.config.prediction import Prediction
from clouds.geo.places import Place, Places
from clouds.prediction import placing

WEST = "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg"
ACROSS = "Terra_CorrectedReflectance20150206_170--169_8-22.jpeg"
UPSIDE_DOWN = "Aqua_CorrectedReflectance20150207_-61--40_24-10.jpeg"


@pytest.fixture(scope="module")
def run(smooth_network, tmp_path_factory):
    return small.write_run(tmp_path_factory.mktemp("run"), "r")


def write_images(folder, *names, size=(60, 40)):
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
        Image.fromarray(noise).resize(size).save(folder / name)
    return folder


def predict(run, images, out, *flags):
    arguments = ["--run", run, "--images", images, "--out", out, "--overlays", 0]
    arguments += ["--threshold", 0.4, "--min-area", 0, "--geojson", *flags]
    return main.main(["predict", *map(str, arguments)])


def features(out):
    collection = json.loads((out / "masks.geojson").read_text())
    by_image = {}
    for feature in collection["features"]:
        by_image.setdefault(feature["properties"]["image"], []).append(feature)
    return collection, by_image


def longitudes(feature):
    geometry = feature["geometry"]
    whole = geometry["coordinates"]
    polygons = [whole] if geometry["type"] == "Polygon" else whole
    return [x for polygon in polygons for ring in polygon for x, _ in ring]


def test_each_image_lies_where_its_name_says(run, tmp_path):
    images = write_images(tmp_path / "images", WEST, ACROSS)
    assert predict(run, images, tmp_path / "out") == 0
    collection, by_image = features(tmp_path / "out")
    assert "degrees" in collection["coordinate_system"] and "bbox" not in collection
    assert set(by_image) == {WEST, ACROSS}
    for feature in by_image[WEST]:
        assert all(-61 <= x <= -40 for x in longitudes(feature))
        assert feature["properties"]["time"] == "2015-02-05"
        assert feature["properties"]["satellite"] == "Aqua"
    for feature in by_image[ACROSS]:
        assert all(x >= 170 or x <= -169 for x in longitudes(feature))


def test_an_impossible_place_costs_the_polygons_only_and_can_be_mended(
    run, tmp_path, capsys, monkeypatch
):
    images = write_images(tmp_path / "images", WEST, UPSIDE_DOWN, "a.jpeg")
    out, table = tmp_path / "out", tmp_path / "places.csv"
    header = "image,time,west,south,east,north\n"
    table.write_text(f"{header}a.jpeg,,0,0,21,-14\n")
    assert predict(run, images, out, "--places", table) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert f"no place: {UPSIDE_DOWN} has an impossible box" in "\n".join(lines[:2])
    assert f"no place: {table}, row 2 has an impossible box" in "\n".join(lines[:2])
    assert "2 of 3 images have no place" in lines[2]
    assert len((out / "unplaced.txt").read_text().splitlines()) == 2
    _, by_image = features(out)
    assert all(feature["geometry"] is None for feature in by_image[UPSIDE_DOWN])
    assert all(feature["geometry"] for feature in by_image[WEST])
    assert len((out / "submission.csv").read_text().splitlines()) == 13
    table.write_text(f"{header}a.jpeg,,0,0,21,14\n{UPSIDE_DOWN},,-61,10,-40,24\n")
    assert predict(run, images, out, "--places", table) == 0
    assert "Already predicted: 3 of 3 images" in capsys.readouterr().out
    _, by_image = features(out)
    assert all(f["geometry"] for group in by_image.values() for f in group)
    assert by_image[UPSIDE_DOWN][0]["properties"]["time"] == "2015-02-07"
    assert not (out / "unplaced.txt").exists()
    assert predict(run, images, out, "--places", table) == 0
    assert "already predicted" in capsys.readouterr().out
    table.write_text(f"{header}a.jpeg,,1,0,22,14\n{UPSIDE_DOWN},,-61,10,-40,24\n")
    assert predict(run, images, out, "--places", table) == 2
    assert "holds other predictions: other places." in capsys.readouterr().err


def test_images_of_no_place_have_polygons_in_pixels(run, tmp_path, capsys):
    images = write_images(tmp_path / "images", "a.jpeg")
    assert predict(run, images, tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert "Polygons are in pixels" in shown.out and not shown.err
    collection, _ = features(tmp_path / "out")
    assert "pixels" in collection["coordinate_system"]


def test_a_box_of_other_proportions_is_doubted_by_name(tmp_path, capsys):
    path = write_images(tmp_path / "images", WEST, size=(40, 40)) / WEST
    settings = Prediction(run=("r",), images="i", out="o", geojson=True)
    found = placing.find(settings, {WEST: str(path)})
    assert found == Places(
        {WEST: Place((-61.0, 10.0, -40.0, 24.0), "2015-02-05", "Aqua")}, {}
    )
    error = capsys.readouterr().err
    assert f"the box of {WEST}, -61,10,-40,24, has another aspect ratio" in error
    assert "40x40 pixels (height x width): check its place" in error


def test_of_many_faults_the_first_are_said_and_the_others_counted(capsys):
    settings = Prediction(run=("r",), images="i", out="o", geojson=True)
    names = [UPSIDE_DOWN.replace("0207", f"02{day:02}") for day in range(1, 26)]
    assert len(placing.find(settings, dict.fromkeys(names)).faults) == 25
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1] == "predict: and 5 more."
    assert placing.find(settings, None) is None


def test_places_without_geojson_are_refused(capsys):
    flags = ["--run", "r", "--images", "i", "--out", "o", "--places", "p.csv"]
    assert main.main(["predict", *flags]) == 2
    assert "--places must be used with --geojson" in capsys.readouterr().err


def test_images_of_records_lie_where_the_records_were_told(run, tmp_path, capsys):
    images = write_images(tmp_path / "images", "a.jpeg", "b.jpeg")
    table, records = tmp_path / "places.csv", tmp_path / "records"
    table.write_text(
        "image,time,west,south,east,north,satellite\n"
        "a.jpeg,2015-02-05,-171,0,189,14,Terra\nb.jpeg,,170,0,-169,14,\n"
    )
    source = ["--images", images, "--out", records, "--places", table]
    flags = ["--unlabelled", "--size", "64x96", "--workers", 1]
    assert main.main(["make_tfrecords", *map(str, [*source, *flags])]) == 0
    out = ["--out", tmp_path / "out", "--geojson", "--threshold", 0.4, "--min-area", 0]
    of_run = ["--run", run, "--records", records, "--overlays", 0, *out]
    assert main.main(["predict", *map(str, of_run)]) == 0
    collection, by_image = features(tmp_path / "out")
    assert "degrees" in collection["coordinate_system"]
    assert by_image["a.jpeg"][0]["properties"]["time"] == "2015-02-05"
    assert by_image["a.jpeg"][0]["properties"]["satellite"] == "Terra"
    east = longitudes(by_image["b.jpeg"][0])
    assert all(x >= 170 or x <= -169 for x in east)
    (records / "places.csv").unlink()
    assert main.main(["predict", *map(str, of_run), "--overwrite"]) == 2
    assert "places.csv is missing or was changed" in capsys.readouterr().err
