import numpy as np
import pytest

from clouds.climatology import frequencies
from clouds.climatology.cells import Grid
from clouds.climatology.scenes import Scene, Values
from clouds.errors import InputError

GRID = Grid(np.array([4.0, 2, 0]), np.array([0.0, 2, 4]))


def scene(time, mask, observed, probability=None):
    values = Values(
        np.array(mask, bool)[..., None], np.array(observed, bool), probability
    )
    return Scene(f"{time}.jpg", "a.nc", np.datetime64(time, "s"), GRID, lambda: values)


def test_maps_of_one_day_are_added_up():
    daily = frequencies.add_up(
        [
            scene("2020-01-01T10:00", [[1, 0], [0, 0]], [[1, 1], [1, 0]]),
            scene("2020-01-01T14:00", [[1, 1], [0, 0]], [[1, 1], [1, 1]]),
            scene("2020-02-03T14:00", [[0, 0], [1, 1]], [[0, 0], [1, 1]]),
        ],
        2,
        None,
    )
    assert daily.days.astype(str).tolist() == ["2020-01-01", "2020-02-03"]
    assert daily.maps.tolist() == [2, 1]
    # Rows run from south to north.
    assert daily.observed.round(5).tolist() == [[[2, 1], [2, 2]], [[1, 1], [0, 0]]]
    assert daily.covered[..., 0].round(5).tolist() == [
        [[0, 0], [2, 1]],
        [[1, 1], [0, 0]],
    ]
    ratio = frequencies.ratio(daily.covered, daily.observed)[..., 0]
    assert ratio[0].round(5).tolist() == [[0, 0], [1, 0.5]]
    assert ratio[1, 0].tolist() == [1, 1] and np.isnan(ratio[1, 1]).all()


def test_the_domain_weighs_cells_by_their_area():
    polar = Grid(np.array([90.0, 60, 30]), np.array([0.0, 30]))
    values = Values(np.array([[[True]], [[False]]]), np.ones((2, 1), bool))
    one = Scene("a", "a.nc", np.datetime64("2020-01-01", "s"), polar, lambda: values)
    covered, observed = frequencies.add_up([one], 30, None).domain
    expected = (1 - np.sin(np.pi / 3)) / (1 - np.sin(np.pi / 6))
    assert covered.item() / observed.item() == pytest.approx(expected, rel=1e-5)


def test_a_threshold_is_compared_with_probabilities():
    probability = np.array([[0.1, 0.3], [0.5, np.nan]], np.float32)[..., None]
    one = scene("2020-01-01", [[0, 0], [0, 0]], [[1, 1], [1, 0]], probability)
    daily = frequencies.add_up([one], 2, 0.2)
    assert daily.covered[0, ..., 0].round(5).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(InputError, match="a.nc lacks"):
        frequencies.add_up([scene("2020-01-01", [[0, 0]] * 2, [[1, 1]] * 2)], 2, 0.2)


def test_intervals_are_those_of_an_explicit_bootstrap():
    random = np.random.default_rng(1)
    observed = random.random((30, 2, 3)).astype(np.float32)
    observed[:, 0, 0] = 0
    covered = (observed[..., None] * random.random((30, 2, 3, 2))).astype(np.float32)
    found = frequencies.estimate(covered, observed, resamples=500, seed=3)
    drawn = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), 500)
    samples = []
    for counts in drawn:
        days = np.repeat(np.arange(30), counts)
        with np.errstate(invalid="ignore"):
            samples.append(covered[days].sum(0) / observed[days].sum(0)[..., None])
    expected = covered.sum(0)[1] / observed.sum(0)[1][..., None]
    assert np.allclose(found.value[1], expected, atol=1e-6)
    ends = np.quantile(samples, [0.025, 0.975], axis=0)
    assert np.allclose(found.low[1], ends[0][1], atol=1e-5)
    assert np.allclose(found.high[1], ends[1][1], atol=1e-5)
    assert np.isnan(found.low[0, 0]).all() and np.isnan(found.value[0, 0]).all()


def test_quantiles_leave_out_nan_as_numpy_does():
    samples = np.random.default_rng(0).random((50, 3, 4))
    samples[samples < 0.2] = np.nan
    found = frequencies.quantiles(samples, (0.025, 0.5, 1))
    assert np.allclose(found, np.nanquantile(samples, (0.025, 0.5, 1), axis=0))
    samples[:, 0] = np.nan
    assert np.isnan(frequencies.quantiles(samples, (0.5,))[0, 0]).all()


@pytest.mark.parametrize("level", range(1, 250, 7))
def test_a_stored_probability_does_not_exceed_itself(level):
    stored = np.float32(level) * np.float32(0.004)
    probability = np.full((2, 2, 1), stored)
    one = scene("2020-01-01", [[0, 0], [0, 0]], [[1, 1], [1, 1]], probability)
    exceeds = [
        frequencies.add_up([one], 2, threshold).covered.any()
        for threshold in (level / 250, (level - 0.5) / 250)
    ]
    assert exceeds == [False, True]


def test_many_different_grids_are_added_up_and_too_many_cells_are_refused():
    scenes = []
    for k in range(40):
        grid = Grid(GRID.latitude + k / 100, GRID.longitude)
        values = Values(np.ones((2, 2, 1), bool), np.ones((2, 2), bool))
        time = np.datetime64("2020-01-01", "s") + k % 3
        scenes.append(Scene(str(k), "a.nc", time, grid, lambda values=values: values))
    daily = frequencies.add_up(scenes, 2, None)
    area = (daily.observed * daily.cells.areas).sum()
    one = frequencies.add_up(scenes[:1], 2, None)
    assert area == pytest.approx(40 * (one.observed * one.cells.areas).sum(), rel=0.01)
    with pytest.raises(InputError, match="--cells 5e-05 makes"):
        frequencies.add_up(scenes[:1], 0.00005, None)
