import json

import numpy as np
import pandas as pd
import pytest

from clouds import config, data, evaluate, manifest, metrics, postprocess, schema
from clouds import run as run_folder


@pytest.fixture(scope="module")
def table(records, run):
    settings = config.Evaluation(
        records=str(records),
        run=(str(run),),
        batch_size=3,
        threshold=(0.3,),
        min_size=(900,),
        gap="keep",
    )
    return evaluate.evaluate(settings)


@pytest.fixture(scope="module")
def truth(records):
    read = manifest.read(str(records))
    return np.concatenate(
        [*data.truth_batches(str(records), read, "val", 2).as_numpy_iterator()]
    )


def test_the_network_is_judged_at_the_submissions_size(table, truth, records, run):
    read = manifest.read(str(records))
    (batch,) = data.evaluation_batches(str(records), read, "val", 4)
    probabilities = run_folder.load(str(run)).predict_on_batch(batch["image"])
    probabilities = postprocess.resize(probabilities, (350, 525))
    assert truth.shape == (4, 350, 525, 4)
    drawn = np.array(metrics.dice(truth, probabilities > 0.3)).mean(0)
    np.testing.assert_allclose(table["network"][:4], drawn, atol=1e-3)
    cleaned = postprocess.clean(probabilities, 0.3, 900)
    expected = np.array(metrics.dice(truth, cleaned)).mean(0)
    np.testing.assert_allclose(table["post-processed"][:4], expected, atol=1e-3)


def test_the_baselines_are_those_of_constant_masks(table, truth):
    empty = np.array(metrics.dice(truth, truth * 0)).mean(0)
    full = np.array(metrics.dice(truth, truth * 0 + 1)).mean(0)
    np.testing.assert_allclose(table["all empty"][:4], empty, atol=1e-6)
    np.testing.assert_allclose(table["all full"][:4], full, atol=1e-5)
    assert (
        table["best constant"] >= table[["all empty", "all full"]].max(axis=1)
    ).all()
    frequent = np.broadcast_to(truth.mean(0) > 0.3, truth.shape)
    frequent = np.array(metrics.dice(truth, frequent)).mean(0)
    assert (table["best constant"][:4] >= frequent - 1e-5).all()


def test_the_last_row_is_the_mean_of_the_labels(table):
    assert table.index.tolist() == [*schema.LABELS, "mean"]
    np.testing.assert_allclose(table.loc["mean"], table[:4].mean())


def test_the_figures_are_written_beside_the_weights(table, run):
    written = json.loads((run / "metrics.json").read_text())
    assert written["images"] == 4
    shown = (run / "metrics.txt").read_text()
    assert f"{table.loc['mean', 'network']:.4f}" in shown
    assert written["rule"]["thresholds"] == [0.3] * 4
    pd.testing.assert_frame_equal(pd.DataFrame(written["mean_dice"]), table)
