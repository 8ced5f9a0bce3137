import numpy as np
import pytest
from PIL import Image

from clouds.geo import places
from clouds.geo.places import Place

NAME = "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg"
HEADER = "image,time,west,south,east,north\n"


def find(*names, **options):
    return places.find(dict.fromkeys(names), **options)


def write_table(tmp_path, *rows):
    path = tmp_path / "places.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_names_give_places(tmp_path):
    found = find(NAME)
    assert found.located == {NAME: Place((-61, 10, -40, 24), "2015-02-05", "Aqua")}
    assert not found.faults


def test_the_first_source_with_a_box_wins_and_the_name_dates_it(tmp_path):
    path = tmp_path / NAME
    Image.fromarray(np.zeros((14, 21, 3), np.uint8)).save(path)
    fallback = (0.0, 0.0, 21.0, 14.0)
    for table, world, box in (
        (None, False, (-61, 10, -40, 24)),
        (None, True, (1, 5, 22, 19)),
        (write_table(tmp_path, f"{NAME},,2,5,23,19"), True, (2, 5, 23, 19)),
    ):
        if world:
            path.with_suffix(".jgw").write_text("1\n0\n0\n-1\n1.5\n18.5\n")
        found = places.find({NAME: str(path)}, table=table, fallback=fallback)
        assert found.located[NAME] == Place(box, "2015-02-05", "Aqua")
    found = find("2015-02-05.jpg", fallback=fallback)
    assert found.located["2015-02-05.jpg"] == Place(fallback, "2015-02-05")


def test_without_any_place_there_are_none():
    assert find("a.jpg", "2015-02-05.jpg") is None


def test_an_image_without_a_place_among_others_is_named():
    assert find(NAME, "a.jpg").faults["a.jpg"].startswith("a.jpg has no place. A place")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (
            NAME.replace("10-24", "24-10"),
            "impossible box: west -61, south 24, east -40",
        ),
        (NAME.replace("-61--40", "-261--240"), "Longitudes must be from -180 to 180"),
        (NAME.replace("0205", "0230"), "has an impossible date, 20150230"),
    ],
)
def test_an_impossible_name_is_said_even_with_a_fallback(name, fault):
    found = find(name, NAME, fallback=(0.0, 0.0, 21.0, 14.0))
    assert fault in found.faults[name] and name in found.faults[name]
    assert list(found.located) == [NAME]


def test_a_csv_overrules_an_impossible_name(tmp_path):
    name = NAME.replace("0205", "0230")
    table = write_table(tmp_path, f"{name},2015-03-02,-61,10,-40,24")
    assert find(name, table=table).located[name].time == "2015-03-02"


@pytest.mark.parametrize(
    ("row", "box", "fault"),
    [
        ("170,10,191,24", (170, 10, -169, 24), None),
        ("200,10,221,24", (-160, 10, -139, 24), None),
        ("170,10,-169,24", (170, 10, -169, 24), None),
        ("-180,-90,180,90", (-180, -90, 180, 90), None),
        ("0,-90,360,90", (0, -90, 0, 90), None),
        ("-30,10,330,24", (-30, 10, -30, 24), None),
        ("0,-91,360,90", None, "row 2 has an impossible box"),
        ("180,-90,540,90", None, "row 2 has an impossible box"),
        ("170,10,170,24", None, "row 2 has an impossible box"),
        ("nan,10,170,24", None, "row 2 has an impossible box"),
    ],
)
def test_longitudes_of_a_csv_end_at_180_or_360(tmp_path, row, box, fault):
    found = find("a.jpg", table=write_table(tmp_path, f"a.jpg,,{row}"))
    if fault:
        assert fault in found.faults["a.jpg"]
    else:
        assert found.located["a.jpg"].box == box


def test_another_place_has_another_checksum(tmp_path):
    first, second = (
        find("a.jpg", table=write_table(tmp_path, f"a.jpg,,{west},1,9,8"))
        for west in (1, 2)
    )
    assert first.checksum != second.checksum


@pytest.mark.parametrize(
    "box",
    [(1.5, -2.25, 3, 4), (170, 8, -169, 22), (-171, 0, -171, 14), (-180, -90, 180, 90)],
)
def test_places_written_as_a_csv_are_read_again(tmp_path, box):
    placed = places.Places({"a.jpg": Place(box, "2015-02-05", "Aqua")}, {})
    (tmp_path / "places.csv").write_text(placed.csv)
    found = find("a.jpg", table=str(tmp_path / "places.csv"))
    assert found == placed
