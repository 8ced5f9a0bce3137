import json

import numpy as np
import pytest
from helpers import small

from clouds.data import manifest, pipeline
from clouds.errors import InputError
from clouds.evaluation import held_out
from clouds.runs import network, run_folder
from clouds.runtime import files

pytestmark = pytest.mark.usefixtures("smooth_network")


@pytest.fixture(scope="module")
def runs(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        str(small.write_run(folder / str(seed), records, seed=seed))
        for seed in range(2)
    ]


def names_of(predictions):
    return [name for batch in predictions.batches("") for name in batch.names]


def test_images_come_with_their_truth_and_predictions(runs, records):
    predictions = held_out.load(runs[:1], str(records), batch_size=3)
    assert predictions.images == 4 and predictions.truth_size == (350, 525)
    batches = list(predictions.batches("test"))
    assert [len(batch.names) for batch in batches] == [3, 1]
    model = network.load_one(runs[0])
    read = manifest.read(str(records))
    (expected,) = pipeline.evaluation_batches(str(records), read, "val", 4)
    for name, ours in (
        ("image", [batch.images for batch in batches]),
        ("masks", [batch.masks for batch in batches]),
        ("truth", [batch.truth for batch in batches]),
    ):
        np.testing.assert_array_equal(np.concatenate(ours), expected[name])
    predicted = np.concatenate([batch.probabilities for batch in batches])
    np.testing.assert_allclose(
        predicted, model.predict_on_batch(expected["image"]), atol=1e-6
    )
    truths = np.concatenate([truth.numpy() for truth in predictions.truths()])
    np.testing.assert_array_equal(truths, expected["truth"])


def test_runs_of_the_same_images_are_averaged(runs, records):
    predictions = held_out.load(runs, str(records))
    (batch,) = predictions.batches("test")
    model = network.load(runs)
    np.testing.assert_allclose(
        batch.probabilities, model.predict_on_batch(batch.images), atol=1e-6
    )
    assert predictions.runs == tuple(runs) and len(predictions.parts) == 1


def test_runs_of_folds_each_predict_the_images_that_they_have_not_seen(
    fold_runs, in_folds
):
    predictions = held_out.load(fold_runs, str(in_folds))
    assert predictions.images == 20 and predictions.facts["folds"] == [0, 1, 2]
    batches = list(predictions.batches("test"))
    for fold, batch in enumerate(batches):
        held = manifest.read(str(in_folds), fold=fold)
        (expected,) = pipeline.evaluation_batches(str(in_folds), held, "val", 10)
        assert batch.names == [name.decode() for name in expected["name"].numpy()]
        own = network.load_one(fold_runs[fold]).predict_on_batch(batch.images)
        np.testing.assert_allclose(batch.probabilities, own, atol=1e-6)
    assert len(set(names_of(predictions))) == 20


def test_some_of_the_folds_can_be_loaded(fold_runs, in_folds):
    two = held_out.load([fold_runs[2], fold_runs[0]], str(in_folds))
    assert [part.fold for part in two.parts] == [2, 0]
    assert two.images < 20


def test_runs_of_folds_are_averaged_on_other_records(fold_runs, records):
    predictions = held_out.load(fold_runs, str(records))
    assert [part.fold for part in predictions.parts] == [None]
    assert predictions.parts[0].runs == tuple(fold_runs)


def test_the_facts_identify_images_and_runs(runs, records):
    facts = held_out.load(runs[:1], str(records)).facts
    checksum = files.checksum(f"{records}/{manifest.FILE}")
    assert facts == {
        "records": str(records),
        "sha256": checksum,
        "split": "val",
        "folds": [None],
        "images": 4,
        "runs": runs[:1],
        "weights": [files.checksum(f"{runs[0]}/{run_folder.WEIGHTS}")],
        "flips": False,
        "class_head": False,
    }
    json.dumps(facts)


def test_training_images_of_several_folds_are_refused(fold_runs, in_folds):
    with pytest.raises(InputError, match="--split must be val.*Received: train"):
        held_out.load(fold_runs, str(in_folds), split="train")
    assert held_out.load(fold_runs[:1], str(in_folds), split="train").images == 13


def test_a_run_without_a_fold_is_refused_on_records_in_folds(runs, in_folds):
    with pytest.raises(InputError, match="without --fold, and .* has 3 folds"):
        held_out.load(runs, str(in_folds))


def test_a_split_without_images_is_refused(runs, records, monkeypatch):
    read = manifest.read(str(records))
    bare = read._replace(shards=read.of_split("train"))
    monkeypatch.setattr(manifest, "read", lambda *_, **__: bare)
    with pytest.raises(InputError, match="The val split of .* has no images"):
        held_out.load(runs, str(records))


def test_a_run_without_weights_is_refused(records, tmp_path):
    folder = small.write_run(tmp_path / "run", records)
    (folder / run_folder.WEIGHTS).unlink()
    predictions = held_out.load([str(folder)], str(records))
    with pytest.raises(InputError, match="has no best.weights.h5"):
        next(predictions.batches("test"))


def test_a_probability_of_nan_is_refused(records, tmp_path, monkeypatch):
    folder = small.write_run(tmp_path / "run", records)
    predictions = held_out.load([str(folder)], str(records))
    model = network.load_one(str(folder))
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    monkeypatch.setattr(network, "load", lambda *_, **__: model)
    with pytest.raises(InputError, match="predicted a probability of nan for Fish in "):
        next(predictions.batches("test"))


def test_images_picked_by_name_are_predicted_as_among_all(fold_runs, in_folds):
    predictions = held_out.load(fold_runs, str(in_folds), batch_size=3)
    whole = {
        name: (image, probabilities)
        for batch in predictions.batches("")
        for name, image, probabilities in zip(
            batch.names, batch.images, batch.probabilities, strict=True
        )
    }
    # Of the first and of the last fold, and one that is not there.
    wanted = [list(whole)[0], list(whole)[-1], "none.jpg"]
    batches = list(predictions.pick(wanted))
    assert [name for batch in batches for name in batch.names] == wanted[:2]
    for batch in batches:
        image, probabilities = whole[batch.names[0]]
        np.testing.assert_array_equal(batch.images[0], image)
        np.testing.assert_allclose(batch.probabilities[0], probabilities, atol=1e-6)


def test_weights_replaced_while_they_are_predicted_with_are_noticed(
    records, tmp_path, monkeypatch
):
    folder = small.write_run(tmp_path / "run", records)
    predictions = held_out.load([str(folder)], str(records))
    load = network.load

    def load_and_replace(*arguments, **options):
        model = load(*arguments, **options)
        small.write_run(folder, records, seed=1)
        return model

    monkeypatch.setattr(network, "load", load_and_replace)
    with pytest.raises(InputError, match="training has replaced the weights of"):
        next(predictions.batches("test"))


def test_records_of_other_bands_than_the_runs_are_refused(runs, band_records):
    stored = manifest.load(str(band_records))
    with pytest.raises(InputError, match="must have the labels of"):
        held_out.load(runs[:1], str(band_records))
    with pytest.MonkeyPatch.context() as patch:
        labels = run_folder.settings(runs[0]).labels
        patch.setattr(manifest, "load", lambda _: stored._replace(labels=labels))
        with pytest.raises(InputError, match="of 3 bands of uint8.* Received: 2 bands"):
            held_out.load(runs[:1], str(band_records))
