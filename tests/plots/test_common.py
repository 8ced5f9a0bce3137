import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.figures import legends_beside_their_panels

from clouds import schema
from clouds.data import scenes
from clouds.plots import common


def test_the_history_becomes_a_picture(tmp_path):
    columns = ("loss", "val_loss", "dice_coef", "val_dice_coef")
    columns += ("mean_dice", "val_mean_dice")
    epochs = pd.DataFrame({"epoch": [0, 1], **{c: [0.2, 0.4] for c in columns}})
    common.history(epochs, tmp_path / "history.png")
    assert [path.name for path in tmp_path.iterdir()] == ["history.png"]
    picture = cv2.imread(str(tmp_path / "history.png"))
    assert picture.shape == (900, 1000, 3)
    assert len(set(map(tuple, picture.reshape(-1, 3)))) > 10


@pytest.mark.parametrize("count", [1, 60])
def test_the_legends_of_a_history_lie_beside_its_curves(tmp_path, monkeypatch, count):
    columns = [p + c for c in ("loss", "dice_coef", "mean_dice") for p in ("", "val_")]
    epochs = pd.DataFrame(np.random.default_rng(0).random((count, 6)), columns=columns)
    drawn = []
    monkeypatch.setattr(common, "save", lambda figure, path: drawn.append(figure))
    common.history(epochs.rename_axis("epoch").reset_index(), tmp_path / "history.png")
    assert legends_beside_their_panels(drawn[0]) == 3


def test_one_epoch_is_enough(tmp_path):
    columns = ("loss", "val_loss", "dice_coef", "val_dice_coef")
    columns += ("mean_dice", "val_mean_dice")
    epochs = pd.DataFrame({"epoch": [0], **{c: [0.2] for c in columns}})
    common.history(epochs, tmp_path / "history.png")
    assert (tmp_path / "history.png").exists()


def test_masks_are_outlined_in_the_colours_of_their_labels(tmp_path):
    drawn = [scenes.scene(seed, (96, 144)) for seed in range(5)]
    images, masks = zip(*drawn, strict=True)
    common.overlays(images, masks, tmp_path / "scenes.png")
    picture = cv2.imread(str(tmp_path / "scenes.png"))[..., ::-1]
    colours = set(map(tuple, picture.reshape(-1, 3).tolist()))
    for label, colour in enumerate(schema.COLOURS):
        wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert any(mask[..., label].any() for mask in masks)
        assert wanted in colours


def described(images=3):
    """What a csv of a few images, with a mask each of Fish, could come to."""
    numbers = [images, 0, 0, 0]
    columns = {"index": schema.LABELS, "columns": schema.LABELS}
    masks = {"label": ["Fish"] * images, "share": [0.3] * images}
    return {
        "tables": {
            "labels": pd.DataFrame({"masks": numbers}, index=schema.LABELS),
            "labels_per_image": pd.DataFrame({"images": [0, images, 0, 0, 0]}),
            "sets": pd.DataFrame({"images": [images]}, index=["Fish"]),
        },
        "both": pd.DataFrame(np.diag(numbers), **columns),
        "masks": pd.DataFrame(masks),
        "components": pd.DataFrame(masks),
        "speck": 1e-3,
        "title": "train.csv",
    }


def test_statistics_become_a_picture_in_the_colours_of_the_labels(tmp_path):
    common.statistics(**described(), path=tmp_path / "statistics.png")
    assert [path.name for path in tmp_path.iterdir()] == ["statistics.png"]
    picture = cv2.imread(str(tmp_path / "statistics.png"))[..., ::-1]
    assert picture.shape == (900, 1500, 3)
    fish = [int(schema.COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)]
    assert (picture == fish).all(-1).sum() > 1000


def test_statistics_of_no_mask_become_a_picture(tmp_path):
    common.statistics(**described(0), path=tmp_path / "statistics.png")
    assert (tmp_path / "statistics.png").exists()


def test_images_may_have_titles(tmp_path):
    drawn = [scenes.scene(seed, (96, 144)) for seed in range(2)]
    images, masks = zip(*drawn, strict=True)
    heights = []
    for titles in ((), ("truth", "predicted")):
        common.overlays(images, masks, tmp_path / "scenes.png", titles=titles)
        heights.append(cv2.imread(str(tmp_path / "scenes.png")).shape[0])
    assert heights[1] > heights[0]
    assert (cv2.imread(str(tmp_path / "scenes.png"))[:5] == 255).all()
