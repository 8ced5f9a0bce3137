import base64
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from clouds.evaluation.counts import Images
from clouds.evaluation.results import Evaluation
from clouds.prediction import polygons
from clouds.report import gallery


def painted(path, size):
    """The mask that SVG path data of whole steps encloses, by its even-odd rule."""
    mask = np.zeros(size, np.uint8)
    for ring in path.split("z")[:-1]:
        x, y = map(int, re.match(r"M(\d+) (\d+)", ring).groups())
        points = [(x, y)]
        for axis, step in re.findall(r"([hv])(-?\d+)", ring):
            x, y = (x + int(step), y) if axis == "h" else (x, y + int(step))
            points.append((x, y))
        rows = np.arange(size[0])[:, None] + 0.5
        columns = np.arange(size[1])[None] + 0.5
        closed = zip(points, points[1:] + points[:1], strict=True)
        for (x0, y0), (x1, y1) in closed:
            if x0 == x1:
                crossed = (rows > min(y0, y1)) & (rows < max(y0, y1)) & (columns > x0)
                mask ^= crossed.astype(np.uint8)
    return mask.astype(bool)


def test_an_outline_encloses_its_mask_and_leaves_holes_open():
    mask = np.random.default_rng(0).random((20, 30)) > 0.4
    mask[5:15, 5:15] = True
    mask[8:10, 8:12] = False
    path = gallery.outline(polygons.trace(mask))
    np.testing.assert_array_equal(painted(path, mask.shape), mask)
    assert gallery.outline(polygons.trace(np.zeros((4, 4), bool))) == ""


@pytest.fixture
def evaluation():
    """Twelve images; their Dice rises with their number up to 10 and 11, which tie."""
    names = [f"{k}.jpg" for k in range(12)]
    score = np.full((12, 4), 0.9)
    score[5] = 0.5
    area = np.full((12, 4), 10)
    area[11] = 100
    shared = area * np.minimum(np.arange(12), 10)[:, None] // 10
    return Evaluation("", {}, Images(names, score, area, area, shared, area, shared))


def test_images_are_chosen_by_their_metrics(evaluation):
    chosen = gallery.choose(evaluation, 2)
    assert list(chosen) == list(gallery.KINDS)
    assert chosen["best"] == ["11.jpg", "10.jpg"]
    assert chosen["worst"] == ["0.jpg", "1.jpg"]
    assert chosen["most uncertain"][0] == "5.jpg"


def test_no_image_is_chosen_twice_and_the_choice_is_the_same_again(evaluation):
    chosen = gallery.choose(evaluation, 5)
    names = [name for some in chosen.values() for name in some]
    assert sorted(names) == sorted(evaluation.images.names)
    assert chosen == gallery.choose(evaluation, 5)


@pytest.fixture
def mask():
    mask = np.zeros((350, 525), bool)
    mask[100:200, 300:400] = True
    return mask


def test_a_name_is_within_its_mask_and_a_speck_has_none(mask):
    x, y = gallery._place(mask, mask.shape, [])
    assert mask[y, x]
    assert abs(x - 350) < 3
    assert abs(y - 150) < 3
    assert gallery._place(mask & False, mask.shape, []) is None
    mask[110:] = False
    assert gallery._place(mask, mask.shape, []) is None


def test_names_do_not_overlap(mask):
    planes = {"truth": [mask] * 4, "raw": [mask] * 2, "post": [mask, mask & False]}
    places = gallery._places(planes, mask.shape)
    assert all(places["truth"])
    # A raw mask is named where the post-processed one is empty.
    assert [place is None for kind in ("raw", "post") for place in places[kind]] == [
        *(True, False),
        *(False, True),
    ]
    rows = sorted(place[1] for some in places.values() for place in some if place)
    assert min(np.diff(rows)) >= gallery._NAME_SIZE[1]
    assert all(abs(y - 150) < 60 for y in rows)


def test_the_data_uri_is_the_image():
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:, 0] = 255
    kind, data = gallery._data_uri(image).split(",")
    assert kind == "data:image/jpeg;base64"
    contents = np.frombuffer(base64.b64decode(data), np.uint8)
    back = cv2.imdecode(contents, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(back.astype(int) - image)[:, [10, 80]].max() < 30


def test_a_picture_is_described():
    outlines = {"truth": ["M0 0", "", "", ""], "raw": [""] * 4, "post": [""] * 4}
    picture = SimpleNamespace(
        name="a.jpg", outlines=outlines, labels=["Fish", "Flower", "Gravel", "Sugar"]
    )
    shown = gallery.Picture.described.fget(picture)
    assert shown == "a.jpg: true Fish; predicted nothing."
