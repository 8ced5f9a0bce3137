import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from helpers import small

from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.errors import InputError
from clouds.runs import checkpoints, network, run_folder
from clouds.runtime import checksums

pytestmark = pytest.mark.usefixtures("smooth_network")
settings = Training(records="r", run="x", size=(64, 96), precision="float32")


facts = {"started": "now", "records": {"folder": "r", "sha256": "0"}}


def test_the_settings_written_are_the_settings_read(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path / "new"), epochs=7)
    run_folder.create(chosen, facts)
    assert run_folder.settings(chosen.run) == chosen


def test_a_run_of_the_same_settings_goes_on_and_stays(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path))
    run_folder.check(chosen, facts)
    run_folder.create(chosen, facts)
    (tmp_path / run_folder.WEIGHTS).write_bytes(b"old")
    with pytest.raises(InputError, match="has weights, but no intact checkpoint"):
        run_folder.check(chosen, facts)
    checkpoints.save(tmp_path, checkpoints.Progress(epoch=1), [])
    free = {"epochs": 30, "cache": "memory", "checkpoint_every": 7, "records": "moved"}
    longer = dataclasses.replace(chosen, **free, deterministic=True)
    run_folder.check(longer, facts)
    run_folder.create(longer, {**facts, "started": "later"})
    assert (tmp_path / run_folder.WEIGHTS).exists()
    assert run_folder.settings(str(tmp_path)) == longer
    assert json.loads((tmp_path / run_folder.FACTS).read_text())["started"] == "now"


def test_a_run_of_other_settings_is_refused_with_each_difference(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path))
    run_folder.create(chosen, facts)
    checkpoints.save(tmp_path, checkpoints.Progress(), [])
    other = dataclasses.replace(chosen, size=(32, 64), learning_rate=1e-3)
    message = "--size 64x96, not 32x64 and --learning-rate 0.0003, not 0.001"
    with pytest.raises(InputError, match=message):
        run_folder.check(other, facts)
    with pytest.raises(InputError, match="records r, not r"):
        run_folder.check(chosen, {**facts, "records": {"folder": "r", "sha256": "1"}})
    run_folder.check(dataclasses.replace(other, overwrite=True), facts)


@pytest.mark.parametrize("name", ["manifest.json", "val-0.tfrecord", "a.JPG"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_records_or_images_is_no_run_but_may_hold_one(
    tmp_path, name, overwrite
):
    chosen = dataclasses.replace(settings, run=str(tmp_path), overwrite=overwrite)
    (tmp_path / "statistics.png").write_bytes(b"")
    run_folder.check(chosen, facts)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"holds {name}, but no config.json"):
        run_folder.check(chosen, facts)
    run_folder.check(dataclasses.replace(chosen, run=str(tmp_path / "run")), facts)
    run_folder.create(chosen, facts)
    run_folder.check(chosen, facts)


def test_overwriting_leaves_nothing_of_the_run_before(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path))
    run_folder.create(chosen, facts)
    (tmp_path / run_folder.WEIGHTS).write_bytes(b"old")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch0001-step000000.npz").write_bytes(b"old")
    (tmp_path / "mine.txt").write_text("stays")
    run_folder.create(dataclasses.replace(chosen, overwrite=True), facts)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {run_folder.CONFIG, run_folder.FACTS, "mine.txt"}
    assert not run_folder.settings(str(tmp_path)).overwrite


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no config.json"):
        network.load_one(str(tmp_path))


def test_a_run_without_weights_is_refused(tmp_path):
    run_folder.create(dataclasses.replace(settings, run=str(tmp_path)), facts)
    with pytest.raises(InputError, match=r"has no best.weights.h5"):
        network.load_one(str(tmp_path))


def test_damaged_settings_and_weights_are_refused(smooth_run, tmp_path):
    copy = shutil.copytree(smooth_run, tmp_path / "copy")
    whole = (copy / run_folder.WEIGHTS).read_bytes()
    for damaged in (whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1])):
        (copy / run_folder.WEIGHTS).write_bytes(damaged)
        with pytest.raises(InputError, match=r"weights.h5 is damaged or was replaced"):
            network.load_one(str(copy))
    (copy / run_folder.FACTS).unlink()
    (copy / run_folder.WEIGHTS).write_bytes(whole[:1000])
    with pytest.raises(InputError, match="weights .* are damaged"):
        network.load_one(str(copy))
    (copy / run_folder.CONFIG).write_text("{")
    with pytest.raises(InputError, match="settings of the run, .* are damaged"):
        network.load_one(str(copy))
    (copy / run_folder.CONFIG).write_text(json.dumps({"size": [64, 96], "new": 1}))
    with pytest.raises(InputError, match="settings of the run, .* are damaged"):
        network.load_one(str(copy))


def test_the_loaded_network_goes_from_pixels_to_probabilities(smooth_run):
    model = network.load_one(str(smooth_run))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    probabilities = model.predict_on_batch(pixels)
    assert probabilities.shape == (2, 64, 96, 4)
    assert probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1


@pytest.mark.parametrize(("preprocess", "factor"), [("unit", 1 / 255), ("raw", 1)])
def test_the_loaded_network_takes_pixels_as_in_training(
    smooth_run, tmp_path, preprocess, factor
):
    copy = shutil.copytree(smooth_run, tmp_path / "copy")
    fields = checksums.read_json(copy / "config.json")
    checksums.write_json(copy / "config.json", {**fields, "preprocess": preprocess})
    assert run_folder.settings(str(copy)).preprocess == preprocess
    model = network.load_one(str(copy))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    logits = model.get_layer("unet_resnet34")(pixels.astype("float32") * factor)
    expected = keras.ops.sigmoid(logits)
    np.testing.assert_allclose(model(pixels), expected, atol=1e-5)


def test_a_tuned_rule_is_read_as_it_was_written(tmp_path):
    assert run_folder.rule(str(tmp_path)) is None
    chosen = Rule(thresholds=(0.1, 0.2, 0.3, 0.4), tops=(0.5,) * 4, scope="image")
    run_folder.save_rule(str(tmp_path), chosen, {"images": 7})
    assert run_folder.rule(str(tmp_path)) == chosen


BAD_RULES = ["{", "{}", "[]", "\xff", '{"rule": []}', '{"rule": {"tops": 3}}']
BAD_RULES += ['{"rule": {"thresholds": [2, 2, 2, 2]}}', '{"rule": {"scope": "imagf"}}']
BAD_RULES += ['{"rule": {"grid": 1}}', '{"rule": {"min_sizes": ["1", 1, 1, 1]}}']
BAD_RULES += ['{"rule": {}, "tuned_on": []}', '{"rule": {"gap": null}}', "[" * 100_000]
BAD_RULES += ['{"rule": {}, "checksum": "0"}', '{"rule": {}, "dice": {"tuned": 1}}']


@pytest.mark.parametrize("text", BAD_RULES)
def test_a_damaged_rule_is_refused_by_name(tmp_path, text):
    (tmp_path / run_folder.RULE).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"postprocess.json is damaged"):
        run_folder.rule(str(tmp_path))


def test_a_rule_is_warned_of_where_the_weights_are_others(records, tmp_path):
    run, other = (small.write_run(tmp_path / str(k), records, seed=k) for k in range(2))
    assert run_folder.rule_warning([str(run)]) is None
    before = run_folder.weights_checksum(str(run))
    tuned_on = {"sha256": "", "split": "val", "folds": [None], "runs": ["x"]}
    tuned_on |= {"flips": False, "weights": ["0", before]}
    run_folder.save_rule(str(run), Rule(), {"tuned_on": tuned_on})
    assert run_folder.rule_warning([str(run)]) is None
    warning = run_folder.rule_warning([str(run), str(other)])
    assert f"{run}/postprocess.json was tuned for other weights" in warning
    assert f"than those in {other}. Tune again" in warning
    run_folder.save_rule(str(run), Rule(), {"tuned_on": {**tuned_on, "weights": ["0"]}})
    assert "was tuned for other weights" in run_folder.rule_warning([str(run)])
    # Earlier versions did not store the weights.
    del tuned_on["weights"]
    run_folder.save_rule(str(run), Rule(), {"tuned_on": tuned_on})
    assert run_folder.rule_warning([str(run)]) is None
