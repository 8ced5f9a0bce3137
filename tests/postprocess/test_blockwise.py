import numpy as np
import pytest
from helpers import references

from clouds import rle
from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.postprocess import apply as apply_whole
from clouds.postprocess import blockwise
from clouds.postprocess.blockwise import Block

SIZE = (24, 61)
BLACK = np.zeros((1, *SIZE, 3), np.uint8)


def smooth(seed, size=SIZE, labels=2):
    """Probabilities with components of many areas."""
    noise = np.random.default_rng(seed).random((*size, labels))
    for axis in (0, 1):
        noise = sum(np.roll(noise, k, axis) for k in range(-2, 3)) / 5
    low, high = noise.min(), noise.max()
    return ((noise - low) / (high - low)).astype(np.float32)


def rule(**changes):
    numbers = {"thresholds": (0.5, 0.6), "min_sizes": (12, 3), "gap": True}
    return Rule(**numbers | changes)


def blocks(probabilities, observed, width, scores=None):
    for first in range(0, probabilities.shape[1], width):
        part = np.s_[:, first : first + width]
        yield Block(
            probabilities[part],
            observed[part],
            None if scores is None else scores[part],
        )


@pytest.mark.parametrize("width", [1, 8, 17, 100])
@pytest.mark.parametrize(
    "changes", [{}, {"tops": (0.8, 0.9)}, {"gap": False}, {"min_sizes": (0, 1000)}]
)
def test_blocks_give_the_text_of_the_whole_image(width, changes):
    changed = rule(**changes)
    # Blocks of one column take long.
    for seed in range(4 if width > 1 else 1):
        probabilities = smooth(seed)
        observed = np.random.default_rng(seed).random(SIZE) > 0.05
        images = np.where(observed[None, ..., None], 255, BLACK).astype(np.uint8)
        names = ("raw_rle", "rle")
        whole = apply_whole(probabilities[None], changed, images, SIZE, outputs=names)
        text = blockwise.apply(blocks(probabilities, observed, width), changed, SIZE)
        assert [text.raw, text.cleaned] == [
            whole[name][0].numpy().astype(str).tolist() for name in names
        ]


@pytest.mark.parametrize("force_best", [False, True])
def test_scores_that_are_the_same_everywhere_gate_as_those_of_an_image(force_best):
    probabilities, observed = smooth(1), np.ones(SIZE, bool)
    for given in ((0.9, 0.1), (0.2, 0.1), (0.9, 0.9)):
        gated = rule(presence=(0.5, 0.5), force_best=force_best)
        scores = np.broadcast_to(np.float32(given), (*SIZE, 2))
        text = blockwise.apply(blocks(probabilities, observed, 9, scores), gated, SIZE)
        plain = blockwise.apply(blocks(probabilities, observed, 9), rule(), SIZE)
        passed = [score > 0.5 for score in given]
        if force_best and not any(passed):
            passed[int(np.argmax(given))] = True
        for label in range(2):
            assert text.cleaned[label] == (
                plain.cleaned[label] if passed[label] else ""
            )


def test_components_on_a_ring_are_those_of_the_ring_cut_elsewhere():
    for seed in range(6):
        probabilities, observed = smooth(seed), np.ones(SIZE, bool)
        # A column without mask, at which the ring can be cut.
        probabilities[:, 30] = 0
        ring = blockwise.apply(
            blocks(probabilities, observed, 8), rule(), SIZE, wraps=True
        )
        rolled = np.roll(probabilities, -30, axis=1)
        line = blockwise.apply(blocks(rolled, observed, 8), rule(), SIZE)
        for label in range(2):
            mask = np.roll(rle.decode(line.cleaned[label], SIZE), 30, axis=1)
            assert (rle.decode(ring.cleaned[label], SIZE) == mask).all()
            expected = references.clean(
                rolled[..., label], *((0.5, 12), (0.6, 3))[label]
            )
            assert (np.roll(expected, 30, axis=1) == mask).all()


def test_a_spiral_over_the_seam_is_one_component():
    mask = np.zeros((10, 9), bool)
    # Bands that join only across the seam, one by one, by their corners too.
    for row in range(0, 10, 2):
        mask[row, :-1] = True
        mask[row - 1 if row else 0, -1] = row > 0
    probabilities = mask[..., None].astype(np.float32)
    observed = np.ones(mask.shape, bool)
    whole = Rule(thresholds=(0.5,), min_sizes=(int(mask.sum()) - 1,))
    given = (probabilities, observed, 4)
    ring = blockwise.apply(blocks(*given), whole, mask.shape, wraps=True)
    assert rle.decode(ring.cleaned[0], mask.shape).sum() == mask.sum()
    more = Rule(thresholds=(0.5,), min_sizes=(int(mask.sum()),))
    ring = blockwise.apply(blocks(*given), more, mask.shape, wraps=True)
    assert ring.cleaned == [""]


def test_empty_masks_have_empty_text():
    probabilities = np.zeros((*SIZE, 2), np.float32)
    text = blockwise.apply(
        blocks(probabilities, np.ones(SIZE, bool), 50), rule(), SIZE, wraps=True
    )
    assert text == blockwise.Text(["", ""], ["", ""])


def test_rules_of_whole_images_are_rejected():
    with pytest.raises(InputError, match="--clean-on submission"):
        blockwise.check(rule(grid="network"))
    with pytest.raises(InputError, match="--peak-scope component"):
        blockwise.check(rule(tops=(0.5, 0.5), scope="image"))
    blockwise.check(rule(scope="image"))
    blockwise.check(rule(tops=(0.5, 0.5)))


def test_a_scene_of_too_many_cells_is_rejected():
    with pytest.raises(InputError, match="too large for run-length codes"):
        blockwise.apply([], rule(), (50_000, 50_000))
