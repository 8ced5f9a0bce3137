import json
import math
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.edits import edit
from helpers.evaluations import FACTS, IMAGES, summarised
from helpers.references import presence

from clouds import schema
from clouds.errors import InputError
from clouds.evaluation import results, scores, summary
from clouds.evaluation.counts import Tally
from clouds.runtime import files

ROWS = [*schema.CLOUDS.labels, "mean"]


@pytest.fixture(scope="module")
def found():
    return summarised()[0]


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    results.write(found, FACTS, "a text\n", out)
    return out


def test_all_files_are_written_and_no_other(written):
    assert {path.name for path in written.iterdir()} == {*results.FILES}
    assert (written / results.TEXT).read_text() == "a text\n"
    assert cv2.imread(str(written / results.PICTURE)).shape == (900, 1500, 3)


def test_the_json_holds_what_the_docstring_promises(written, found):
    fields = json.loads((written / results.JSON).read_text())
    assert FACTS.items() <= fields.items()
    assert fields["dice_coef"] == 0.26
    pd.testing.assert_frame_equal(
        pd.DataFrame(fields["mean_dice"]), summary.table(found)
    )
    for name, values in found.metrics.items():
        assert list(fields["figures"][name]) == ROWS
        for row, numbers in zip(ROWS, values.tolist(), strict=True):
            shown = fields["figures"][name][row]
            expected = [None if math.isnan(number) else number for number in numbers]
            assert [shown["value"], shown["low"], shown["high"]] == expected
    documented = results.__doc__ + scores.compute.__doc__
    for name in fields["figures"]:
        assert f"`{name.removesuffix('_plain').removesuffix('_post')}`" in documented
    for name in set(fields) - set(FACTS):
        assert f"\n    {name} " in results.__doc__


def test_the_json_holds_the_curves(written, found):
    fields = json.loads((written / results.JSON).read_text())
    present = found.images.truth > 0
    for k, label in enumerate(schema.CLOUDS.labels):
        curve = fields["precision_recall"][label]
        parts = scores.precision_recall(present[:, k], found.images.score[:, k])
        for name, part in zip(("precision", "recall", "score"), parts, strict=True):
            np.testing.assert_allclose(curve[name], part)
    for name, edges in (("pixels", 21), ("presence", 11)):
        calibration = fields["calibration"][name]
        assert calibration["edges"] == pytest.approx(np.linspace(0, 1, edges))
        probability, frequency, _ = scores.reliability(found.bins[name])
        for k, label in enumerate(schema.CLOUDS.labels):
            bins = calibration[label]
            assert bins["count"] == found.bins[name].count[k].tolist()
            for key, values in (("probability", probability), ("frequency", frequency)):
                kept = [np.nan if x is None else x for x in bins[key]]
                np.testing.assert_array_equal(kept, values[k])


def test_the_json_holds_the_confusion(written, found):
    confusion = json.loads((written / results.JSON).read_text())["confusion"]
    assert confusion["labels"] == [*schema.CLOUDS.labels, "none"]
    np.testing.assert_allclose(confusion["pixels"], found.confusion)
    np.testing.assert_allclose(np.sum(confusion["shares"], axis=1), 1)


def test_the_csv_of_labels_holds_the_metrics(written, found):
    read = pd.read_csv(written / results.LABELS, index_col="label")
    assert read.index.tolist() == ROWS
    for name, values in found.metrics.items():
        np.testing.assert_allclose(read[name], values[:, 0])
        if f"{name}_low" in read:
            np.testing.assert_allclose(read[f"{name}_low"], values[:, 1])
            np.testing.assert_allclose(read[f"{name}_high"], values[:, 2])
        else:
            assert name in ("dice_coef", "ece_pixels", "ece_presence")


def test_the_csv_of_images_holds_each_image_and_label(tmp_path):
    found, truth, plain, post = summarised()
    results.write(found, FACTS, "", tmp_path)
    read = pd.read_csv(tmp_path / results.IMAGES)
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
    np.testing.assert_allclose(means, found.metrics["dice_post"][:4, 0])


def test_a_label_of_no_image_has_null_where_nothing_is_defined(tmp_path):
    found, *_ = summarised(without=2)
    results.write(found, FACTS, "", tmp_path)
    fields = json.loads((tmp_path / results.JSON).read_text())
    assert fields["precision_recall"]["Gravel"] is None
    assert fields["precision_recall"]["Sugar"]["recall"][-1] == 1
    for name in ("average_precision", "recall_post", "dice_non_empty_post"):
        gravel = fields["figures"][name]["Gravel"]
        assert gravel == {"value": None, "low": None, "high": None}
        assert fields["figures"][name]["mean"]["value"] is not None
    assert fields["figures"]["dice_post"]["Gravel"]["value"] is not None
    assert fields["confusion"]["shares"][2] == [None] * 5


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    tally, draw = Tally(), np.random.default_rng(0)
    for name in range(300):
        planes = draw.random((1, 2, 2, 4)).astype("f4")
        masks = planes > 0.5, planes > 0.6, planes > 0.4
        tally.add([str(name)], presence(planes), planes, *masks)
    ones = {name: np.ones((300, 4)) for name in summary._COLUMNS.values()}
    found = summary.summarise(tally, ones, np.zeros(5))
    results.write(found, {**FACTS, "images": 300}, "", tmp_path)
    fields = json.loads((tmp_path / results.JSON).read_text())
    curve = fields["precision_recall"]["Fish"]
    assert {len(part) for part in curve.values()} == {101}
    scored = found.images.score[:, 0]
    assert curve["score"][0] == scored.max() and curve["score"][-1] == scored.min()
    assert curve["recall"][-1] == 1


def test_what_was_written_is_read_again(evaluated):
    found = results.read(str(evaluated / "a"))
    assert len(found.images.names) == found.facts["images"] == 4
    metrics = scores.compute(found.images, np.ones((1, 4)))
    for name, values in metrics.items():
        written = found.facts["figures"][name]
        expected = [written[label]["value"] for label in schema.CLOUDS.labels]
        expected = [np.nan if value is None else value for value in expected]
        np.testing.assert_allclose(values[0], expected, err_msg=name)


def test_a_folder_without_an_evaluation_has_none(tmp_path):
    assert results.read(str(tmp_path)) is None


@pytest.mark.parametrize("damage", ["json", "old", "no table", "short", "labels"])
def test_a_damaged_evaluation_is_refused(evaluated, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(evaluated / "a", folder)
    path, table = folder / "metrics.json", folder / "metrics_images.csv"
    rows = pd.read_csv(table)
    if damage == "json":
        path.write_text("{")
    elif damage == "old":
        path.write_text(json.dumps({"images": 4, "mean_dice": {}}))
    elif damage == "no table":
        table.unlink()
    else:
        rows = rows[:-4] if damage == "short" else rows[::-1]
        rows.to_csv(table, index=False)
        edit(path, images_sha256=files.checksum(table))
    with pytest.raises(
        InputError, match="metrics.json or .* is damaged.*Run bin/evaluate"
    ):
        results.read(str(folder))
