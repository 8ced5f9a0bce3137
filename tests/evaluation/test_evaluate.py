import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import small
from helpers.commands import make_tfrecords

from clouds import metrics, schema
from clouds.cli import main
from clouds.config import resolve
from clouds.config.prediction import Evaluation
from clouds.data import manifest, pipeline
from clouds.errors import InputError
from clouds.evaluation import bootstrap, evaluate, results, scores
from clouds.evaluation.tuning import tune
from clouds.postprocess import functional
from clouds.runs import network, run_facts, run_folder
from clouds.runtime import checksums

pytestmark = pytest.mark.usefixtures("smooth_network")


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    """In place of the trained one: its figures would be as arbitrary."""
    return small.write_run(tmp_path_factory.mktemp("run"), records)


@pytest.fixture(scope="module")
def table(records, run):
    settings = Evaluation(
        records=str(records),
        run=(str(run),),
        batch_size=3,
        threshold=(0.3,),
        min_area=(900,),
        orbit_gap="keep",
    )
    return evaluate.evaluate(settings)


@pytest.fixture(scope="module")
def truth(records):
    read = manifest.read(str(records))
    return np.concatenate(
        [*pipeline.truth_batches(str(records), read, "val", 2).as_numpy_iterator()]
    )


def command(records, *runs, flags=()):
    of_run = ["--records", str(records), "--run", *map(str, runs)]
    return main.main(["evaluate", *of_run, *map(str, flags)])


def written(folder):
    return checksums.read_json(folder / results.JSON)


def test_the_network_is_evaluated_at_the_submissions_size(table, truth, records, run):
    read = manifest.read(str(records))
    (batch,) = pipeline.evaluation_batches(str(records), read, "val", 4)
    probabilities = network.load_one(str(run)).predict_on_batch(batch["image"])
    probabilities = functional.resize(probabilities, (350, 525))
    assert truth.shape == (4, 350, 525, 4)
    drawn = np.array(metrics.dice(truth, probabilities > 0.3)).mean(0)
    np.testing.assert_allclose(table["network"][:4], drawn, atol=1e-3)
    cleaned = functional.clean(probabilities, 0.3, 900)
    expected = np.array(metrics.dice(truth, cleaned)).mean(0)
    np.testing.assert_allclose(table["post-processed"][:4], expected, atol=1e-3)


def test_the_baselines_are_those_of_constant_masks(table, truth, run):
    empty = np.array(metrics.dice(truth, truth * 0))
    full = np.array(metrics.dice(truth, truth * 0 + 1))
    np.testing.assert_allclose(table["all empty"][:4], empty.mean(0), atol=1e-6)
    np.testing.assert_allclose(table["all full"][:4], full.mean(0), atol=1e-5)
    assert (
        table["best constant"] >= table[["all empty", "all full"]].max(axis=1)
    ).all()
    frequent = np.broadcast_to(truth.mean(0) > 0.3, truth.shape)
    frequent = np.array(metrics.dice(truth, frequent)).mean(0)
    assert (table["best constant"][:4] >= frequent - 1e-5).all()
    figures = written(run)["figures"]
    for name, dice in (("all_empty", empty), ("all_full", full)):
        mean = figures[f"dice_{name}"]["mean"]
        assert mean["value"] == pytest.approx(dice.mean(), abs=1e-5)
        assert mean["low"] <= mean["value"] <= mean["high"]


def test_the_last_row_is_the_mean_of_the_labels(table):
    assert table.index.tolist() == [*schema.CLOUDS.labels, "mean"]
    np.testing.assert_allclose(table.loc["mean"], table[:4].mean())


def test_the_metrics_are_written_next_to_the_weights(table, run):
    fields = written(run)
    assert fields["images"] == 4
    shown = (run / results.TEXT).read_text()
    assert f"{table.loc['mean', 'network']:.4f}" in shown
    assert "thresholded: threshold only" in shown
    assert fields["rule"]["thresholds"] == [0.3] * 4
    pd.testing.assert_frame_equal(pd.DataFrame(fields["mean_dice"]), table)
    images = pd.read_csv(run / results.IMAGES)
    means = images.groupby("label", sort=False)["dice_post"].mean()
    np.testing.assert_allclose(means, table["post-processed"][:4])


def test_the_notebooks_dice_is_pooled_over_each_batch(table, records, run):
    read = manifest.read(str(records))
    model = network.load_one(str(run))
    rows = []
    for batch in pipeline.evaluation_batches(str(records), read, "val", 3):
        masks = batch["masks"].numpy().astype("f8")
        soft = model.predict_on_batch(batch["image"]).astype("f8")
        for axes in ((0, 1, 2), None):
            both, total = (masks * soft).sum(axes), masks.sum(axes) + soft.sum(axes)
            rows.append(np.atleast_1d((2 * both + 1) / (total + 1)))
    expected = np.concatenate([np.mean(rows[::2], axis=0), np.mean(rows[1::2], axis=0)])
    fields = written(run)
    ours = [fields["figures"]["dice_coef"][row]["value"] for row in table.index]
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert fields["dice_coef"] == ours[-1]


def test_the_rule_of_the_flags_is_named(table, run):
    assert written(run)["rule_source"] == "flags"
    assert "the rule given by the flags" in (run / results.TEXT).read_text()


def test_the_settings_are_kept_and_can_be_given_back(table, records, run, tmp_path):
    kept = written(run)["settings"]
    assert kept["batch_size"] == 3 and kept["threshold"] == [0.3]
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(kept))
    again = resolve.from_flags(Evaluation, {}, str(path))
    assert (again.run, again.records) == ((str(run),), str(records))
    assert json.loads(json.dumps(dataclasses.asdict(again))) == kept


def test_the_metrics_are_written_to_the_folder_given(records, run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    assert command(records, run, flags=["--out", tmp_path / "new"]) == 0
    fields = written(tmp_path / "new")
    assert fields["rule_source"] == "default" and not fields["tuned_on_these_images"]
    assert "--tune chooses one" in (tmp_path / "new" / results.TEXT).read_text()
    assert before == {path: path.stat().st_mtime_ns for path in run.iterdir()}


@pytest.mark.usefixtures("few_pictures")
def test_a_tuned_rule_is_used_from_then_on_and_called_optimistic_on_its_images(
    records, tmp_path, capsys
):
    folder = small.write_run(tmp_path / "run", records)
    assert command(records, folder, flags=["--tune"]) == 0
    assert {tune.FILE, tune.PICTURE} <= {path.name for path in folder.iterdir()}
    tuned = written(folder)
    tuning = run_folder.rule_facts(str(folder))["dice"]
    mean = tuning["cross_fitted"]["mean"]
    ends = f"[{mean['low']:.4f}, {mean['high']:.4f}]"
    note = f"Dice on new images (cross-fitted): {mean['value']:.4f} {ends}."
    assert tuned["tuned_on_these_images"] and tuned["rule_source"] == "tuned"
    post = tuned["figures"]["dice_post"]["mean"]
    assert post == pytest.approx(tuning["tuned"]["mean"], abs=1e-6)
    shown = (folder / results.TEXT).read_text()
    assert note in shown and "tuned, cross-fitted" in shown
    assert capsys.readouterr().out == shown
    assert command(records, folder) == 0
    assert written(folder) == tuned | {"settings": written(folder)["settings"]}
    capsys.readouterr()
    flipped = ["--flips", "--out", tmp_path / "flipped"]
    assert command(records, folder, flags=flipped) == 0
    shown = capsys.readouterr().out
    assert "optimistic" in shown and "Dice on new images" not in shown
    assert note in (folder / results.TEXT).read_text()
    assert command(records, folder, flags=["--split", "train"]) == 0
    assert not written(folder)["tuned_on_these_images"]
    assert "optimistic" not in (folder / results.TEXT).read_text()
    assert command(records, folder, flags=["--peak-threshold", 0.9]) == 0
    changed = written(folder)
    assert changed["rule_source"] == "tuned and flags"
    assert changed["rule"]["tops"] == [0.9] * 4
    assert changed["rule"]["thresholds"] == tuned["rule"]["thresholds"]
    shown = (folder / results.TEXT).read_text()
    assert "optimistic" in shown and "Dice on new images" not in shown


def test_runs_of_folds_are_evaluated_together(sample, tmp_path, capsys):
    records = tmp_path / "records"
    assert main.main(make_tfrecords(sample, records, "--folds", "2")) == 0
    runs = [
        small.write_run(tmp_path / str(fold), records, fold=fold, seed=fold)
        for fold in range(2)
    ]
    assert command(records, *runs, flags=["--tune", "--out", tmp_path / "both"]) == 0
    both = written(tmp_path / "both")
    assert both["images"] == 20 and both["folds"] == [0, 1]
    assert "runs of its fold (2 folds)" in capsys.readouterr().out
    assert command(records, runs[1]) == 0
    alone = written(runs[1])
    assert alone["images"] == 10 and alone["folds"] == [1]
    assert alone["tuned_on_these_images"]
    images = pd.read_csv(tmp_path / "both" / results.IMAGES)
    assert images["image"].nunique() == 20
    own = pd.read_csv(runs[1] / results.IMAGES)
    pd.testing.assert_frame_equal(images[40:].reset_index(drop=True), own)
    whole = both["mean_dice"]["post-processed"]["mean"]
    assert whole == pytest.approx(images["dice_post"].mean())


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--threshold", "0.4"], "--threshold cannot be combined with --tune"),
        (["--min-area", "4"], "--min-area cannot be combined with --tune"),
        (
            ["--peak-threshold", "0.4"],
            "--peak-threshold cannot be combined with --tune",
        ),
        (["--clean-on", "network"], "--clean-on cannot be combined with --tune"),
        (["--split", "train"], "--tune must be used with --split val"),
    ],
)
def test_what_tuning_chooses_cannot_be_given(flags, message, records, run, capsys):
    assert command(records, run, flags=["--tune", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan"])
def test_a_threshold_beyond_0_and_1_is_refused(threshold, records, run, capsys):
    assert command(records, run, flags=["--threshold", threshold]) == 2
    message = f"--threshold must be from 0 to 1. Received: {threshold}."
    assert message in capsys.readouterr().err


def test_a_damaged_rule_is_refused(records, tmp_path):
    folder = small.write_run(tmp_path, records)
    (folder / run_folder.RULE).write_text('{"rule": {"thresholds": [2]}}')
    settings = Evaluation(records=str(records), run=(str(folder),))
    with pytest.raises(InputError, match="The rule .* is damaged"):
        evaluate.evaluate(settings)


def test_other_records_than_those_of_the_training_are_warned_of(
    run, records, tmp_path, capsys
):
    folder = shutil.copytree(run, tmp_path / "run")
    warning = "was trained on other records, elsewhere, which may contain these images"
    assert command(records, folder) == 0
    assert warning not in capsys.readouterr().out
    run_facts.add(folder, {"records": {"sha256": "0", "folder": "elsewhere"}})
    assert command(records, folder) == 0
    assert warning in capsys.readouterr().out


def test_intervals_of_grouped_records_are_over_groups(sample, run, tmp_path, capsys):
    table = tmp_path / "groups.csv"
    rows = [f"{k:07x}.jpg,{k // 2}\n" for k in range(20)]
    table.write_text("image,pair\n" + "".join(rows))
    flags = ["--group-by", "pair", "--groups", str(table)]
    assert main.main([*make_tfrecords(sample, tmp_path / "records"), *flags]) == 0
    out = tmp_path / "out"
    assert command(tmp_path / "records", run, flags=["--out", out, "--tune"]) == 0
    assert "intervals over 2 groups by pair" in capsys.readouterr().out
    evaluation = results.read(str(out))
    assert evaluation.facts["group_by"] == "pair"
    images = evaluation.images
    expected = [str(int(name.removesuffix(".jpg"), 16) // 2) for name in images.names]
    assert images.groups == expected
    grouped = bootstrap.intervals(
        lambda weights: scores.compute(images, weights),
        len(images.names),
        groups=images.groups,
    )["dice_post"][-1]
    stored = evaluation.facts["figures"]["dice_post"]["mean"]
    assert [stored["value"], stored["low"], stored["high"]] == pytest.approx(grouped)
