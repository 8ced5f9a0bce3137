import lzma

import pytest
from helpers.commands import ROOT

from clouds.errors import InputError
from clouds.geo import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg",
            ((-61, 10, -40, 24), "2015-02-05", "Aqua"),
        ),
        (
            "Terra_CorrectedReflectance20121001_-135--114_-15--1.jpeg",
            ((-135, -15, -114, -1), "2012-10-01", "Terra"),
        ),
        (
            "Aqua_Brightness_Temp_Band31_Day20121001_159-180_8.5-22.5.png",
            ((159, 8.5, 180, 22.5), "2012-10-01", "Aqua"),
        ),
        ("2020-02-01.jpg", (None, "2020-02-01", None)),
        ("GOES_2020-02-01T1200.jpg", (None, "2020-02-01", None)),
        ("2020-13-01.jpg", (None, None, None)),
        ("0011165.jpg", (None, None, None)),
        ("12020-02-011.jpg", (None, None, None)),
    ],
)
def test_a_name_gives_satellite_date_and_box(name, expected):
    assert tuple(names.parse(name)) == expected


def test_an_impossible_date_is_refused():
    with pytest.raises(InputError, match="impossible date, 20151305. Expected"):
        names.parse("Aqua_CorrectedReflectance20151305_-61--40_10-24.jpeg")


def test_every_name_of_the_published_boxes_is_understood():
    path = ROOT.parent / "shared/data/science/boxes_irchecked.csv.xz"
    if not path.exists():
        pytest.skip(f"no published boxes at {path}")
    with lzma.open(path, "rt") as file:
        images = {line.split(",")[1].rpartition("/")[2] for line in file}
    parsed = [names.parse(name) for name in images]
    boxes = {(-61, 10, -40, 24), (159, 8, 180, 22), (-135, -15, -114, -1)}
    assert {name.box for name in parsed} == boxes
    assert {name.satellite for name in parsed} == {"Aqua", "Terra"}
    assert all(name.time for name in parsed)
