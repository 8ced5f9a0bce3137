import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from clouds.errors import InputError
from clouds.geo import rasters

BOX = (-61.0, 10.0, -40.0, 24.0)
PIXELS = np.zeros((14, 21, 3), np.uint8)
KEYS = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)


def write_tiff(path, *, scale=(1.0, 1.0, 0.0), corner=(-61.0, 24.0), keys=KEYS):
    ties = (0.0, 0.0, 0.0, *corner, 0.0)
    tags = [(33550, "d", 3, scale, True), (33922, "d", 6, ties, True)]
    if keys:
        tags.append((34735, "H", len(keys), keys, True))
    tifffile.imwrite(path, PIXELS, extratags=tags)
    return str(path)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8])
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_any_bands_have_the_tags_of_their_file(tmp_path, bands, dtype, interleave):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    options = {"driver": "GTiff", "height": 14, "width": 21, "count": bands}
    options |= {"dtype": dtype, "interleave": interleave, "crs": "EPSG:4326"}
    options |= {"BIGTIFF": "YES" if bands == 5 else "NO"}
    path = tmp_path / "a.tif"
    transform = rasterio.transform.from_bounds(*BOX, 21, 14)
    with rasterio.open(path, "w", transform=transform, **options) as file:
        file.write(np.zeros((bands, 14, 21), dtype))
    assert rasters.box(str(path)) == BOX
    assert rasters.size(str(path)) == (14, 21)
    assert rasters.orientation(str(path)) == 1


def write_world(path, lines, suffix=".jgw"):
    Image.fromarray(PIXELS).save(path)
    path.with_suffix(suffix).write_text("\n".join(map(str, lines)))
    return str(path)


def test_the_tags_of_a_geotiff_give_its_box(tmp_path):
    assert rasters.box(write_tiff(tmp_path / "a.tif")) == BOX
    as_points = tuple(2 if k == 11 else key for k, key in enumerate(KEYS))
    points = write_tiff(tmp_path / "b.tif", corner=(-60.5, 23.5), keys=as_points)
    assert rasters.box(points) == BOX


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_they_are_those_that_rasterio_writes(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    options = {"driver": "GTiff", "height": 14, "width": 21, "count": 3}
    transform = rasterio.transform.from_bounds(*BOX, 21, 14)
    for code in (4326, 32620):
        path = tmp_path / f"{code}.tif"
        options |= {"crs": f"EPSG:{code}", "transform": transform, "dtype": "uint8"}
        with rasterio.open(path, "w", **options) as file:
            file.write(np.moveaxis(PIXELS, -1, 0))
    assert rasters.box(str(tmp_path / "4326.tif")) == BOX
    with pytest.raises(InputError, match="in a projection, not in degrees"):
        rasters.box(str(tmp_path / "32620.tif"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": None}, "has no coordinate reference system"),
        ({"keys": (*KEYS[:7], 1, *KEYS[8:])}, "is in a projection, not in degrees"),
        ({"keys": (*KEYS[:-1], 4269)}, "is in EPSG:4269, not in degrees"),
        ({"scale": (1.0, -1.0, 0.0)}, "north must be up"),
    ],
)
def test_a_geotiff_that_is_not_in_degrees_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        rasters.box(write_tiff(tmp_path / "a.tif", **options))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.jpg", ".jgw"),
        ("a.jpeg", ".jgw"),
        ("a.jpeg", ".JGW"),
        ("a.png", ".pgw"),
        ("a.tif", ".tfw"),
        ("a.jpg", ".jpgw"),
        ("a.png", ".wld"),
    ],
)
def test_a_world_file_gives_the_box(tmp_path, name, suffix):
    lines = (1, 0, 0, -1, -60.5, 23.5)
    assert rasters.box(write_world(tmp_path / name, lines, suffix)) == BOX


def test_an_image_in_a_zip_has_its_world_file_beside_it(tmp_path):
    path = write_world(tmp_path / "a.jpg", (1, 0, 0, -1, -60.5, 23.5))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(path, "in/a.jpg")
        archive.write(tmp_path / "a.jgw", "in/a.jgw")
    assert rasters.box(f"{tmp_path}/all.zip/in/a.jpg") == BOX
    assert rasters.size(f"{tmp_path}/all.zip/in/a.jpg") == (14, 21)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((1, 0, 0, -1, -60.5), "must be six numbers, one per line"),
        ((1, 0.1, 0, -1, -60.5, 23.5), "describes a rotated image"),
        ((1, 0, 0, 1, -60.5, 23.5), "north must be up"),
    ],
)
def test_a_world_file_without_a_box_is_refused(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        rasters.box(write_world(tmp_path / "a.jpg", lines))


def test_an_image_without_both_has_no_box(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0damaged")
    for name in ("a.tif", "b.tif", "absent.jpg"):
        assert rasters.box(str(tmp_path / name)) is None
    assert rasters.size(str(tmp_path / "b.tif")) is None
