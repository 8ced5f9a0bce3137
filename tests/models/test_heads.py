import keras
import numpy as np
import pytest

from clouds.models import heads, unet


def test_features_are_averaged_by_the_highest_probability_of_their_pixels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 2, 3, 5)).astype("float32")
    logits = rng.normal(size=(2, 8, 12, 4)).astype("float32")
    pooled = heads.MaskedPooling()([features, logits])
    highest = (1 / (1 + np.exp(-logits))).max(axis=-1)
    weights = highest.reshape(2, 2, 4, 3, 4).mean(axis=(2, 4))
    wanted = (features * weights[..., None]).mean(axis=(1, 2))
    np.testing.assert_allclose(pooled, wanted, rtol=1e-5)


def test_the_head_passes_no_gradient_to_the_masks():
    tf = pytest.importorskip("tensorflow")
    features, logits = tf.ones((1, 2, 2, 3)), tf.ones((1, 4, 4, 2))
    with tf.GradientTape() as tape:
        tape.watch([features, logits])
        pooled = heads.MaskedPooling()([features, logits])
    to_features, to_logits = tape.gradient(pooled, [features, logits])
    assert to_logits is None and to_features is not None


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_a_head_leaves_the_layers_of_the_network_as_they_are(size):
    plain, headed = unet.build(size), unet.build(size, class_head=True)
    names = [layer.name for layer in headed.layers]
    own = [name for name in names if name.startswith("presence_")]
    assert len(own) == 6
    for layer in plain.layers:
        if layer.weights:
            headed.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(0).random((2, *size, 3), "float32")
    logits, presence = headed(images)
    np.testing.assert_allclose(logits, plain(images), atol=1e-5)
    assert presence.shape == (2, 4)
    assert keras.backend.standardize_dtype(presence.dtype) == "float32"
