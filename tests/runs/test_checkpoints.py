import keras
import numpy as np
import pytest
from helpers.edits import flip

from clouds.errors import InputError
from clouds.runs import checkpoints
from clouds.runs.checkpoints import Progress

rng = np.random.default_rng(0)
images = rng.normal(size=(8, 4)).astype("float32")
targets = rng.normal(size=(8, 1)).astype("float32")


def model(units=3):
    """A model with each kind of state: weights, averages, a generator, slots."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(units)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5, seed=1)(x)
    made = keras.Model(inputs, keras.layers.Dense(1)(x))
    made.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    return made


def same(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_a_restored_model_goes_on_as_the_saved_one(tmp_path):
    saved, other = model(), model()
    for trained in (saved, other):
        trained.train_on_batch(images, targets)
    progress = Progress(epoch=2, step=5, history=[{"loss": 0.1 + 0.2}], seconds=1.5)
    checkpoints.save(tmp_path, progress, checkpoints.values(saved))
    read, arrays = checkpoints.load(tmp_path)
    assert read == progress
    assert same(arrays, checkpoints.values(saved))
    assert not same(arrays, checkpoints.values(other))
    checkpoints.restore(other, arrays, tmp_path)
    for trained in (saved, other):
        trained.train_on_batch(images, targets)
    assert same(checkpoints.values(saved), checkpoints.values(other))


def save(folder, epoch, step=0):
    arrays = [np.full(1000, epoch + step, "float32"), np.arange(3)]
    return checkpoints.save(folder, Progress(epoch=epoch, step=step), arrays)


def test_the_newest_two_stay(tmp_path):
    paths = [save(tmp_path, *place) for place in ((0, 2), (0, 10), (1, 0), (1, 2))]
    assert checkpoints.paths(tmp_path) == [paths[3], paths[2]]
    assert checkpoints.load(tmp_path)[0] == Progress(epoch=1, step=2)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "no zip"])
def test_a_broken_one_is_passed_over_for_the_one_before(damage, tmp_path, capsys):
    good, broken = save(tmp_path, 1), save(tmp_path, 2)
    contents = bytearray(broken.read_bytes())
    contents[len(contents) // 2] ^= 1
    broken.write_bytes(
        {
            "cut short": contents[: len(contents) // 2],
            "one bit": contents,
            "empty": b"",
            "no zip": b"x" * 100,
        }[damage]
    )
    progress, arrays = checkpoints.load(tmp_path)
    assert progress.epoch == 1
    assert (arrays[0] == 1).all()
    assert f"Skipping the damaged checkpoint {broken}" in capsys.readouterr().out
    later = save(tmp_path, 1, 5)
    assert checkpoints.paths(tmp_path) == [later, good]


def test_without_an_intact_checkpoint_none_is_loaded(tmp_path):
    assert checkpoints.load(tmp_path) is None
    save(tmp_path, 1).write_bytes(b"")
    assert checkpoints.load(tmp_path) is None


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not fit the network"):
        checkpoints.restore(model(), checkpoints.values(model(5)), tmp_path)


def test_every_flipped_bit_of_the_directory_is_passed_over_or_without_effect(tmp_path):
    good = save(tmp_path, 1)
    progress, arrays = checkpoints.load(tmp_path)
    whole = good.read_bytes()
    start = whole.index(b"PK\x01\x02")
    for place in range(8 * start, 8 * len(whole), 5):
        good.write_bytes(whole)
        flip(good, place)
        loaded = checkpoints.load(tmp_path)
        assert loaded is None or loaded[0] == progress, place
        assert loaded is None or same(loaded[1], arrays), place
