import json

import numpy as np
import pytest
from helpers import small

from clouds.data import manifest, pipeline
from clouds.errors import InputError
from clouds.evaluation import held_out
from clouds.runs import network as run_network
from clouds.runs import run_folder
from clouds.runtime import files

pytestmark = pytest.mark.usefixtures("smooth_network")


@pytest.fixture(scope="module")
def runs(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        str(small.write_run(folder / str(seed), records, seed=seed))
        for seed in range(2)
    ]


def names_of(trial):
    return [name for batch in trial.batches("") for name in batch.names]


def test_a_trial_pairs_images_with_predictions(runs, records):
    trial = held_out.of(runs[:1], str(records), batch_size=3)
    assert trial.images == 4 and trial.truth_size == (350, 525)
    batches = list(trial.batches("test"))
    assert [len(batch.names) for batch in batches] == [3, 1]
    network = run_folder.load(runs[0])
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
        predicted, network.predict_on_batch(expected["image"]), atol=1e-6
    )
    truths = np.concatenate([truth.numpy() for truth in trial.truths()])
    np.testing.assert_array_equal(truths, expected["truth"])


def test_runs_of_the_same_images_are_averaged(runs, records):
    trial = held_out.of(runs, str(records))
    (batch,) = trial.batches("test")
    network = run_network.load(runs)
    np.testing.assert_allclose(
        batch.probabilities, network.predict_on_batch(batch.images), atol=1e-6
    )
    assert trial.runs == tuple(runs) and len(trial.parts) == 1


def test_runs_of_folds_each_predict_the_images_that_they_have_not_seen(
    fold_runs, in_folds
):
    trial = held_out.of(fold_runs, str(in_folds))
    assert trial.images == 20 and trial.facts["folds"] == [0, 1, 2]
    batches = list(trial.batches("test"))
    for fold, batch in enumerate(batches):
        held = manifest.read(str(in_folds), fold=fold)
        (expected,) = pipeline.evaluation_batches(str(in_folds), held, "val", 10)
        assert batch.names == [name.decode() for name in expected["name"].numpy()]
        own = run_folder.load(fold_runs[fold]).predict_on_batch(batch.images)
        np.testing.assert_allclose(batch.probabilities, own, atol=1e-6)
    assert len(set(names_of(trial))) == 20


def test_some_of_the_folds_are_a_trial_as_well(fold_runs, in_folds):
    two = held_out.of([fold_runs[2], fold_runs[0]], str(in_folds))
    assert [part.fold for part in two.parts] == [2, 0]
    assert two.images < 20


def test_runs_of_folds_are_averaged_on_other_records(fold_runs, records):
    trial = held_out.of(fold_runs, str(records))
    assert [part.fold for part in trial.parts] == [None]
    assert trial.parts[0].runs == tuple(fold_runs)


def test_the_facts_tell_the_images(runs, records):
    facts = held_out.of(runs[:1], str(records)).facts
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
    }
    json.dumps(facts)


def test_training_images_of_several_folds_are_refused(fold_runs, in_folds):
    with pytest.raises(InputError, match="--split must be val.*Received: train"):
        held_out.of(fold_runs, str(in_folds), split="train")
    assert held_out.of(fold_runs[:1], str(in_folds), split="train").images == 13


def test_a_run_of_no_fold_is_refused_on_records_in_folds(runs, in_folds):
    with pytest.raises(InputError, match="trained on a fold.*Received: .*3 folds"):
        held_out.of(runs, str(in_folds))


def test_a_split_without_images_is_refused(runs, records, monkeypatch):
    read = manifest.read(str(records))
    bare = read._replace(shards=read.of_split("train"))
    monkeypatch.setattr(manifest, "read", lambda *_, **__: bare)
    with pytest.raises(InputError, match="must hold images. Received: val"):
        held_out.of(runs, str(records))


def test_a_run_without_weights_is_refused(records, tmp_path):
    folder = small.write_run(tmp_path / "run", records)
    (folder / run_folder.WEIGHTS).unlink()
    trial = held_out.of([str(folder)], str(records))
    with pytest.raises(InputError, match="must hold trained weights. Received: "):
        next(trial.batches("test"))


def test_a_network_that_overflows_is_refused(records, tmp_path, monkeypatch):
    folder = small.write_run(tmp_path / "run", records)
    trial = held_out.of([str(folder)], str(records))
    network = run_folder.load(str(folder))
    weights = network.get_weights()
    network.set_weights([weight * np.nan for weight in weights])
    monkeypatch.setattr(run_network, "load", lambda *_, **__: network)
    with pytest.raises(InputError, match="from 0 to 1. Received: nan, for Fish of "):
        next(trial.batches("test"))


def test_images_picked_by_name_are_predicted_as_among_all(fold_runs, in_folds):
    trial = held_out.of(fold_runs, str(in_folds), batch_size=3)
    whole = {
        name: (image, probabilities)
        for batch in trial.batches("")
        for name, image, probabilities in zip(
            batch.names, batch.images, batch.probabilities, strict=True
        )
    }
    # Of the first and of the last fold, and one that is not there.
    wanted = [list(whole)[0], list(whole)[-1], "none.jpg"]
    batches = list(trial.pick(wanted))
    assert [name for batch in batches for name in batch.names] == wanted[:2]
    for batch in batches:
        image, probabilities = whole[batch.names[0]]
        np.testing.assert_array_equal(batch.images[0], image)
        np.testing.assert_allclose(batch.probabilities[0], probabilities, atol=1e-6)
