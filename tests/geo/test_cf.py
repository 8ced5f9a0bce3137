import numpy as np
import pytest

from clouds.geo import cf
from clouds.geo.cf import Layout, Map


def test_a_date_stands_for_its_day_and_a_time_for_itself():
    assert cf.seconds("1970-01-02") == (86400, 86400, 2 * 86400)
    assert cf.seconds("1970-01-01T00:01:00Z") == (60, 60, 60)


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        ((350, 525), (350, 525)),
        ((750, 9000), (375, 1000)),
        ((4500, 9000), (500, 1000)),
        ((1, 2**21), (1, 1024)),
    ],
)
def test_chunks_of_large_maps_are_of_about_half_a_megabyte(size, chunk):
    assert Layout((0, 0, 1, 1), size, ("a",)).chunk == chunk


def test_blocks_give_every_cell_once(monkeypatch):
    monkeypatch.setattr(cf, "_CELLS_PER_CHUNK", 10)
    monkeypatch.setattr(cf, "_LENGTHS", (3, 4))
    size = (8, 5)
    random = np.random.default_rng(0)
    maps = Map(
        random.integers(0, 251, (*size, 2), np.uint8),
        random.random((*size, 2)) > 0.5,
        random.random(size) > 0.3,
    )
    blocks = list(cf.blocks(Layout((0, 0, 1, 1), size, ("a", "b")), maps))
    for name, expected in maps._asdict().items():
        parts = [values for key, _, values in blocks if key == name]
        whole = np.concatenate(parts)
        if expected.ndim == 3:
            expected = np.where(maps.observed[..., None], expected, 255)
        assert (whole == expected).all()
        assert len(parts) == 3


def test_edges_ascend_across_the_antimeridian_and_around_the_globe():
    for box, ends in (
        ((177, 0, -177, 4), (177, 183)),
        ((20, 0, 20, 4), (20, 380)),
        ((-180, 0, 180, 4), (-180, 180)),
    ):
        latitude, longitude = cf.edges(Layout(box, (4, 6), ("a",)))
        assert (longitude[0], longitude[-1]) == ends
        assert latitude.tolist() == [4, 3, 2, 1, 0]
