import numpy as np
import pytest

from clouds.geo import geotiff
from clouds.geo.places import Place

rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")

LABELS = ("Fish", "Sugar Flower")
SIZE = (40, 60)


def write(path, box=(-61.0, 10.0, -55.0, 14.0), size=SIZE):
    random = np.random.default_rng(0)
    masks, observed = random.random((*size, 2)) > 0.5, random.random(size) > 0.2
    place = Place(box, "2015-02-05", "Aqua")
    geotiff.write(path, place, masks, observed, LABELS, {"run": "runs/a"})
    return masks, observed


def test_rasterio_reads_every_cell_at_its_place(tmp_path):
    masks, observed = write(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 4326
        assert tuple(file.bounds) == (-61, 10, -55, 14)
        assert file.descriptions == LABELS
        assert file.nodata == 255
        tags = file.tags()
        assert (tags["TIME"], tags["SATELLITE"], tags["run"]) == (
            "2015-02-05",
            "Aqua",
            "runs/a",
        )
        bands = file.read()
        for row, column in np.ndindex(*SIZE):
            x, y = -61 + (column + 0.5) / 10, 14 - (row + 0.5) / 10
            assert file.index(x, y) == (row, column)
            for label in range(2):
                seen = observed[row, column]
                value = int(masks[row, column, label]) if seen else 255
                assert bands[label, row, column] == value
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_large_file_is_cloud_optimised(tmp_path):
    write(tmp_path / "a.tif", size=(700, 1100))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)] * 2
        assert file.overviews(1)


def test_longitudes_go_on_beyond_the_antimeridian(tmp_path):
    write(tmp_path / "a.tif", box=(177.0, 0.0, -177.0, 4.0))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert tuple(file.bounds) == (177, 0, 183, 4)
