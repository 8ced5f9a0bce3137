import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from clouds import rle
from clouds.cli import main
from clouds.data import annotations, scenes


def test_the_csv_describes_the_scenes_on_the_competitions_grid(sample):
    read = annotations.read(str(sample / "train.csv"))
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
    read = annotations.read(str(sample / "sample_submission.csv"))
    assert read.images == ["0000014.jpg", "0000015.jpg", "0000016.jpg"]
    names = sorted(path.name for path in (sample / "test_images").iterdir())
    assert names == read.images


def test_what_was_drawn_is_told(tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--train", "1", "--test", "0", "--size", "48x64"]
    assert main.main(["make_scenes", *flags]) == 0
    told = f"{tmp_path}: 1 labelled scene and 0 scenes without labels; "
    assert capsys.readouterr().out.startswith(told)


def draw(out, *flags):
    options = ["--train", "3", "--test", "1", "--size", "48x64", *flags]
    return main.main(["make_scenes", "--out", str(out), *options])


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_whole_sample_is_left_alone_and_one_that_lacks_something_is_drawn_again(
    tmp_path, capsys
):
    assert draw(tmp_path) == 0
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert draw(tmp_path) == 0
    assert "already drawn, 3 labelled scenes and 1 scene" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (tmp_path / "train_images/0000001.jpg").unlink()
    assert draw(tmp_path) == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("images", range(5))
def test_the_same_command_goes_on_where_a_drawing_was_cut_off(
    images, tmp_path, monkeypatch
):
    assert draw(tmp_path / "whole") == 0
    scene, drawn = scenes.scene, []

    def scene_until_interrupted(*arguments):
        if len(drawn) == images:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return scene(*arguments)

    if images < 4:
        monkeypatch.setattr(scenes, "scene", scene_until_interrupted)
    else:
        monkeypatch.setattr(os, "replace", interrupt_at("train.csv"))
    assert draw(tmp_path / "out") == 130
    monkeypatch.undo()
    assert draw(tmp_path / "out") == 0
    (tmp_path / "out/train.csv.part").unlink(missing_ok=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def interrupt_at(name):
    replace = os.replace

    def replace_or_interrupt(path, target):
        if Path(target).name == name:
            raise KeyboardInterrupt
        return replace(path, target)

    return replace_or_interrupt


@pytest.mark.parametrize(
    "name", ["train.csv", "sample_submission.csv", "train_images/real.jpg"]
)
def test_files_that_are_no_samples_are_refused_and_stay(name, tmp_path, capsys):
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("precious")
    assert draw(tmp_path) == 2
    refusal = capsys.readouterr().err
    assert f"holds another {name.split('/')[0]}" in refusal
    assert refusal.count("\n") == 1
    assert contents(tmp_path) == {name: b"precious"}
    assert draw(tmp_path, "--overwrite") == 0
    assert len(annotations.read(str(tmp_path / "train.csv")).images) == 3
    assert ("real.jpg" in name) == theirs.read_bytes().startswith(b"precious")


def test_a_csv_that_was_edited_is_not_replaced(tmp_path, capsys):
    assert draw(tmp_path) == 0
    (tmp_path / "train.csv").write_text("mine")
    assert draw(tmp_path) == 2
    assert "holds another train.csv" in capsys.readouterr().err
    assert (tmp_path / "train.csv").read_text() == "mine"


def test_a_sample_of_other_settings_is_refused_or_gives_way(tmp_path, capsys):
    assert draw(tmp_path) == 0
    (tmp_path / "train_images/mine.jpg").write_text("precious")
    before = contents(tmp_path)
    assert draw(tmp_path, "--train", "2", "--size", "32x48") == 2
    told = "holds a sample with --train 3, not 2 and --size 48x64, not 32x48"
    assert told in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert draw(tmp_path, "--train", "2", "--overwrite") == 0
    names = sorted(path.name for path in (tmp_path / "train_images").iterdir())
    assert names == [*annotations.read(str(tmp_path / "train.csv")).images, "mine.jpg"]
    assert len(list((tmp_path / "test_images").iterdir())) == 1
