import json

import pytest

from clouds.cli import main

SEEN = "1,R/a.jpg,0,0,1050,1400,Fish\n2,R/b.jpg,0,0,700,700,Sugar\n"
OTHER = "1,R/a.jpg,0,0,2100,1400,Fish\n2,R/b.jpg,,,,,\n3,R/c.jpg,0,0,9,9,Fish\n"


def write(path, text):
    path.write_text(text)
    return path


def agreement(out, *flags):
    return main.main(["agreement", "--out", str(out), *map(str, flags)])


def test_people_and_a_network_are_compared_per_label(tmp_path, capsys):
    ann, bob = write(tmp_path / "ann.csv", SEEN), write(tmp_path / "bob.csv", OTHER)
    rows = {"a.jpg_Fish": "1 183750", "b.jpg_Sugar": ""}
    names = [f"{i}_{k}" for i in ("a.jpg", "b.jpg") for k in ["Fish", "Flower"]]
    names += [f"{i}_{k}" for i in ("a.jpg", "b.jpg") for k in ["Gravel", "Sugar"]]
    lines = [f"{name},{rows.get(name, '')}\n" for name in sorted(names)]
    masks = write(tmp_path / "m.csv", "Image_Label,EncodedPixels\n" + "".join(lines))
    assert agreement(tmp_path / "out", "--boxes", ann, bob, "--submission", masks) == 0
    shown = capsys.readouterr().out
    assert "3 images, 2 annotators" in shown and "between people, mean IoU" in shown
    results = json.loads((tmp_path / "out/agreement.json").read_text())
    assert results["annotators"] == ["ann", "bob"]
    people, network = (results[part]["iou"] for part in ("people", "network"))
    assert people["Fish"]["value"] == pytest.approx(0.5, abs=0.002)
    assert people["Sugar"]["value"] == 0
    assert people["Gravel"]["value"] is None
    # Half of ann's image, all of bob's.
    assert network["Fish"]["value"] == pytest.approx(0.75, abs=0.002)
    difference = results["network_minus_people"]["iou"]["Fish"]["value"]
    assert difference == pytest.approx(0.25, abs=0.002)
    assert len(results["pairs"]) == 3


def test_one_annotator_alone_is_refused(tmp_path, capsys):
    ann = write(tmp_path / "ann.csv", SEEN)
    assert agreement(tmp_path / "out", "--boxes", ann) == 2
    assert "no image with a pattern was seen by two" in capsys.readouterr().err
    assert agreement(tmp_path / "out", "--boxes", ann, ann) == 2
    assert "two annotators are named ann" in capsys.readouterr().err


def test_labels_and_grid_may_be_others(tmp_path, capsys):
    ann = write(tmp_path / "ann.csv", "1,a.png,0,0,100,50,dry\n")
    bob = write(tmp_path / "bob.csv", "1,a.png,0,0,100,100,dry\n")
    mask = "ImageId,ClassId,EncodedPixels\na.png,dry,1 5000\na.png,very wet,\n"
    masks = write(tmp_path / "m.csv", mask)
    flags = ["--labels", "dry,very wet", "--size", "100x100", "--grid", "50x100"]
    boxes = ["--boxes", ann, bob, "--submission", masks]
    assert agreement(tmp_path / "out", *boxes, *flags) == 0
    assert "  very wet    nan  [" in capsys.readouterr().out
    results = json.loads((tmp_path / "out/agreement.json").read_text())
    assert results["people"]["iou"]["dry"]["value"] == pytest.approx(0.5)
    assert results["network"]["iou"]["dry"]["value"] == pytest.approx(0.75)
    assert agreement(tmp_path / "out", *boxes, "--labels", "a,a") == 2
    assert "--labels" in capsys.readouterr().err
