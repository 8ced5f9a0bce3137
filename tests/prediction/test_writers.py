import cv2
import numpy as np
import pytest

from clouds import schema
from clouds.prediction import writers

PROBABILITIES = np.random.default_rng(3).random((6, 9, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], [183750]),
        ([[1, 2]], [0, 2, 183748]),
        ([[3, 4], [9, 183742]], [2, 4, 2, 183742]),
    ],
)
def test_counts_alternate_from_zeros_on(runs, expected):
    assert writers.coco_counts(np.array(runs, np.int64).reshape(-1, 2)) == expected


def test_probabilities_are_kept_to_half_precision(tmp_path):
    writers.probabilities(tmp_path, "a.jpg", PROBABILITIES, "npz")
    with np.load(tmp_path / "probabilities" / "a.jpg.npz") as read:
        assert read["labels"].tolist() == list(schema.CLOUDS.labels)
        assert read["probabilities"].dtype == np.float16
        np.testing.assert_allclose(read["probabilities"], PROBABILITIES, atol=5e-4)


def test_probabilities_are_pictures_in_grey(tmp_path):
    writers.probabilities(tmp_path, "a.jpg", PROBABILITIES, "png")
    for k, label in enumerate(schema.CLOUDS.labels):
        path = tmp_path / "probabilities" / f"a.jpg_{label}.png"
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(read / 255, PROBABILITIES[..., k], atol=0.5 / 255)
