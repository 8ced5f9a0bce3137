import json

import pytest
import tensorflow as tf

from clouds.config.rule import NOTHING, Rule
from clouds.config.training import Training
from clouds.export import model_card
from clouds.schema import CLOUDS

NAMES = (*CLOUDS.labels, "mean")
RULE = Rule(thresholds=(0.4, 37 / 96, 0.6, 0.7), min_sizes=(1, 20, 300, NOTHING))
SETTINGS = Training(records="/home/me/records", run="/home/me/run", size=(64, 96))
FACTS = {
    "started": "2026-01-02T03:04:05+00:00",
    "backend": "jax",
    "records": {
        "folder": "/home/me/records",
        "sha256": "ab" * 32,
        "source": {"name": "train.csv", "sha256": "cd" * 32},
    },
    "best_epoch": 3,
    "best": {"val_mean_dice": 0.51234, "loss": 1.0},
}
RUN = model_card.Trained(SETTINGS, FACTS, "ef" * 32)
OTHERS = "other weights, views or rule"


def metrics(**others):
    figure = {"value": 0.51, "low": 0.47, "high": 0.55}
    names = ("dice_post", "dice_non_empty_post", "average_precision")
    names += ("ece_presence", "dice_all_empty")
    known = {
        "figures": {name: dict.fromkeys(NAMES, figure) for name in names},
        "images": 643,
        "split": "val",
        "rule": json.loads(json.dumps(RULE.__dict__)),
        "runs": ["/home/me/run"],
        "weights": [RUN.weights],
        "flips": False,
        "tuned_on_these_images": False,
    }
    return known | others


def card(found=None, rule=RULE, **others):
    options = {"tuned": True, "precision": "float32", "flips": False} | others
    return model_card.model("7", [RUN], rule, metrics=found, **options)


def test_a_card_has_data_metrics_rule_and_limits_but_no_path():
    text = card(metrics())
    for told in (
        "# clouds, version 7",
        "weights efefefefefefefef",
        "records of train.csv (records abababababababab)",
        "jax",
        "val_mean_dice 0.5123",
        "643 images of the val split",
        "| Competition Dice, post-processed | 0.510 [0.470, 0.550] |",
        "| Flower | 0.3854 | - | 20 |",
        "| Gravel | 0.6 | - | 300 |",
        "| Sugar | 0.7 | - | nothing drawn |",
        "Tuned on validation images",
        "## Limits",
    ):
        assert told in text
    assert "/home" not in text
    assert OTHERS not in text
    assert "optimistic" not in text


@pytest.mark.parametrize(
    ("found", "others", "told"),
    [
        (None, {}, "Not measured."),
        (metrics(tuned_on_these_images=True), {}, "scores are optimistic"),
        (metrics(), {"flips": True}, OTHERS),
        (metrics(), {"rule": Rule(), "tuned": False}, OTHERS),
        (metrics(weights=["00" * 32]), {}, OTHERS),
    ],
)
def test_metrics_that_may_not_hold_for_this_model_have_a_note(found, others, told):
    assert told in card(found, **others)


def test_an_undefined_metric_is_a_dash():
    found = metrics()
    undefined = {"value": None, "low": None, "high": None}
    found["figures"]["average_precision"] = dict.fromkeys(NAMES, undefined)
    assert "| Average precision of `score` | - | - | - | - | - |" in card(found)


def test_signatures_have_names_dtypes_and_shapes():
    inputs = {"serving_default": tf.TensorSpec([None], tf.string, "image_bytes")}
    spec = tf.TensorSpec([None, 4], tf.float32)
    text = model_card.signatures("7", inputs, {"serving_default": {"score": spec}})
    row = "| `serving_default` | `image_bytes` string[B] | `score` float32[B, 4] |"
    assert row in text
    assert '{"instances": [{"b64": ' in text
    assert "100,000,000 pixels" in text
