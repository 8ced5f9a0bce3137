import json

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from clouds import schema
from clouds.training import loggers

LABELS = [f"dice_{label.lower()}" for label in schema.CLOUDS.labels]


def events(folder):
    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_shows_what_the_history_holds(run):
    history = pd.read_csv(run / "history.csv")
    both = ["loss", "dice_coef", "mean_dice", *LABELS]
    for split, prefix in (("train", ""), ("validation", "val_")):
        found = events(run / "tensorboard" / split)
        names = {*both, *(["learning_rate", "images_per_second"] if not prefix else [])}
        scalars = {tag: found.Tensors(tag) for tag in found.Tags()["tensors"]}
        assert names <= set(scalars)
        for name in names:
            values = [float(make_ndarray(e.tensor_proto)) for e in scalars[name]]
            assert values == pytest.approx(history[prefix + name].tolist())
            assert [event.step for event in scalars[name]] == [0, 1]


def test_tensorboard_shows_the_panel_of_each_epoch(run):
    found = events(run / "tensorboard" / "validation")
    panels = found.Tensors("panel")
    assert [event.step for event in panels] == [0, 1]
    width, height, picture = panels[-1].tensor_proto.string_val
    last = cv2.imread(str(run / loggers.PANEL))
    assert (int(height), int(width)) == last.shape[:2]
    assert picture.startswith(b"\x89PNG")


def test_the_panel_shows_the_average_of_the_weights(tmp_path, monkeypatch):
    class Swap:
        def on_test_begin(self):
            model.logit = 1.0

        def on_test_end(self):
            model.logit = -1.0

    def model(inputs, training):
        return np.full(inputs[1].shape, model.logit), inputs[1]

    images, masks = np.zeros((2, 4, 6, 3), "uint8"), np.zeros((2, 4, 6, 4), "uint8")
    panel = loggers.Panel(tmp_path, images, masks, [Swap()])
    panel.set_model(model)
    drawn = []
    monkeypatch.setattr(loggers, "draw_overlays", lambda *args, **_: drawn.append(args))
    panel.on_epoch_end(0)
    shown = np.array(drawn[0][1])
    assert not shown[:2].any()
    assert shown[2:].all()
    assert model.logit == -1


def test_the_figures_of_the_labels_average_to_the_mean(run):
    history = pd.read_csv(run / "history.csv")
    for prefix in ("", "val_"):
        labels = history[[prefix + label for label in LABELS]]
        assert labels.mean(axis=1).tolist() == pytest.approx(
            history[f"{prefix}mean_dice"].tolist(), rel=1e-5
        )


def test_the_speed_leaves_out_the_first_step(monkeypatch):
    now = iter([100.0, 150.0, 154.0])
    monkeypatch.setattr(loggers.time, "monotonic", lambda: next(now))
    speed = loggers.Speed(batch_size=8)
    speed.set_params({"steps": 3})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.5))
    speed.set_model(model)
    for batch in range(3):
        speed.on_train_batch_begin(batch)
    speed.on_test_begin()
    figures = {}
    speed.on_epoch_end(0, figures)
    assert figures == {"images_per_second": 2 * 8 / 4, "learning_rate": 0.5}


def test_the_facts_hold_the_speed_of_the_epochs(run):
    history = pd.read_csv(run / "history.csv")
    facts = json.loads((run / "run.json").read_text())
    assert facts["images_per_second"] == pytest.approx(
        history["images_per_second"].median()
    )


def test_the_bar_shows_no_metrics_per_label(capsys):
    bar = loggers.Bar(batch_size=4, validation=3)
    bar.set_params({"verbose": 1, "epochs": 1, "steps": 2})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(0, {"loss": 0.5})
    bar.on_epoch_end(0, {"loss": 0.25, "dice_fish": 1.0})
    shown = capsys.readouterr().out
    assert "loss: 0.2500" in shown
    assert "dice_fish" not in shown


@pytest.mark.parametrize("verbose", [1, 2])
def test_without_a_bar_training_and_validation_are_logged(verbose, monkeypatch, caplog):
    monkeypatch.setattr(loggers.progress, "_SECONDS", 0)
    caplog.set_level("INFO", "clouds.runtime.progress")
    bar = loggers.Bar(batch_size=4, validation=3)
    bar.set_params({"verbose": verbose, "epochs": 5, "steps": 2})
    bar.on_train_begin()
    bar.on_epoch_begin(1)
    bar.on_train_batch_end(0, {"loss": 0.5})
    bar.on_test_begin()
    bar.on_test_batch_end(0, {"loss": 0.5})
    bar.on_test_end()
    bar.on_epoch_end(1, {"loss": 0.25})
    told = [line for line in caplog.messages if ": 0 of" not in line]
    if verbose == 1:
        assert told == []
        return
    training, validation = told
    assert training.startswith("epoch 2/5: 4 of 8 images, ")
    assert training.endswith(" left, loss 0.5000")
    assert validation.startswith("epoch 2/5, validation: 3 of 3 images, ")
