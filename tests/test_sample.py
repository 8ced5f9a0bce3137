import cv2
import numpy as np

from clouds import cli, rle, scenes, table


def test_the_csv_describes_the_scenes_on_the_competitions_grid(sample):
    read = table.read(str(sample / "train.csv"))
    assert read.images[:2] == ["0000000.jpg", "0000001.jpg"]
    _, masks = scenes.scene(1, (96, 144))
    for label, runs in enumerate(read.runs(1, (1400, 2100))):
        (sampled,) = rle.resample([runs], (1400, 2100), [(96, 144)])
        assert (sampled == masks[..., label]).all()


def test_the_images_are_the_scenes(sample):
    image, _ = scenes.scene(3, (96, 144))
    written = cv2.imread(str(sample / "train_images" / "0000003.jpg"))[..., ::-1]
    assert np.abs(written.astype(int) - image).mean() < 4


def test_test_scenes_are_others_and_stand_in_the_sample_submission(sample):
    read = table.read(str(sample / "sample_submission.csv"))
    assert read.images == ["0000014.jpg", "0000015.jpg", "0000016.jpg"]
    names = sorted(path.name for path in (sample / "test_images").iterdir())
    assert names == read.images


def test_what_was_drawn_is_told(tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--train", "1", "--test", "0", "--size", "48x64"]
    assert cli.main(["make_scenes", *flags]) == 0
    told = f"{tmp_path}: 1 labelled scene and 0 scenes without labels; the first"
    assert capsys.readouterr().out.startswith(told)
