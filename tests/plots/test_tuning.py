import dataclasses

import cv2
import numpy as np

from clouds import schema
from clouds.config.rule import NOTHING, Rule
from clouds.plots import common, tuning


def axes_of(panels):
    """Draws panels; every second of the axes is a colour bar."""
    return common.arrange(panels, columns=1, size=(5, 4)).axes[::2]


def tuned(rule, dice=None):
    """Contents of tuning.json."""
    dice = np.random.default_rng(0).random((31, 31)) if dice is None else dice
    return {
        "rule": dataclasses.asdict(rule),
        "maps": {
            "thresholds": (np.arange(1, 32) / 32).tolist(),
            "min_sizes": list(range(0, 31000, 1000)),
            "dice": dict.fromkeys(schema.CLOUDS.labels, dice.tolist()),
        },
    }


def test_a_tuning_becomes_a_map_per_label(tmp_path):
    rule = Rule(
        thresholds=(0.3, 0.4, 0.5, 0.6),
        min_sizes=(5, 9, 90000, NOTHING),
        tops=(0, 0, 0.7, 0),
    )
    tuning.draw_tuning(tuned(rule), tmp_path / "tuning.png")
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.png"]
    picture = cv2.imread(str(tmp_path / "tuning.png"))
    assert picture.shape == (470, 1500, 3)
    assert len(set(map(tuple, picture.reshape(-1, 3).tolist()))) > 200
    titles = [ax.get_title() for ax in axes_of(tuning.maps(tuned(rule)))]
    for k, (title, label) in enumerate(zip(titles, schema.CLOUDS.labels, strict=True)):
        shown = f"{label} {rule.describe_label(k)}"
        assert title.replace("\n", " ") == shown


def test_the_cells_of_a_map_are_centred_on_their_values():
    ax = axes_of(tuning.maps(tuned(Rule()))[:1])[0]
    extent = ax.images[0].get_extent()
    np.testing.assert_allclose(extent, [-500, 30500, 0.5 / 32, 31.5 / 32])
    shown = ax.images[0].get_array()
    assert ax.images[0].get_clim() == (shown.max() - 0.15, shown.max())


def test_an_arrow_points_to_an_area_beyond_the_axis():
    rule = Rule(min_sizes=(5, 30000, 90000, NOTHING))
    panels = axes_of(tuning.maps(tuned(rule)))
    marks = [[line.get_marker() for line in ax.lines] for ax in panels]
    assert marks == [["o", "*"], ["o", "*"], ["o", ">"], ["o", ">"]]
    areas = [ax.lines[1].get_xdata()[0] for ax in panels]
    assert areas == [5, 30000, 30000, 30000]
    titles = [ax.get_title().partition("area above ")[2] for ax in panels]
    assert titles == ["5", "30,000", "90,000", ""]
    assert panels[3].get_title().endswith("nothing drawn")


def test_a_flat_map_is_drawn(tmp_path):
    fields = tuned(Rule(), np.ones((31, 31)))
    tuning.draw_tuning(fields, tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").exists()
