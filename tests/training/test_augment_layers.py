import keras
import numpy as np
import pytest

from clouds.errors import InputError
from clouds.schema import RGB, Bands
from clouds.training import augment, augment_layers

rng = np.random.default_rng(0)
IMAGES = rng.uniform(1, 255, (8, 32, 48, 3)).astype("float32")
MASKS = (rng.random((8, 32, 48, 4)) < 0.4).astype("uint8")


def test_a_shift_by_whole_pixels_moves_image_and_mask_and_leaves_black(monkeypatch):
    layer = augment_layers.RandomShiftScaleRotate(1.0)
    shifts = np.tile(np.float32([3 / 48, -2 / 32]), (8, 1))
    drawn = np.zeros(8, "float32"), np.ones(8, "float32"), shifts
    monkeypatch.setattr(layer, "draw", lambda count: drawn)
    moved = layer({"images": IMAGES, "segmentation_masks": MASKS}, training=True)
    for before, after in zip((IMAGES, MASKS), moved.values(), strict=True):
        after = np.asarray(after)
        assert after.dtype == before.dtype
        np.testing.assert_allclose(after[:, :-2, 3:], before[:, 2:, :-3], atol=1e-2)
        assert not after[:, -2:].any() and not after[:, :, :3].any()


def test_draws_are_within_their_limits_and_half_of_the_images_stay():
    layer = augment_layers.RandomShiftScaleRotate(0.5, 0.1, 0.2, 10, seed=1)
    angles, scales, shifts = map(np.asarray, layer.draw(4000))
    assert np.abs(angles).max() == pytest.approx(10, rel=0.01)
    assert scales.min() == pytest.approx(0.8, rel=0.01)
    assert np.abs(shifts).max() == pytest.approx(0.1, rel=0.01)
    stay = (angles == 0) & (scales == 1) & (shifts == 0).all(axis=1)
    assert abs(stay.mean() - 0.5) < 0.05


def test_channels_are_shuffled_per_image_and_none_is_lost():
    layer = augment_layers.RandomChannelShuffle(1.0, seed=3)
    images = np.repeat(IMAGES, 8, axis=0)
    shuffled = np.asarray(layer(images, training=True))
    np.testing.assert_array_equal(np.sort(shuffled, -1), np.sort(images, -1))
    orders = {tuple(np.argsort(s[0, 0])) for s in shuffled[:8]}
    assert len(orders) > 2
    none = augment_layers.RandomChannelShuffle(0.0)
    np.testing.assert_array_equal(none(images, training=True), images)


@pytest.mark.parametrize("name", ["RandomShiftScaleRotate", "RandomChannelShuffle"])
def test_a_layer_is_made_by_its_name_and_again_from_its_config(name):
    layer = augment.build(extra=[{"name": name, "probability": 1.0}])
    images, masks = layer((IMAGES, MASKS), training=True)
    assert np.abs(np.asarray(images) - IMAGES).max() > 1
    made = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer.layers[0])
    )
    assert made.get_config() == layer.layers[0].get_config()
    with pytest.raises(augment.InputError, match=f"{name} rejects its arguments"):
        augment.build(extra=[{"name": name, "probability": 2.0}])


def test_layers_of_colours_are_refused_for_other_bands():
    bands = Bands(("vis", "ir"), "uint16")
    for name in ("RandomContrast", "RandomGaussianBlur", "RandAugment"):
        with pytest.raises(InputError, match=f"{name} needs 8-bit RGB. Received: .*ir"):
            augment_layers.check_bands([{"name": name}], bands)
        augment_layers.check_bands([{"name": name}], RGB)
    augment_layers.check_bands([{"name": "RandomChannelShuffle"}], bands)
