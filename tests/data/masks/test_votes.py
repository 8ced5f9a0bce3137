import numpy as np
import pytest

from clouds import rle
from clouds.data.masks import boxes, votes

SIZE, GRID = (140, 210), (28, 35)


def drawn(seed, annotators=3, count=5):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(annotators):
        corners = random.integers(0, [[210, 140]] * 2, (count, 2, 2))
        (x1, y1), (x2, y2) = corners.min(1).T, corners.max(1).T
        labels = random.integers(0, 2, count)
        found.append(list(zip(labels, x1, y1, x2, y2, strict=True)))
    return found


def counted_slowly(annotators):
    masks = [boxes.draw(one, 2, SIZE, GRID) for one in annotators]
    return np.sum(masks, axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_masks_are_those_of_pixels_counted_one_by_one(seed):
    annotators = [*drawn(seed), []]
    counts = counted_slowly(annotators)
    for label, found in enumerate(votes.count(annotators, 2, SIZE, GRID)):
        for vote, least in (("union", 1), ("majority", 3)):
            mask = rle.paint(found.runs(vote), GRID)
            assert (mask == (counts[..., label] >= least)).all()
        size = (7, 12)
        rows, columns = (rle.nearest(n, m) for n, m in zip(GRID, size, strict=True))
        expected = counts[np.ix_(rows, columns)][..., label] / 4
        assert (found.shares(size) == expected).all()


def test_two_boxes_of_one_annotator_are_one_vote():
    twice = [(0, 0, 0, 100, 100), (0, 50, 50, 150, 100)]
    (found, nothing) = votes.count([twice, []], 2, SIZE, GRID)
    assert found.counts.max() == 1
    assert not len(found.runs("majority")) and len(found.runs("union"))
    assert not nothing.counts.any() and not len(nothing.runs("union"))


def test_runs_can_be_encoded(tmp_path):
    (found, _) = votes.count([[(0, 0, 0, 210, 140)]], 2, SIZE, GRID)
    assert found.runs("majority").tolist() == [[1, 28 * 35]]
