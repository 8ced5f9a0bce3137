import json

import cv2
import keras
import numpy as np
import pytest
from helpers import small
from PIL import Image

from clouds import rle, schema
from clouds.cli import main
from clouds.data import annotations
from clouds.prediction.tiling import mosaic, scenes, tiled
from clouds.runs import network

SIZE = (64, 96)
TILE = (128, 192)
GRID = (350, 525)


@pytest.fixture(scope="module")
def run(smooth_network, tmp_path_factory):
    return small.write_run(tmp_path_factory.mktemp("run"), "r")


def paint(size, seed=0, *, wraps=False):
    """Clouds of many sizes, with an orbit gap."""
    height, width = size
    noise = np.random.default_rng(seed).random((height // 16 + 2, width // 16, 3))
    if wraps:
        noise[:, -1] = noise[:, 0]
    image = Image.fromarray((noise * 255).astype(np.uint8))
    pixels = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
    pixels[:, width // 3 : width // 3 + 12] = 0
    return np.maximum(pixels, 9) * (pixels.sum(-1, keepdims=True) > 0)


def write(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path.parent


def predict(run, images, out, *flags, threshold=0.4, min_area=0):
    arguments = ["--run", run, "--images", images, "--out", out]
    arguments += ["--threshold", threshold, "--min-area", min_area, *flags]
    return main.main(["predict", *map(str, arguments)])


def in_tiles(*arguments, **options):
    return predict(*arguments, "--tile-pixels", "192x128", "--overlays", 0, **options)


def masks_of(out, name, grid):
    rows = annotations.read(str(out / "submission_post.csv"))
    texts = rows.texts[rows.images.index(name)]
    return np.stack([rle.decode(text, grid) for text in texts], -1)


def probabilities_of(out, name):
    return np.load(out / "probabilities" / f"{name}.npz")["probabilities"]


def test_a_scene_of_one_tile_gives_the_files_of_an_image(run, tmp_path):
    images = write(tmp_path / "images/a.png", paint(TILE))
    flags = ["--geojson", "--coco", "--masks", "--bbox=-61,10,-40,24"]
    # The score of Fish is below 0.5, the others above.
    flags += ["--presence", "0.5", "--peak-threshold", "0.5"]
    whole, tiles = tmp_path / "whole", tmp_path / "tiles"
    assert predict(run, images, whole, *flags) == 0
    flags += ["--tile-degrees", "21x14"]
    assert predict(run, images, tiles, *flags) == 0
    written = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert len(written) == 10
    for path in written:
        if path.name not in ("predict.json", "overlays.png"):
            assert (tiles / path).read_bytes() == (whole / path).read_bytes(), path
    drawn = masks_of(tiles, "a.png", GRID).any(axis=(0, 1)).tolist()
    assert drawn == [False, True, True, True]


def test_tiles_give_what_one_pass_over_the_scene_gives(run, tmp_path):
    size = (256, 480)
    pixels = paint(size)
    images, out = write(tmp_path / "images/a.png", pixels), tmp_path / "out"
    assert in_tiles(run, images, out, "--probabilities", "npz") == 0
    blended = probabilities_of(out, "a.png")
    assert blended.shape == (700, 1312, 4)
    # The same weights in a network as large as the scene.
    one = network.load([str(run)])
    large = small.build_smooth((size[0] // 2, size[1] // 2))
    large.set_weights(one.get_weights())
    halved = pixels.reshape(size[0] // 2, 2, size[1] // 2, 2, 3).mean((1, 3)).round()
    logits = large.predict_on_batch(halved[None] / 255)
    expected = keras.ops.image.resize(
        1 / (1 + np.exp(-logits)), blended.shape[:2], antialias=False
    )
    difference = np.abs(blended - np.asarray(expected)[0])
    # The ends of a tile, at which the network pads, count least.
    assert difference.mean() < 0.01
    assert np.quantile(difference, 0.99) < 0.06
    masks = masks_of(out, "a.png", (700, 1312))
    observed = masks_of_gap(pixels, (700, 1312))
    agree = masks == ((np.asarray(expected)[0] > 0.4) & observed[..., None])
    assert agree.mean() > 0.98


def masks_of_gap(pixels, grid):
    lit = pixels.max(-1) > 2
    rows, columns = (
        ((np.arange(n) + 0.5) * full / n).astype(int)
        for n, full in zip(grid, lit.shape, strict=True)
    )
    return lit[rows][:, columns]


def test_a_globe_that_starts_elsewhere_gives_the_same_masks(run, tmp_path):
    pixels = paint((128, 768), wraps=True)
    # By whole tiles' distances, so that the tiles are the same.
    turned = np.roll(pixels, 192, axis=1)
    images = write(tmp_path / "images/a.png", pixels)
    write(tmp_path / "images/b.png", turned)
    places = tmp_path / "places.csv"
    places.write_text(
        "image,west,south,east,north\na.png,-180,-30,180,30\nb.png,0,-30,360,30\n"
    )
    out = tmp_path / "out"
    assert in_tiles(run, images, out, "--places", places, min_area=900) == 0
    one, other = (masks_of(out, f"{name}.png", (350, 2100)) for name in "ab")
    assert (np.roll(one, 525, axis=1) == other).all()
    assert one.any()
    # Without a place, the ends are ends.
    assert in_tiles(run, images, tmp_path / "flat", min_area=900) == 0
    flat = masks_of(tmp_path / "flat", "a.png", (350, 2100))
    assert (flat != one)[:, :262].any()
    assert (flat != one)[:, -262:].any()


def test_an_interrupted_scene_resumes_after_its_last_row(
    run, tmp_path, monkeypatch, capsys
):
    images = write(tmp_path / "images/a.png", paint((300, 300)))
    whole, out = tmp_path / "whole", tmp_path / "out"
    flags = ["--probabilities", "npz"]
    assert in_tiles(run, images, whole, *flags) == 0
    predicted = []
    prepare = tiled.Tiles._prepare

    def interrupted(self, window):
        predicted.append(window)
        if len(predicted) == 8:
            raise KeyboardInterrupt
        return prepare(self, window)

    monkeypatch.setattr(tiled.Tiles, "_prepare", interrupted)
    assert in_tiles(run, images, out, *flags) == 130
    assert not (out / "submission.csv").exists()
    capsys.readouterr()
    assert in_tiles(run, images, out, *flags) == 0
    assert "Resuming after row 2 of tiles." in capsys.readouterr().err
    # Three tiles a row, of four rows; the third row was begun.
    assert len(predicted) == 8 + 6
    for name in ("submission.csv", "submission_post.csv", "probabilities/a.png.npz"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not (out / tiled.FOLDER).exists()


def test_every_output_of_a_scene_is_on_its_mosaic(run, tmp_path):
    pytest.importorskip("h5netcdf", reason="`bin/setup geo` installs it")
    xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
    name = "Aqua_CorrectedReflectance20150205_-61--40_10-24.png"
    images = write(tmp_path / "images" / name, paint((256, 384)))
    out, grid = tmp_path / "out", (700, 1050)
    flags = ["--geojson", "--coco", "--masks", "--netcdf", tmp_path / "a.nc"]
    flags += ["--tile-degrees", "10.5x7"]
    assert predict(run, images, out, *flags, "--overlays", 1) == 0
    masks = masks_of(out, name, grid)
    for plane, label in enumerate(schema.CLOUDS.labels):
        written = cv2.imread(str(out / f"masks/{name}_{label}.png"))[..., 0]
        assert ((written > 0) == masks[..., plane]).all()
    coco = json.loads((out / "coco.json").read_text())
    assert (coco["images"][0]["height"], coco["images"][0]["width"]) == grid
    areas = {one["category_id"]: one["area"] for one in coco["annotations"]}
    features = json.loads((out / "masks.geojson").read_text())["features"]
    drawn = {
        one["properties"]["label"]: one["properties"]["area_px"] for one in features
    }
    expected = masks.sum((0, 1)).tolist()
    assert [areas[k + 1] for k in range(4)] == expected == list(drawn.values())
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as read:
        assert read.sizes["latitude"], read.sizes["longitude"] == grid
        day = read.isel(time=0)
        observed = day.observed.values > 0
        assert (day.mask.values[observed] == masks[observed]).all()
    assert cv2.imread(str(out / "overlays.png")).shape[1] > 500


def test_scenes_that_cannot_be_tiled_are_listed_and_others_predicted(
    run, tmp_path, capsys
):
    pixels = paint(TILE)
    images = write(tmp_path / "images/a_2015-02-05.png", pixels)
    write(tmp_path / "images/Aqua_X20150206_0-360_0-14.png", pixels)
    write(tmp_path / "images/Aqua_X20150207_0-21_0-14.png", pixels)
    (tmp_path / "images/Aqua_X20150208_0-21_0-14.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    assert predict(run, images, out, "--tile-degrees", "21x14") == 3
    rows = annotations.read(str(out / "submission_post.csv"))
    assert rows.images == ["Aqua_X20150207_0-21_0-14.png"]
    faults = (out / "unreadable.txt").read_text().splitlines()
    assert len(faults) == 3
    assert "--tile-degrees: a_2015-02-05.png has no place" in "".join(faults)
    assert "tiles of 11x128 (width x height); both must be 32 or more" in "".join(
        faults
    )
    assert "4 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tile-degrees", "14x21"], "Did you mean 21x14?"),
        (["--tile-pixels", "1400x2100"], "Did you mean 2100x1400?"),
        (["--tile-pixels", "9x6", "--tile-degrees", "2x1"], "Only one of"),
        (["--tile-pixels", "9x0"], "--tile-pixels must be above 0"),
        (["--tile-pixels", "9x6", "--overlap", "1"], "--overlap must be from 0 to 0.9"),
        (["--tile-pixels", "9x6", "--tile-memory", "0"], "--tile-memory must be"),
        (["--tile-pixels", "9x6", "--clean-on", "network"], "--clean-on submission"),
        (["--tile-pixels", "21"], "width x height in pixels, such as 2100x1400"),
    ],
)
def test_tiles_that_cannot_be_right_are_rejected(run, tmp_path, capsys, flags, message):
    images = write(tmp_path / "images/a.png", paint(TILE))
    assert predict(run, images, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0


def test_tiles_in_pixels_of_two_resolutions_are_rejected(run, tmp_path, capsys):
    images = write(tmp_path / "images/Aqua_X20150206_0-21_0-14.png", paint(TILE))
    write(images / "Aqua_X20150207_0-42_0-28.png", paint(TILE))
    assert in_tiles(run, images, tmp_path / "out") == 2
    assert "Give --tile-degrees instead" in capsys.readouterr().err
    flags = ["--tile-degrees", "10.5x7", "--overlays", 0]
    assert predict(run, images, tmp_path / "out", *flags) == 0


def test_a_scene_that_has_changed_does_not_resume_from_its_old_rows(run, tmp_path):
    path = tmp_path / "images/a.png"
    write(path, paint((300, 300)))
    before = tiled._key("a.png", str(path))
    assert tiled._key("a.png", str(path)) == before
    write(path, paint((300, 301)))
    assert tiled._key("a.png", str(path)) != before


def test_memory_sets_the_blocks_and_not_the_masks(run, tmp_path, monkeypatch):
    images = write(tmp_path / "images/a.png", paint((200, 500)))
    assert in_tiles(run, images, tmp_path / "one") == 0
    monkeypatch.setattr(mosaic, "_COPIES", 10**6)
    monkeypatch.setattr(scenes, "_LEAST_ROWS", 7)
    monkeypatch.setattr(scenes, "_MEGABYTE", 1 << 10)
    assert in_tiles(run, images, tmp_path / "many") == 0
    for name in ("submission.csv", "submission_post.csv"):
        one, many = (tmp_path / out / name for out in ("one", "many"))
        assert one.read_bytes() == many.read_bytes()


def test_scenes_of_other_bands_are_predicted_from_their_values(
    smooth_network, tmp_path
):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    scaling = {"band_means": (20000.0, 9000.0), "band_deviations": (9000.0, 3000.0)}
    bands = {"band_names": ("vis", "ir"), "dtype": "uint16", **scaling}
    run = small.write_run(tmp_path / "run", "r", **bands)
    pixels = paint((256, 288))[..., :2].astype(np.uint16) * 200
    options = {"driver": "GTiff", "count": 2, "dtype": "uint16", "tiled": True}
    options |= {"blockxsize": 64, "blockysize": 64, "crs": "EPSG:4326"}
    (tmp_path / "images").mkdir()
    for name, height, width in (("a.tif", 256, 288), ("one.tif", 128, 192)):
        place = rasterio.Affine(0.1, 0, -61, 0, -0.1, 24)
        size = {"height": height, "width": width, "transform": place}
        with rasterio.open(tmp_path / "images" / name, "w", **options, **size) as file:
            file.write(np.moveaxis(pixels[:height, :width], -1, 0))
    flags = ["--probabilities", "npz", "--tile-pixels", "192x128", "--overlays", 2]
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert predict(run, tmp_path / "images", out, *flags) == 0
    assert probabilities_of(out, "a.tif").shape == (700, 788, 4)
    assert cv2.imread(str(out / "overlays.png")) is not None
    assert predict(run, tmp_path / "images", whole, "--overlays", 0) == 0
    # The second one is as large as a tile.
    one = masks_of(out, "one.tif", GRID)
    assert (one == masks_of(whole, "one.tif", GRID)).all()
    assert one.any()
    # A scene of colours is refused.
    assert (
        predict(
            run,
            write(tmp_path / "rgb/a.png", pixels[..., [0, 1, 1]] // 200),
            tmp_path / "rgb_out",
            *flags,
        )
        == 2
    )
