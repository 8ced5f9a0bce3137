import json

import numpy as np
import pytest

from clouds.geo import geoparquet
from clouds.prediction import polygons

pytest.importorskip("shapely", reason="`bin/setup geo` installs it")
geopandas = pytest.importorskip("geopandas", reason="`bin/setup geo` installs it")


def feature(mask, box, **properties):
    rings = polygons.trace_in_degrees(mask, box)
    coordinates = [[ring.tolist() for ring in polygon] for polygon in rings]
    geometry = {"type": "MultiPolygon", "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.mark.parametrize(
    ("box", "wraps"),
    [((-61.0, 10.0, -55.0, 14.0), False), ((177.0, 0.0, -177.0, 4.0), True)],
)
def test_geopandas_reads_polygons_that_cover_the_cells_of_the_masks(
    tmp_path, monkeypatch, box, wraps
):
    monkeypatch.setattr(geoparquet, "_ROWS", 2)
    masks = np.random.default_rng(0).random((5, 12, 18)) > 0.6
    path = tmp_path / "a.parquet"
    with geoparquet.writing(path, {"run": "runs/a"}) as add:
        for number, mask in enumerate(masks):
            facts = {"image": f"{number}.jpg", "label": "Fish", "score": 0.5}
            add(feature(mask, box, **facts, area_px=int(mask.sum()), time="2015-02-05"))
    read = geopandas.read_parquet(path)
    assert read.crs.to_authority() == ("OGC", "CRS84")
    assert read.image.tolist() == [f"{number}.jpg" for number in range(5)]
    assert read.satellite.isna().all()
    assert read.geometry.is_valid.all()
    step = 6 / 18
    for mask, shape in zip(masks, read.geometry, strict=True):
        for row, column in np.ndindex(*mask.shape):
            x = box[0] + (column + 0.5) * step
            x -= 360 if x > 180 else 0
            y = box[3] - (row + 0.5) * step
            inside = geopandas.GeoSeries.from_xy([x], [y]).within(shape)[0]
            assert inside == mask[row, column]
    assert (read.total_bounds[2] == 180) == wraps


def test_the_metadata_are_those_of_the_specification(tmp_path):
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    with geoparquet.writing(path, {"run": "runs/a"}):
        pass
    metadata = pyarrow.parquet.read_schema(path).metadata
    assert metadata[b"run"] == b"runs/a"
    geo = json.loads(metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert geo["columns"]["geometry"]["encoding"] == "WKB"
    assert len(geopandas.read_parquet(path)) == 0


def test_an_unfinished_file_does_not_exist(tmp_path):
    with pytest.raises(KeyError), geoparquet.writing(tmp_path / "a.parquet", {}):
        raise KeyError
    assert not list(tmp_path.iterdir())
