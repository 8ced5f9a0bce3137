import numpy as np
import pytest

from clouds.evaluation.agreement import overlap


def test_iou_is_undefined_where_neither_and_0_where_one_has_a_label():
    one, other = np.zeros((2, 2, 3, 4), bool)
    one[..., 1], one[0, :2, 2], other[0, 1:, 2] = True, True, True
    one[1, 1, 3] = other[1, 1, 3] = True
    assert np.isnan(overlap.iou(one, other)[0])
    assert overlap.iou(one, other)[1:] == pytest.approx([0, 1 / 3, 1])


def test_means_are_over_defined_pairs_of_weighted_images():
    sums = overlap.Sums(2, 2)
    sums.add(0, np.array([0.5, np.nan]))
    sums.add(0, np.array([0.05, np.nan]))
    sums.add(1, np.array([0.0, np.nan]))
    means = sums.means(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert means["iou"][:, 0] == pytest.approx([0.55 / 3, 0.275])
    assert means["agree"][:, 0] == pytest.approx([1 / 3, 0.5])
    assert np.isnan(means["iou"][:, 1]).all()
