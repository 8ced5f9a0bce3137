import cv2
import pandas as pd

from clouds import plots, scenes, schema


def test_the_history_becomes_a_picture(tmp_path):
    columns = ("loss", "val_loss", "dice_coef", "val_dice_coef")
    epochs = pd.DataFrame({"epoch": [0, 1], **{c: [0.2, 0.4] for c in columns}})
    plots.history(epochs, tmp_path / "history.png")
    assert [path.name for path in tmp_path.iterdir()] == ["history.png"]
    picture = cv2.imread(str(tmp_path / "history.png"))
    assert picture.shape == (600, 1000, 3)
    assert len(set(map(tuple, picture.reshape(-1, 3)))) > 10


def test_one_epoch_is_enough(tmp_path):
    columns = ("loss", "val_loss", "dice_coef", "val_dice_coef")
    epochs = pd.DataFrame({"epoch": [0], **{c: [0.2] for c in columns}})
    plots.history(epochs, tmp_path / "history.png")
    assert (tmp_path / "history.png").exists()


def test_masks_are_outlined_in_the_colours_of_their_labels(tmp_path):
    drawn = [scenes.scene(seed, (96, 144)) for seed in range(5)]
    images, masks = zip(*drawn, strict=True)
    plots.overlays(images, masks, tmp_path / "scenes.png")
    picture = cv2.imread(str(tmp_path / "scenes.png"))[..., ::-1]
    colours = set(map(tuple, picture.reshape(-1, 3).tolist()))
    for label, colour in enumerate(schema.COLOURS):
        wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert any(mask[..., label].any() for mask in masks)
        assert wanted in colours
