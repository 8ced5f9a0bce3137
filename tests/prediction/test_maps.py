import numpy as np
import pytest
from helpers.edits import flip

from clouds.geo import cf
from clouds.postprocess.blockwise import Block
from clouds.prediction import maps

SIZE = (6, 20)


def test_the_maps_of_a_batch_are_kept_until_they_are_cleared(tmp_path):
    random = np.random.default_rng(0)
    probabilities = random.random((2, *SIZE, 3)).astype(np.float32)
    images = np.full((2, *SIZE, 3), 255, np.uint8)
    images[1, :, :5] = 0
    assert not maps.is_kept(tmp_path, "a.jpg")
    maps.keep(tmp_path, ["a.jpg", "b.jpg"], probabilities, images, SIZE)
    for k, name in enumerate(("a.jpg", "b.jpg")):
        assert maps.is_kept(tmp_path, name)
        kept = maps.load(tmp_path, name)
        assert (kept.probability == cf.pack(probabilities[k])).all()
        assert (kept.observed == (images[k, ..., 0] > 0)).all()
    maps.clear(tmp_path)
    assert not maps.is_kept(tmp_path, "a.jpg")


def test_the_map_of_a_scene_is_kept_block_by_block_and_only_when_complete(tmp_path):
    probabilities = np.random.default_rng(0).random((*SIZE, 2))
    observed = probabilities[..., 0] > 0.2
    with pytest.raises(KeyError), maps.keeping(tmp_path, "a.jpg", SIZE, 2):
        raise KeyError
    assert not maps.is_kept(tmp_path, "a.jpg")
    with maps.keeping(tmp_path, "a.jpg", SIZE, 2) as keep:
        for part in (np.s_[:, :8], np.s_[:, 8:]):
            keep(Block(probabilities[part], observed[part]))
    kept = maps.load(tmp_path, "a.jpg")
    assert isinstance(kept.probability, np.memmap)
    assert (kept.probability == cf.pack(probabilities)).all()
    assert (kept.observed == observed).all()


def test_a_damaged_map_counts_as_missing(tmp_path):
    probabilities = np.random.default_rng(0).random((1, *SIZE, 2)).astype(np.float32)
    images = np.full((1, *SIZE, 3), 255, np.uint8)
    maps.keep(tmp_path, ["a.jpg"], probabilities, images, SIZE)
    with maps.keeping(tmp_path, "b.jpg", SIZE, 2) as keep:
        keep(Block(probabilities[0], images[0, ..., 0] > 0))
    assert maps.is_kept(tmp_path, "a.jpg") and maps.is_kept(tmp_path, "b.jpg")
    for name, form in (("a.jpg", "npz"), ("b.jpg", "npy")):
        flip(maps._path(tmp_path, name, form), 8 * 150)
        assert not maps.is_kept(tmp_path, name)
