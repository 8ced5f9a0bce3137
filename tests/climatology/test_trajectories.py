import numpy as np
import pytest

from clouds.climatology import trajectories
from clouds.climatology.cells import Grid
from clouds.climatology.scenes import Scene, Values
from clouds.errors import InputError

GRID = Grid(np.array([4.0, 2, 0]), np.array([178.0, 180, 182]))


def read(tmp_path, text):
    path = tmp_path / "trajectory.csv"
    path.write_text(text)
    return trajectories.read(str(path))


def scene(time, values):
    return Scene(f"{time}.jpg", "a.nc", np.datetime64(time, "s"), GRID, lambda: values)


def values(mask, probability=None):
    mask = np.array(mask, bool)[..., None]
    observed = np.array([[1, 1], [1, 0]], bool)
    if probability is not None:
        probability = np.where(observed, probability, np.nan)[..., None]
    return Values(mask, observed, probability)


def test_a_point_takes_the_map_of_its_day_that_is_closest_in_time(tmp_path):
    points = read(
        tmp_path,
        "lat,time,lon\n3,2020-01-01T13:00Z,179\n3,2020-01-01T20:00+02:00,179\n"
        "1,2020-01-01T13:00,-179\n3,2020-01-02,179\n3,2020-01-01T13:00,170\n",
    )
    morning = scene("2020-01-01T10:00", values([[0, 0], [0, 0]]))
    noon = scene("2020-01-01T14:00", values([[1, 0], [0, 0]], [[0.25, 0.5], [0.5, 0]]))
    path = tmp_path / "out.csv"
    assert trajectories.write(path, points, [morning, noon], ["Fish"]) == 2
    lines = path.read_text().splitlines()
    assert lines[0] == "time,lat,lon,image,observed,Fish,Fish_probability"
    assert lines[1] == "2020-01-01T13:00:00Z,3,179,2020-01-01T14:00.jpg,1,1,0.2500"
    assert lines[2].startswith("2020-01-01T18:00:00Z,3,179,2020-01-01T14:00.jpg,1,1")
    # Not observed, across the antimeridian; without a map; outside of the maps.
    assert lines[3] == "2020-01-01T13:00:00Z,1,-179,2020-01-01T14:00.jpg,0,,"
    assert lines[4] == "2020-01-02T00:00:00Z,3,179,,,,"
    assert lines[5] == "2020-01-01T13:00:00Z,3,170,,,,"


def test_probabilities_are_interpolated_between_observed_centres(tmp_path):
    points = read(tmp_path, "time,lat,lon\n2020-01-01,3,179.5\n2020-01-01,2.5,180.5\n")
    one = scene("2020-01-01", values([[0, 0], [0, 0]], [[0.2, 0.6], [0.4, 0]]))
    trajectories.write(tmp_path / "out.csv", points, [one], ["Fish"])
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1].endswith(",0.3000")
    shares = np.array([0.1875, 0.5625, 0.0625])
    expected = shares @ [0.2, 0.6, 0.4] / shares.sum()
    assert float(lines[2].rpartition(",")[2]) == pytest.approx(expected, abs=1e-4)


def test_a_pattern_is_present_above_the_threshold_if_one_is_given(tmp_path):
    points = read(tmp_path, "time,lat,lon\n2020-01-01,3,179\n2020-01-01,3,181\n")
    one = scene("2020-01-01", values([[1, 0], [0, 0]], [[0.25, 0.75], [0, 0]]))
    trajectories.write(tmp_path / "out.csv", points, [one], ["Fish"], threshold=0.5)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[5] for line in lines[1:]] == ["0", "1"]


def test_the_far_edges_belong_to_the_last_cells(tmp_path):
    points = read(tmp_path, "time,lat,lon\n2020-01-01,0,178\n2020-01-01,4,182\n")
    one = scene("2020-01-01", values([[0, 1], [1, 0]]))
    assert trajectories.write(tmp_path / "out.csv", points, [one], ["Fish"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,lat\n", "row 1: no column lon"),
        ("time,lat,lon\n", "has no points"),
        ("time,lat,lon\n2020-01-01,1,2\n2020-13-01,1,2\n", "row 3: time must be"),
        ("time,lat,lon\n2020-01-01,x,2\n", "row 2: time must be .*x, 2"),
        ("time,lat,lon\n2020-01-01,91,2\n", "row 2: lat must be from -90 to 90"),
        ("time,lat,lon\n2020-01-01,nan,2\n", "row 2: lat must be from -90 to 90"),
        ("time,lat,lon\n2020-01-01,1\n", "row 2: time must be"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)
