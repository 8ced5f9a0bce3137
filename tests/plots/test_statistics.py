import cv2
import numpy as np
import pandas as pd

from clouds import schema
from clouds.plots import common
from clouds.plots.statistics import draw_statistics


def described(images=3):
    """Statistics of a few images that each have a mask of Fish."""
    numbers = [images, 0, 0, 0]
    both = pd.DataFrame(
        np.diag(numbers), index=schema.CLOUDS.labels, columns=schema.CLOUDS.labels
    )
    masks = pd.DataFrame({"label": ["Fish"] * images, "share": [0.3] * images})
    return {
        "tables": {
            "labels": pd.DataFrame({"masks": numbers}, index=schema.CLOUDS.labels),
            "labels_per_image": pd.DataFrame({"images": [0, images, 0, 0, 0]}),
            "sets": pd.DataFrame({"images": [images]}, index=["Fish"]),
            "both": both,
        },
        "masks": masks,
        "components": masks,
        "speck": 1e-3,
        "title": "train.csv",
    }


def test_statistics_become_a_picture_in_the_colours_of_the_labels(tmp_path):
    draw_statistics(**described(), path=tmp_path / "statistics.png")
    assert [path.name for path in tmp_path.iterdir()] == ["statistics.png"]
    picture = cv2.imread(str(tmp_path / "statistics.png"))[..., ::-1]
    assert picture.shape == (900, 1500, 3)
    fish = [int(schema.CLOUDS.colours[0][i : i + 2], 16) for i in (1, 3, 5)]
    assert (picture == fish).all(-1).sum() > 1000


def test_statistics_of_no_mask_become_a_picture(tmp_path):
    draw_statistics(**described(0), path=tmp_path / "statistics.png")
    assert (tmp_path / "statistics.png").exists()


def test_ticks_are_plain_numbers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(common, "save", lambda figure, path: drawn.append(figure))
    draw_statistics(**described(), path=tmp_path / "statistics.png")
    drawn[0].draw_without_rendering()
    (areas,) = [ax for ax in drawn[0].axes if ax.get_xscale() == "log"]
    for axis in (areas.xaxis, areas.yaxis):
        labels = [label.get_text() for label in axis.get_ticklabels(which="both")]
        assert "1" in labels and not any("$" in label for label in labels)
