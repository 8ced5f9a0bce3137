import numpy as np
import pytest

from clouds import rle, schema
from clouds.errors import InputError
from clouds.geo.places import Place
from clouds.prediction import geojson
from clouds.prediction.journal import Entry


def entry(**masks):
    texts = []
    for name in schema.CLOUDS.labels:
        mask = np.zeros(schema.SUBMISSION_SIZE, bool)
        for rows, columns in masks.get(name, []):
            mask[rows, columns] = True
        texts.append(rle.encode(mask))
    scores = [0.1, 0.2, 0.3, 0.4]
    return Entry(image="a.jpg", plain=[], cleaned=texts, scores=scores)


def test_each_label_with_a_mask_is_a_feature():
    here, there = (slice(2, 5), slice(10, 14)), (slice(20, 21), slice(0, 1))
    one, two = geojson.features(entry(Fish=[here], Sugar=[here, there]))
    assert one["properties"] == {
        "image": "a.jpg",
        "label": "Fish",
        "area_px": 12,
        "score": 0.1,
    }
    assert one["geometry"]["type"] == "Polygon"
    corners = {(10, 2), (14, 2), (14, 5), (10, 5)}
    assert set(map(tuple, one["geometry"]["coordinates"][0])) == corners
    assert two["geometry"]["type"] == "MultiPolygon"
    assert len(two["geometry"]["coordinates"]) == 2
    assert two["properties"]["area_px"] == 13


@pytest.mark.parametrize(
    ("box", "doubted"),
    [
        ((-61.0, 5.0, -40.0, 19.0), False),
        ((150.0, 5.0, 170.0, 35.0), True),
        ((170.0, 5.0, -169.0, 19.0), False),
        ((-180.0, -60.0, 180.0, 60.0), True),
        ((-61.0, 5.0, -44.0, 19.0), False),
        ((-61.0, 5.0, -47.0, 19.0), True),
    ],
)
def test_a_box_of_other_proportions_than_the_image_is_doubted(box, doubted):
    assert bool(geojson.check_proportions(box, (1400, 2100))) == doubted
    assert geojson.check_proportions(box, None) is None


def test_a_doubt_names_the_order_and_both_proportions():
    text = geojson.check_proportions((150.0, 5.0, 170.0, 35.0), (1400, 2100))
    for part in (
        "west,south,east,north",
        "150,5,170,35",
        "0.67 times",
        "1.50 times",
        "check the order",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("box", "meant"),
    [
        ((5.0, -61.0, 19.0, -40.0), "-61,5,-40,19"),
        ((-14.1234567, 10.0, -4.5, 25.0), "10,-14.1234567,25,-4.5"),
    ],
)
def test_a_box_in_the_order_of_worldview_is_refused(box, meant):
    with pytest.raises(InputError, match=f"must have .* did you mean --bbox={meant}"):
        geojson.check_proportions(box, (1400, 2100))


def test_a_place_adds_time_and_satellite_and_none_the_geometry_null():
    whole, place = entry(Fish=[(slice(None), slice(None))]), Place((-61, 10, -40, 24))
    (feature,) = geojson.features(whole, place.box)
    (undated,) = geojson.placed_features(whole, place, schema.CLOUDS)
    assert undated == feature
    dated = place._replace(time="2015-02-05", satellite="Aqua")
    (placed,) = geojson.placed_features(whole, dated, schema.CLOUDS)
    added = {"time": "2015-02-05", "satellite": "Aqua"}
    assert placed["properties"] == {**feature["properties"], **added}
    (unplaced,) = geojson.placed_features(whole, None, schema.CLOUDS)
    assert unplaced == {**feature, "geometry": None}


def test_the_bounding_box_of_the_globe_is_that_of_geojson():
    assert geojson.collection((20, -9, 20, 9))["bbox"] == [-180, -9, 180, 9]


def test_a_box_puts_them_on_the_earth():
    box = (-60.0, 5.0, -50.0, 15.0)
    (whole,) = geojson.features(entry(Fish=[(slice(None), slice(None))]), box)
    longitudes, latitudes = np.transpose(whole["geometry"]["coordinates"][0])
    assert {*longitudes} == {-60, -50} and {*latitudes} == {5, 15}
    assert geojson.collection(box)["bbox"] == list(box)
    assert "longitude" in geojson.collection(box)["coordinate_system"]
    assert "pixels" in geojson.collection()["coordinate_system"]
