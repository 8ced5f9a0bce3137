import importlib.util
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from helpers import forked, small

from clouds.cli import main
from clouds.errors import InputError
from clouds.runs import run_folder
from clouds.training import trackers

QUICK = ["--batch-size", "4", "--precision", "float32"]


def train(records, folder, *flags, ends=0, **environment):
    """Trains a tiny network in a process of its own; what it prints."""
    place = {"folder": folder.parent, "environment": environment}
    source = ["--records", records, "--run", folder]
    command = forked.Command(
        "train", *QUICK, *source, *flags, build=small.build, **place
    )
    return command.ended(ends)


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_told_before_all_else(
    track, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    flags = ["--records", "/nowhere", "--run", str(tmp_path / "run"), "--track", track]
    assert main.main(["train", *flags]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"train: error: {track} is not installed")
    assert f"Run bin/setup {track}, or pip install {track}." in shown
    assert not (tmp_path / "run").exists()


def test_a_folder_of_the_trackers_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(InputError, match="Run bin/setup wandb"):
        trackers.check("wandb")
    trackers.check("none")


def test_mlflow_holds_settings_and_epochs_of_a_run_that_went_on(records, tmp_path):
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("no mlflow here; `bin/setup mlflow` installs it")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    folder = tmp_path / "run"
    train(records, folder, "--track", "mlflow", "--epochs", "1", **store)
    name = json.loads((folder / run_folder.TRACKERS).read_text())["mlflow"]
    train(records, folder, "--epochs", "3", **store)
    assert json.loads((folder / run_folder.TRACKERS).read_text())["mlflow"] == name
    code = (
        "import json, sys, mlflow\n"
        "client, name = mlflow.MlflowClient(), sys.argv[1]\n"
        "there = client.get_run(name)\n"
        "keys = ('val_loss', 'learning_rate')\n"
        "rows = {k: [[m.step, m.value] for m in client.get_metric_history(name, k)]\n"
        "        for k in keys}\n"
        "params, info = there.data.params, there.info\n"
        "print(json.dumps([params, info.status, info.run_name, rows]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, name]
    found = subprocess.run(
        command, env=os.environ | store, capture_output=True, text=True, check=True
    )
    params, status, title, rows = json.loads(found.stdout.splitlines()[-1])
    assert (status, title) == ("FINISHED", "run")
    assert (params["batch_size"], params["optimizer_name"]) == ("4", "adam")
    history = pd.read_csv(folder / "history.csv")
    for key, row in rows.items():
        steps, values = zip(*row, strict=True)
        assert list(steps) == [0, 1, 2]
        assert list(values) == pytest.approx(history[key].tolist())


def test_wandb_goes_on_with_its_run_offline(records, tmp_path):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("no wandb here; `bin/setup wandb` installs it")
    folder = tmp_path / "run"
    offline = {"WANDB_MODE": "offline"}
    train(records, folder, "--track", "wandb", "--epochs", "1", **offline)
    name = json.loads((folder / run_folder.TRACKERS).read_text())["wandb"]
    train(records, folder, "--epochs", "2", **offline)
    kept = sorted((folder / "wandb").glob(f"offline-run-*-{name}/*.wandb"))
    assert len(kept) == 2
    assert b"val_loss" in kept[0].read_bytes()


def test_wandb_without_an_account_is_one_line(records, tmp_path):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("no wandb here; `bin/setup wandb` installs it")
    online = {"WANDB_MODE": "online", "HOME": str(tmp_path), "WANDB_API_KEY": ""}
    shown = train(records, tmp_path / "run", "--track", "wandb", ends=2, **online)
    last = shown.splitlines()[-1]
    assert last.startswith("train: error: --track wandb: the tracker did not start")
    assert "WANDB_MODE=offline" in last


def test_a_training_that_fails_shows_no_traceback_of_its_tracker(records, tmp_path):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("no wandb here; `bin/setup wandb` installs it")
    wild = ["--learning-rate", "1e30", "--epochs", "1"]
    offline = {"WANDB_MODE": "offline"}
    shown = train(
        records, tmp_path / "run", "--track", "wandb", *wild, ends=2, **offline
    )
    assert "The loss became" in shown
    assert "Traceback" not in shown
