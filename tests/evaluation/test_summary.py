import json
import math

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.references import maps, presence

from clouds import schema
from clouds.evaluation import scores, summary
from clouds.evaluation.counts import Tally

ROWS = [*schema.LABELS, "mean"]
IMAGES = 12
FACTS = {"split": "val", "images": IMAGES, "rule_source": "default"}


def summarised(truth_of=None):
    probabilities, truth = maps(IMAGES, labels=4, seed=4)
    probabilities[::5] = 0
    if truth_of is not None:
        truth[..., truth_of] = 0
    counted = Tally()
    plain = probabilities > 0.5
    post = plain & (plain.sum(axis=(1, 2), keepdims=True) > 60)
    names = [f"{k}.jpg" for k in range(IMAGES)]
    score = presence(probabilities)
    counted.add(names, score, probabilities, plain, post, truth)
    baselines = {
        name: np.full((IMAGES, 4), value)
        for name, value in (
            ("dice_all_empty", 0.4),
            ("dice_all_full", 0.2),
            ("dice_best_constant", 0.45),
        )
    }
    soft = np.array([0.1, 0.2, 0.3, 0.4, 0.26])
    return summary.summarise(counted, baselines, soft), truth, plain, post


@pytest.fixture(scope="module")
def found():
    return summarised()[0]


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    out = tmp_path_factory.mktemp("summary")
    summary.write(found, FACTS, "a text\n", out)
    return out


def test_all_files_are_written_and_no_other(written):
    names = {summary.JSON, summary.TEXT, summary.LABELS, summary.IMAGES}
    assert {path.name for path in written.iterdir()} == names | {summary.PICTURE}
    assert (written / summary.TEXT).read_text() == "a text\n"
    assert cv2.imread(str(written / summary.PICTURE)).shape == (900, 1500, 3)


def test_the_json_holds_what_the_docstring_promises(written, found):
    fields = json.loads((written / summary.JSON).read_text())
    assert FACTS.items() <= fields.items()
    assert fields["dice_coef"] == 0.26
    pd.testing.assert_frame_equal(
        pd.DataFrame(fields["mean_dice"]), summary.table(found)
    )
    for name, values in found.figures.items():
        assert list(fields["figures"][name]) == ROWS
        for row, numbers in zip(ROWS, values.tolist(), strict=True):
            shown = fields["figures"][name][row]
            expected = [None if math.isnan(number) else number for number in numbers]
            assert [shown["value"], shown["low"], shown["high"]] == expected
    documented = summary.__doc__ + scores.figures.__doc__
    for name in fields["figures"]:
        assert f"`{name.removesuffix('_plain').removesuffix('_post')}`" in documented
    for name in set(fields) - set(FACTS):
        assert f"\n    {name} " in summary.__doc__


def test_the_json_holds_the_curves(written, found):
    fields = json.loads((written / summary.JSON).read_text())
    present = found.images.truth > 0
    for k, label in enumerate(schema.LABELS):
        curve = fields["precision_recall"][label]
        parts = scores.precision_recall(present[:, k], found.images.score[:, k])
        for name, part in zip(("precision", "recall", "score"), parts, strict=True):
            np.testing.assert_allclose(curve[name], part)
    for name, edges in (("pixels", 21), ("presence", 11)):
        calibration = fields["calibration"][name]
        assert calibration["edges"] == pytest.approx(np.linspace(0, 1, edges))
        probability, frequency, _ = scores.reliability(found.bins[name])
        for k, label in enumerate(schema.LABELS):
            bins = calibration[label]
            assert bins["count"] == found.bins[name].count[k].tolist()
            for key, values in (("probability", probability), ("frequency", frequency)):
                kept = [np.nan if x is None else x for x in bins[key]]
                np.testing.assert_array_equal(kept, values[k])


def test_the_json_holds_the_confusion(written, found):
    confusion = json.loads((written / summary.JSON).read_text())["confusion"]
    assert confusion["labels"] == [*schema.LABELS, "none"]
    np.testing.assert_allclose(confusion["pixels"], found.confusion)
    np.testing.assert_allclose(np.sum(confusion["shares"], axis=1), 1)


def test_the_csv_of_labels_holds_the_figures(written, found):
    read = pd.read_csv(written / summary.LABELS, index_col="label")
    assert read.index.tolist() == ROWS
    for name, values in found.figures.items():
        np.testing.assert_allclose(read[name], values[:, 0])
        if f"{name}_low" in read:
            np.testing.assert_allclose(read[f"{name}_low"], values[:, 1])
            np.testing.assert_allclose(read[f"{name}_high"], values[:, 2])
        else:
            assert name in ("dice_coef", "ece_pixels", "ece_presence")


def test_the_csv_of_images_holds_each_image_and_label(tmp_path):
    found, truth, plain, post = summarised()
    summary.write(found, FACTS, "", tmp_path)
    read = pd.read_csv(tmp_path / summary.IMAGES)
    assert len(read) == 4 * IMAGES
    row = read.set_index(["image", "label"]).loc[("7.jpg", "Gravel")]
    masks = [part[7, ..., 2] > 0 for part in (truth, plain, post)]
    areas = [mask.sum() for mask in masks]
    assert row[["true_area", "plain_area", "post_area"]].tolist() == areas
    for name, area, mask in (
        ("plain", areas[1], masks[1]),
        ("post", *areas[2:], masks[2]),
    ):
        shared = (mask & masks[0]).sum()
        assert row[f"{name}_shared"] == shared
        assert row[f"dice_{name}"] == pytest.approx(2 * shared / (areas[0] + area))
    assert row["score"] == pytest.approx(found.images.score[7, 2])
    means = read.groupby("label", sort=False)["dice_post"].mean()
    np.testing.assert_allclose(means, found.figures["dice_post"][:4, 0])


def test_a_label_of_no_image_has_null_where_nothing_is_defined(tmp_path):
    found, *_ = summarised(truth_of=2)
    summary.write(found, FACTS, "", tmp_path)
    fields = json.loads((tmp_path / summary.JSON).read_text())
    assert fields["precision_recall"]["Gravel"] is None
    assert fields["precision_recall"]["Sugar"]["recall"][-1] == 1
    for name in ("average_precision", "recall_post", "dice_non_empty_post"):
        gravel = fields["figures"][name]["Gravel"]
        assert gravel == {"value": None, "low": None, "high": None}
        assert fields["figures"][name]["mean"]["value"] is not None
    assert fields["figures"]["dice_post"]["Gravel"]["value"] is not None
    assert fields["confusion"]["shares"][2] == [None] * 5
    gravel = summary.text(found).splitlines()[12].split()
    assert gravel[0] == "Gravel" and gravel[1] == gravel[6] == gravel[7] == "-"


def test_the_text_shows_the_figures(found):
    text = summary.text(found)
    low, high = found.figures["dice_post"][4, 1:]
    assert f"{found.figures['dice_post'][4, 0]:.4f}  [{low:.4f}, {high:.4f}]" in text
    assert "The notebook's dice_coef: 0.2600" in text
    assert f"{found.figures['ece_pixels'][0, 0]:.4f}" in text


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    counted, draw = Tally(), np.random.default_rng(0)
    for name in range(300):
        planes = draw.random((1, 2, 2, 4)).astype("f4")
        masks = planes > 0.5, planes > 0.6, planes > 0.4
        counted.add([str(name)], presence(planes), planes, *masks)
    ones = {name: np.ones((300, 4)) for name in summary._COLUMNS.values()}
    found = summary.summarise(counted, ones, np.zeros(5))
    summary.write(found, {**FACTS, "images": 300}, "", tmp_path)
    fields = json.loads((tmp_path / summary.JSON).read_text())
    curve = fields["precision_recall"]["Fish"]
    assert {len(part) for part in curve.values()} == {101}
    scored = found.images.score[:, 0]
    assert curve["score"][0] == scored.max() and curve["score"][-1] == scored.min()
    assert curve["recall"][-1] == 1
