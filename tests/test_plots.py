import cv2
import pandas as pd

from clouds import plots


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
