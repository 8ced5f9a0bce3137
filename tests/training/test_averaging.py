import json

import numpy as np
import pytest
from helpers import small

from clouds import losses
from clouds.cli import main
from clouds.data import manifest, pipeline
from clouds.data.images import preprocessing
from clouds.models import unet
from clouds.runs import checkpoints, network, run_folder
from clouds.training import averaging, callbacks


@pytest.fixture
def train(records, tmp_path, monkeypatch, few_pictures):
    monkeypatch.setattr(unet, "build", small.build)
    flags = ["--records", str(records), "--run", str(tmp_path), "--batch-size", "4"]
    flags += ["--precision", "float32", "--learning-rate", "0.05"]

    def trained(*more):
        return main.main(["train", *flags, "--average-epochs", "2", *more])

    return trained


@pytest.mark.parametrize("best", [True, False])
def test_the_mean_of_the_last_epochs_is_saved_if_it_is_the_best(
    train, tmp_path, records, monkeypatch, capsys, best
):
    kept = []

    def store(self, epoch, arrays):
        kept.append(arrays)
        original(self, epoch, arrays)

    def beaten(self, network):
        self.save_best.best = 0.0
        average(self, network)

    original = averaging.AverageEpochs._store
    average = averaging.AverageEpochs._average
    monkeypatch.setattr(averaging.AverageEpochs, "_store", store)
    if best:
        monkeypatch.setattr(callbacks.SaveBest, "on_epoch_end", lambda *_: None)
    else:
        monkeypatch.setattr(averaging.AverageEpochs, "_average", beaten)
    assert train("--epochs", "3") == 0
    shown = capsys.readouterr().out
    assert "Mean weights of the last 2 epochs: val_loss" in shown
    facts = json.loads((tmp_path / run_folder.FACTS).read_text())["averaged"]
    assert facts["epochs"] == 2
    assert not list((tmp_path / checkpoints.FOLDER).glob("weights-epoch*"))
    means = [np.mean(pair, axis=0) for pair in zip(*kept[1:], strict=True)]
    model = network.load_one(str(tmp_path)).get_layer("unet_resnet34")
    assert facts["saved"] == best
    same = [
        np.allclose(*pair, rtol=1e-6)
        for pair in zip(model.get_weights(), means, strict=True)
    ]
    assert all(same) if best else not all(same)
    model.set_weights(means)
    folder = str(records)
    ((images, masks),) = pipeline.val_batches(folder, manifest.read(folder), 4)
    logits = model(preprocessing.prepare(images), training=False)
    loss = float(losses.bce_dice(masks, logits))
    assert loss == pytest.approx(facts["val_loss"], rel=1e-4)


def test_averaging_leaves_the_weights_of_the_training_alone(train, tmp_path):
    assert train("--epochs", "2") == 0
    _, arrays = checkpoints.load(tmp_path)
    assert train("--epochs", "2", "--overwrite", "--average-epochs", "0") == 0
    _, plain = checkpoints.load(tmp_path)
    # The metrics, which come last, are those of another validation.
    count = len(network.load_one(str(tmp_path)).get_layer("unet_resnet34").weights)
    assert count == 8
    for one, other in [*zip(arrays, plain, strict=True)][:count]:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_schedule_that_has_begun_keeps_its_length(train, capsys, schedule):
    assert train("--epochs", "1", "--schedule", schedule) == 0
    assert train("--epochs", "2") == 2
    assert "--epochs must stay 1: the learning rate of" in capsys.readouterr().err


def test_damaged_weights_of_an_epoch_are_named(train, tmp_path, monkeypatch, capsys):
    original = averaging.AverageEpochs._average

    def damaged(self, network):
        self._paths()[0].write_bytes(b"damaged")
        original(self, network)

    monkeypatch.setattr(averaging.AverageEpochs, "_average", damaged)
    assert train("--epochs", "2") == 2
    shown = capsys.readouterr().err
    assert "weights-epoch0000.npz is damaged" in shown and "Traceback" not in shown
