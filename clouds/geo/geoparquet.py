"""Writes polygons as GeoParquet (1.1): a row per label of an image that has a mask.

Longitudes and latitudes are in degrees (WGS 84), polygons are cut at the antimeridian.
Rows are written in groups, so that memory does not grow with the number of images.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from clouds.runtime import files

PACKAGES = ("pyarrow", "shapely")
"""Optional packages that it needs."""

_ROWS = 1000
_COLUMNS = {
    "image": "string",
    "label": "string",
    "area_px": "int64",
    "score": "float64",
    "time": "string",
    "satellite": "string",
    "geometry": "binary",
}


@contextlib.contextmanager
def writing(path: Path, provenance: dict[str, str]) -> Iterator[Callable[[dict], None]]:
    """Writes a GeoParquet file atomically.

    Args:
      path: the file.
      provenance: metadata of the file.

    Yields:
      A function that adds a feature of GeoJSON, with a geometry in degrees and the
      properties that are columns here.
    """
    import pyarrow
    import pyarrow.parquet
    import shapely
    import shapely.geometry

    geometry = {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"]}
    # Without a reference system it is OGC:CRS84, longitude and latitude of WGS 84.
    geo = {"version": "1.1.0", "primary_column": "geometry"}
    geo["columns"] = {"geometry": geometry}
    fields = [(name, getattr(pyarrow, kind)()) for name, kind in _COLUMNS.items()]
    schema = pyarrow.schema(fields, {**provenance, "geo": json.dumps(geo)})
    rows = []
    with (
        files.replacing(path) as part,
        pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as file,
    ):

        def flush() -> None:
            file.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()

        def add(feature: dict) -> None:
            shape = shapely.geometry.shape(feature["geometry"])
            rows.append({**feature["properties"], "geometry": shapely.to_wkb(shape)})
            if len(rows) == _ROWS:
                flush()

        yield add
        flush()
