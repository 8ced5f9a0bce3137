import shutil

import h5py
import numpy as np
import pytest
from helpers import small
from helpers.edits import edit

from clouds.cli import main
from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.evaluation import held_out
from clouds.export import signatures
from clouds.models import unet
from clouds.postprocess import functional
from clouds.runs import network
from clouds.runs import run_folder as run_folder

pytestmark = pytest.mark.usefixtures("smooth_network")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)


def test_one_run_alone_is_its_own_network(smooth_run):
    alone = network.load_one(str(smooth_run)).predict_on_batch(IMAGES)
    np.testing.assert_array_equal(
        network.load([str(smooth_run)]).predict_on_batch(IMAGES), alone
    )


def test_runs_are_averaged_over_four_views(smooth_run, records, tmp_path):
    other = small.write_run(tmp_path / "other", records, seed=1)
    folders = [str(smooth_run), str(other)]
    expected = []
    for folder in folders:
        model = network.load_one(folder)
        for axes in ((), (1,), (2,), (1, 2)):
            seen = model.predict_on_batch(np.flip(IMAGES, axes).copy())
            expected.append(np.flip(seen, axes))
    averaged = network.load(folders, flips=True).predict_on_batch(IMAGES)
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged, np.mean(expected, 0), atol=1e-4)
    assert np.abs(expected[0] - averaged).max() > 1e-3
    plain = network.load(folders).predict_on_batch(IMAGES)
    np.testing.assert_allclose(plain, np.mean(expected[::4], 0), atol=1e-4)


def test_runs_of_different_sizes_are_refused(smooth_run, tmp_path):
    other = shutil.copytree(smooth_run, tmp_path / "other")
    edit(other / "config.json", size=[32, 32])
    with pytest.raises(InputError, match="same size.*: 64x96 in.*, 32x32 in"):
        network.load([str(smooth_run), str(other)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(smooth_run, tmp_path, bad):
    other = shutil.copytree(smooth_run, tmp_path / "other")
    model = network.load_one(str(other))
    inner = next(layer for layer in model.layers if hasattr(layer, "layers"))
    variable = inner.trainable_variables[-1]
    variable.assign(variable * bad + bad)
    run_folder.save_weights(inner, other)
    with pytest.raises(InputError, match="are damaged .NaN or infinite numbers"):
        network.load([str(other)])


def test_an_hdf5_file_of_something_else_is_refused(smooth_run, tmp_path):
    other = shutil.copytree(smooth_run, tmp_path / "other")
    (other / "run.json").unlink()
    with h5py.File(other / run_folder.WEIGHTS, "w") as file:
        file["something"] = [1]
    with pytest.raises(InputError, match=r"best.weights.h5 are damaged"):
        network.load([str(other)])


def test_a_class_head_is_averaged_evaluated_and_exported(
    records, tmp_path, monkeypatch
):
    folder = str(tmp_path / "headed")
    with monkeypatch.context() as patch:
        patch.setattr(unet, "build", small.build)
        flags = ["--epochs", "1", "--batch-size", "4", "--precision", "float32"]
        source = ["--records", str(records), "--run", folder]
        assert main.main(["train", *source, *flags, "--class-head"]) == 0
        model = network.load([folder])
        flipped = network.load([folder], flips=True)
        predictions = held_out.load([folder], str(records))
        batch = next(iter(predictions.batches("x")))
        mixed = network.load_one(folder)
    probabilities, presence = network.predict(model, batch.images)
    assert presence.shape == (len(batch.names), 4)
    np.testing.assert_array_equal(batch.class_scores, presence)
    assert predictions.facts["class_head"]
    views = [(), (1,), (2,), (1, 2)]
    each = [mixed.predict_on_batch(np.flip(batch.images, v).copy())[1] for v in views]
    _, averaged = network.predict(flipped, batch.images)
    np.testing.assert_allclose(averaged, np.mean(each, axis=0), atol=1e-5)
    rule = Rule(presence=(0.5,) * 4)
    function, _ = signatures.build(model, rule)["images_uint8"]
    top = functional.presence(functional.resize(probabilities, (350, 525)))
    answer = function(batch.images)
    np.testing.assert_allclose(answer["score"], (top + presence) / 2, atol=1e-4)


def test_a_network_of_other_bands_scales_them_as_its_run_did(band_run, monkeypatch):
    monkeypatch.setattr(unet, "build", small.build)
    stored = run_folder.settings(str(band_run))
    images = np.random.default_rng(0).integers(0, 4096, (2, 64, 96, 2), np.uint16)
    found = network.load([str(band_run)], precision="float32").predict_on_batch(images)
    scaled = (images - np.array(stored.band_means)) / np.array(stored.band_deviations)
    plain = small.build((64, 96), 2, bands=2)
    plain.load_weights(band_run / run_folder.WEIGHTS)
    logits = plain.predict_on_batch(scaled.astype("float32"))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-4)
    flipped = network.load([str(band_run)], flips=True).predict_on_batch(images)
    assert flipped.shape == (2, 64, 96, 2)


def test_runs_of_other_bands_are_not_averaged(band_run, tmp_path):
    other = shutil.copytree(band_run, tmp_path / "run")
    edit(other / "config.json", band_names=["vis", "nir"])
    with pytest.raises(InputError, match="the same band_names to be averaged"):
        network.settings([str(band_run), str(other)])
