import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from clouds.models import layers as fast_layers

generator = np.random.default_rng(0)
POLICIES = {"float32": 1e-5, "mixed_bfloat16": 4e-2, "mixed_float16": 4e-3}


def normal(*shape):
    return generator.standard_normal(shape, np.float32)


def twins(ours, keras_own, shape):
    """Gives two layers the same random weights, of positive variances."""
    for layer in (ours, keras_own):
        layer.build(shape)
    ours.set_weights([np.abs(normal(*w.shape)) + 0.5 for w in keras_own.weights])
    keras_own.set_weights(ours.get_weights())


def results(layer, inputs, training):
    """Outputs, the gradients of their weighted sum, and the weights after it."""
    inputs = [tf.constant(value) for value in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs if len(inputs) > 1 else inputs[0], training=training)
        shape = [int(side) for side in outputs.shape[1:]]
        weights = np.random.default_rng(1).random(shape, np.float32)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    weights = [weight.value for weight in layer.trainable_weights]
    return [outputs, *tape.gradient(loss, [*inputs, *weights])]


def assert_close(ours, expected, tolerance):
    for one, other in zip(ours, expected, strict=True):
        one, other = (ops.cast(value, "float32").numpy() for value in (one, other))
        scale = np.abs(other).max()
        np.testing.assert_allclose(one / scale, other / scale, atol=tolerance)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("training", [False, True])
def test_the_fused_normalization_is_that_of_keras(policy, training):
    ours = fast_layers.BatchNormalization(epsilon=1e-3, momentum=0.9, dtype=policy)
    own = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, dtype=policy)
    features = normal(3, 6, 10, 16)
    twins(ours, own, features.shape)
    found, expected = (results(layer, [features], training) for layer in (ours, own))
    assert found[0].dtype == expected[0].dtype
    assert_close(found, expected, POLICIES[policy])


def test_the_moving_variance_is_that_of_a_sample_as_in_keras_2():
    features = normal(3, 6, 10, 16)
    ours = fast_layers.BatchNormalization(momentum=0.9)
    images = fast_layers.ImageNormalization(momentum=0.9, scale=False)
    for layer in (ours, images):
        layer(features, training=True)
        mean, variance = (
            getattr(features, moment)((0, 1, 2)) for moment in ("mean", "var")
        )
        sample = variance * 180 / 179
        np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, atol=1e-6)
        np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * sample, rtol=1e-6)


def test_a_frozen_normalization_keeps_its_averages():
    layer = fast_layers.BatchNormalization()
    layer.trainable = False
    features = normal(2, 4, 4, 8)
    np.testing.assert_allclose(layer(features, training=True), features, rtol=1e-3)
    assert not layer.moving_mean.numpy().any()


def stem(normalization, convolution, policy):
    images = keras.Input((22, 30, 3))
    normalized = normalization(
        scale=False, epsilon=2e-5, momentum=0.9, name="bn_data", dtype=policy
    )(images)
    padded = layers.ZeroPadding2D(3, dtype=policy)(normalized)
    convolved = convolution(8, 7, 2, use_bias=False, name="conv0", dtype=policy)(padded)
    return keras.Model(images, convolved)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", [1, 255])
def test_the_stem_trains_as_that_of_keras_does(policy, scale):
    ours = stem(fast_layers.ImageNormalization, fast_layers.ImageConv2D, policy)
    own = stem(layers.BatchNormalization, layers.Conv2D, policy)
    own.set_weights([normal(*weight.shape) for weight in own.weights])
    ours.set_weights(own.get_weights())
    images = scale * generator.random((4, 22, 30, 3), np.float32)
    found, expected = (results(model, [images], True) for model in (ours, own))
    keep = [0, 2, 3]
    assert_close(
        [found[i] for i in keep], [expected[i] for i in keep], POLICIES[policy]
    )


def test_outside_training_images_have_their_gradient():
    ours = stem(fast_layers.ImageNormalization, fast_layers.ImageConv2D, "float32")
    own = stem(layers.BatchNormalization, layers.Conv2D, "float32")
    ours.set_weights(own.get_weights())
    images = generator.random((2, 22, 30, 3), np.float32)
    found, expected = (results(model, [images], False) for model in (ours, own))
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("skips", [0, 1])
def test_doubling_and_convolving_at_once_equals_the_one_after_the_other(policy, skips):
    features, skip = normal(2, 5, 7, 6), normal(2, 10, 14, 4)
    inputs = [features, skip][: 1 + skips]
    ours = fast_layers.UpsampledConv2D(8, dtype=policy)
    ours.build([value.shape for value in inputs])
    convolution = layers.Conv2D(8, 3, padding="same", use_bias=False, dtype=policy)

    convolution.build((2, 10, 14, 6 + 4 * skips))
    convolution.set_weights(ours.get_weights())
    values = [keras.Input(value.shape[1:]) for value in inputs]
    doubled = layers.UpSampling2D(2, dtype=policy)(values[0])
    if skips:
        doubled = layers.Concatenate(dtype=policy)([doubled, values[1]])
    own = keras.Model(values, convolution(doubled))
    model = keras.Model(values, ours(values))
    found, expected = (results(one, inputs, True) for one in (model, own))
    assert_close(found, expected, POLICIES[policy])


@pytest.mark.parametrize("policy", POLICIES)
def test_fixed_kernels_give_the_same_result_and_do_not_follow_the_weights(policy):
    inputs = [tf.constant(normal(2, 5, 7, 6)), tf.constant(normal(2, 10, 14, 4))]
    layer = fast_layers.UpsampledConv2D(8, dtype=policy)
    before = layer(inputs)
    layer.fix_kernels()
    layer.kernel.assign(0 * layer.kernel)
    np.testing.assert_array_equal(layer(inputs), before)
    assert np.abs(before).max() > 0


def test_layers_are_rebuilt_from_their_config():
    images = keras.Input((32, 32, 3))
    features = fast_layers.UpsampledConv2D(4)(
        [fast_layers.BatchNormalization()(images)]
    )
    model = keras.Model(images, features)
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    image = normal(1, 32, 32, 3)
    np.testing.assert_array_equal(model(image), again(image))
