import pytest

from clouds.data import groups
from clouds.errors import InputError

NAMES = [
    "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg",
    "Terra_CorrectedReflectance20150205_159-180_8-22.jpeg",
    "Aqua_CorrectedReflectance20150206_-61--40_10-24.jpeg",
]


def write(path, text):
    path.write_text(text)
    return str(path)


def test_days_and_regions_are_those_in_the_names():
    assert groups.find("day", None, NAMES) == ["2015-02-05"] * 2 + ["2015-02-06"]
    found = groups.find("region", None, NAMES)
    assert found == ["-61,10,-40,24", "159,8,180,22", "-61,10,-40,24"]


def test_days_and_regions_are_those_of_a_csv_of_places(tmp_path):
    path = write(
        tmp_path / "p.csv",
        "image,time,west,south,east,north\n"
        "a.jpg,2015-02-05T23:30-03:00,1,2,3.0,4\nb.jpg,2015-02-06,1.0,2,3,4\n",
    )
    assert groups.find("day", path, ["b.jpg", "a.jpg"]) == ["2015-02-06"] * 2
    assert groups.find("region", path, ["b.jpg", "a.jpg"]) == ["1,2,3,4"] * 2


def test_a_column_gives_the_groups_by_any_name(tmp_path):
    path = write(
        tmp_path / "p.csv",
        "ship,image,day\nMeteor,a.jpg,20150205\nBro,b.jpg,2015-02-05\n",
    )
    assert groups.find("ship", path, ["b.jpg", "a.jpg"]) == ["Bro", "Meteor"]
    assert groups.find("day", path, ["b.jpg", "a.jpg"]) == ["2015-02-05"] * 2


@pytest.mark.parametrize(
    ("by", "text", "message"),
    [
        ("day", None, "1 of 4 images have no day in their names, first z.jpg"),
        ("ship", None, "4 of 4 images have no ship in their names"),
        ("ship", "image,day\n", "row 1: --group-by ship needs a column ship"),
        ("day", "image,ship\n", "row 1: --group-by day needs a column day or time"),
        ("day", "name,day\n", "row 1: no column image"),
        ("day", "image,day\nz.jpg,\n", "4 of 4 images have no day in"),
        ("day", "image,time\nz.jpg,soon\n", "row 2: no day"),
        ("region", "image,west,south,east,north\nz.jpg,1,x,2,3\n", "row 2: no region"),
        ("day", "image,day\nz.jpg,5.2.2015\n", "row 2: no day"),
        ("ship", "image,ship\nz.jpg,1\nz.jpg,2\n", "row 3: z.jpg has another row"),
        (
            "region",
            "image,west,south,east,north\nz.jpg,nan,nan,nan,nan\n",
            "row 2: no region .*impossible box",
        ),
        ("day", "image,day\nz.jpg\n", "row 2: not as many values"),
    ],
)
def test_images_without_a_group_and_wrong_rows_are_named(tmp_path, by, text, message):
    path = text and write(tmp_path / "g.csv", text)
    with pytest.raises(InputError, match=message):
        groups.find(by, path, [*NAMES, "z.jpg"])


def test_a_region_has_one_name_however_its_longitudes_are_written(tmp_path):
    path = write(
        tmp_path / "p.csv",
        "image,west,south,east,north\na.jpg,190,1,200,3\nb.jpg,-170,1,-160,3\n",
    )
    assert len(set(groups.find("region", path, ["a.jpg", "b.jpg"]))) == 1
