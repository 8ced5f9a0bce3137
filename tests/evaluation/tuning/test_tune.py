"""Tuning, of runs with small random networks, against the masks that are drawn."""

import json

import cv2
import numpy as np
import pytest
from helpers import small

from clouds import metrics, schema
from clouds.config.rule import NOTHING, Rule
from clouds.errors import InputError
from clouds.evaluation import held_out
from clouds.evaluation.tuning import tune
from clouds.postprocess import apply
from clouds.runs import run_folder

ROWS = [*schema.CLOUDS.labels, "mean"]
pytestmark = pytest.mark.usefixtures("smooth_network")


@pytest.fixture(scope="module")
def predictions(fold_runs, in_folds):
    return held_out.load(fold_runs, str(in_folds))


@pytest.fixture(scope="module")
def batches(predictions):
    """What the networks predict, which each rule can take again."""
    return [*predictions.batches("")]


@pytest.fixture(scope="module")
def tuned(predictions, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    return tune.tune(predictions, out), out


def drawn_dice(predictions, batches, rule):
    """Dice of each image and label where masks are drawn one batch after another."""
    scores = []
    for batch in batches:
        size = predictions.truth_size
        masks = apply(batch.probabilities, rule, batch.images, size)["masks"]
        scores.append(np.asarray(metrics.dice(batch.truth, masks)))
    return np.concatenate(scores)


def test_the_dice_is_that_of_the_masks_by_each_rule(tuned, predictions, batches):
    found, out = tuned
    rules = {"threshold": Rule(min_sizes=(0,) * 4, gap=False), "default": Rule()}
    for name, rule in {**rules, "tuned": found.rule}.items():
        dice = drawn_dice(predictions, batches, rule).mean(axis=0)
        np.testing.assert_allclose(found.dice[name][:4, 0], dice, atol=1e-5)
        assert found.dice[name][4, 0] == pytest.approx(dice.mean(), abs=1e-5)
    assert found.dice["tuned"][4, 0] > found.dice["default"][4, 0]
    gain = found.dice["cross_fitted"][:, 0] - found.dice["default"][:, 0]
    np.testing.assert_allclose(found.dice["gain"][:, 0], gain)


def test_baselines_do_not_depend_on_the_orbit_gap_of_the_tuned_rule(
    tuned, predictions, tmp_path, monkeypatch
):
    # The other tests read the rule that is stored.
    monkeypatch.setattr(run_folder, "save_rule", lambda *_: None)
    kept = tune.tune(predictions, tmp_path, gap=False)
    for name in ("threshold", "default"):
        np.testing.assert_array_equal(kept.dice[name], tuned[0].dice[name])
    gain = kept.dice["cross_fitted"] - kept.dice["default"]
    np.testing.assert_allclose(kept.dice["gain"][:, 0], gain[:, 0])


def test_the_cross_fitted_dice_is_that_of_the_rules_of_the_other_folds(
    tuned, predictions, batches
):
    found, out = tuned
    fields = json.loads((out / tune.FILE).read_text())
    assert len(fields["folds"]) == 5
    by_fold = [
        drawn_dice(predictions, batches, Rule(**rule)) for rule in fields["folds"]
    ]
    fold = np.array(fields["fold"])
    assert np.bincount(fold).tolist() == [4] * 5
    cross_fitted = np.array(by_fold)[fold, np.arange(20)]
    expected = found.dice["cross_fitted"][:4, 0]
    np.testing.assert_allclose(cross_fitted.mean(axis=0), expected, atol=1e-5)


def test_the_rule_is_stored_with_every_run(tuned, fold_runs, predictions):
    for folder in fold_runs:
        assert run_folder.rule(folder) == tuned[0].rule
        facts = run_folder.rule_facts(folder)
        assert facts["tuned_on"] == predictions.facts
        assert facts["dice"]["cross_fitted"]["mean"]["value"] == pytest.approx(
            tuned[0].dice["cross_fitted"][4, 0]
        )


def test_the_maps_hold_the_dice_by_threshold_and_minimum_area(
    tuned, predictions, batches
):
    _, out = tuned
    maps = json.loads((out / tune.FILE).read_text())["maps"]
    shape = len(maps["thresholds"]), len(maps["min_sizes"])
    assert shape[0] == 31
    for threshold, size in ((15, 10), (5, 3)):
        rule = Rule(
            thresholds=(maps["thresholds"][threshold],) * 4,
            min_sizes=(maps["min_sizes"][size],) * 4,
        )
        dice = drawn_dice(predictions, batches, rule).mean(axis=0)
        for label, expected in zip(schema.CLOUDS.labels, dice, strict=True):
            grid = np.array(maps["dice"][label])
            assert grid.shape == shape
            assert grid[threshold, size] == pytest.approx(expected, abs=1e-5)
    picture = cv2.imread(str(out / tune.PICTURE))
    assert picture is not None
    names = {path.name for path in out.iterdir()}
    assert names == {*tune.FILES}


def test_the_text_shows_the_dice_and_the_rule(tuned):
    found, _ = tuned
    for name in ("tuned", "cross_fitted"):
        value, low, high = found.dice[name][4]
        assert f"{value:.4f} [{low:.4f}, {high:.4f}]" in " ".join(found.text.split())
    assert f"{found.rule.thresholds[1]:.3f}" in found.text
    assert "5 folds" in found.text
    areas = found.text.split()
    for area in found.rule.min_sizes:
        assert (f"{area:,}" if area != NOTHING else "drawn") in areas


def test_scope_and_gap_are_those_requested(fold_runs, in_folds, tmp_path):
    predictions = held_out.load(fold_runs[:1], str(in_folds))
    found = tune.tune(predictions, tmp_path, scope="image", gap=False)
    assert found.rule.scope == "image" and not found.rule.gap
    batches = predictions.batches("")
    dice = drawn_dice(predictions, batches, found.rule).mean(axis=0)
    np.testing.assert_allclose(found.dice["tuned"][:4, 0], dice, atol=1e-5)


def test_a_label_of_no_image_keeps_the_default_and_is_named(
    fold_runs, in_folds, tmp_path, monkeypatch
):
    predictions = held_out.load(fold_runs[:1], str(in_folds))
    there = np.array([1, 1, 0, 1], np.uint8)
    batches = [
        batch._replace(truth=batch.truth * there) for batch in predictions.batches("")
    ]
    monkeypatch.setattr(held_out.Predictions, "batches", lambda *_: iter(batches))
    found = tune.tune(predictions, tmp_path)
    assert found.rule.thresholds[2] == 0.5 and found.rule.min_sizes[2] == 10000
    assert "No image has Gravel, which keeps the default." in found.text


def test_one_image_is_too_few(fold_runs, in_folds, tmp_path, monkeypatch):
    predictions = held_out.load(fold_runs[:1], str(in_folds))
    monkeypatch.setattr(held_out.Predictions, "images", 1)
    with pytest.raises(
        InputError, match="at least 2 images, and the val split of .* has 1"
    ):
        tune.tune(predictions, tmp_path)


def test_better_weights_remove_the_rule(fold_runs, in_folds, tmp_path):
    folder = small.write_run(tmp_path / "run", in_folds, fold=0)
    run_folder.save_rule(str(folder), Rule(), {})
    assert run_folder.rule(str(folder)) == Rule()
    run_folder.save_weights(small.build_smooth((64, 96)), folder)
    assert (
        run_folder.rule(str(folder)) is None
        and run_folder.rule_facts(str(folder)) is None
    )
