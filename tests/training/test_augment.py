import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import QUICK_JAX
from scipy.ndimage import gaussian_filter

from clouds.errors import InputError
from clouds.schema import Bands
from clouds.training import augment, augment_layers

SIZE = (64, 96)
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]
ARGUMENTS = {
    "RandomBrightness": {"factor": 0.3},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomColorJitter": {"brightness_factor": 0.2, "contrast_factor": 0.2},
    "RandomContrast": {"factor": 0.3},
    "RandomGaussianBlur": {"factor": 1.0, "kernel_size": 3, "sigma": 1.0},
    "RandomGrayscale": {"factor": 1.0},
    "RandomHue": {"factor": 0.3},
    "RandomInvert": {"factor": 1.0},
    "RandomPerspective": {"factor": 1.0},
    "RandomPosterization": {"factor": 3},
    "RandomRotation": {"factor": 0.1},
    "RandomSaturation": {"factor": 0.3},
    "RandomSharpness": {"factor": 0.5},
    "RandomShear": {"x_factor": 0.3, "y_factor": 0.3},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": [-0.3, 0.3]},
    "Solarization": {"threshold_factor": 0.5},
}


@pytest.fixture(autouse=True)
def plain_policy():
    yield
    keras.config.set_dtype_policy("float32")


def batch(count=6, size=SIZE, seed=0):
    """Images of smooth hills, and masks of what is above half their height."""
    generator = np.random.default_rng(seed)
    hills = [gaussian_filter(generator.normal(size=size), 6) for _ in range(4 * count)]
    hills = np.stack(hills).reshape(count, 4, *size).transpose(0, 2, 3, 1)
    hills = np.rint(128 + 100 * hills / np.abs(hills).max()).astype("uint8")
    return hills[..., :3], (hills > 128).astype("uint8")


def fitting(size=SIZE, **options):
    """Options whose corners stay apart on small images."""
    return {"elastic_affine": 50 * min(size) / 320, **options}


def chain(*names):
    return [{"name": name, **ARGUMENTS.get(name, {})} for name in names]


def always(*names):
    every = ("horizontal_flip", "vertical_flip", "grid_distortion", "elastic")
    return fitting(**{name: float(name in names) for name in every})


def agreement(images, masks):
    """Share of pixels whose mask is what their image says."""
    return np.mean((np.array(images) > 128) == (np.array(masks)[..., :3] > 0))


def test_nothing_moves_outside_of_training():
    images, masks = batch()
    layer = augment.build(extra=[{"name": "RandomInvert", "factor": 1.0}])
    for training in (None, False):
        moved = layer((images, masks), training=training)
        np.testing.assert_array_equal(moved[0], images)
        np.testing.assert_array_equal(moved[1], masks)


def test_images_without_a_distortion_are_exact_but_for_flips():
    images, masks = batch(40)
    layer = augment.RandomGeometry(**fitting())
    drawn = layer.draw(40, SIZE)
    moved = [np.array(values) for values in layer.move(images, masks, drawn)]
    drawn = {name: np.array(values) for name, values in drawn.items()}
    kept = np.flatnonzero(~drawn["grid_distortion"] & ~drawn["elastic"])
    assert 10 < len(kept) < 40
    for k in kept:
        steps = 1 - 2 * drawn["vertical_flip"][k], 1 - 2 * drawn["horizontal_flip"][k]
        for values, given in zip(moved, (images, masks), strict=True):
            expected = given[k, :: int(steps[0]), :: int(steps[1])]
            np.testing.assert_array_equal(values[k], expected)
    changed = np.delete(np.arange(40), kept)
    assert all((moved[0][k] != images[k]).any() for k in changed)


@pytest.mark.parametrize("name", ["grid_distortion", "elastic"])
def test_a_distortion_not_drawn_leaves_no_trace_on_the_other(name):
    images, masks = batch(8)
    alone = augment.RandomGeometry(**always(name))
    other = {"grid_distortion", "elastic"} - {name}
    both = augment.RandomGeometry(**always(name) | dict.fromkeys(other, 1e-9))
    off = np.subtract(
        *[
            np.array(layer((images, masks), training=True)[0], "int32")
            for layer in (alone, both)
        ]
    )
    assert np.mean(np.abs(off) <= 1) == 1
    assert np.mean(off == 0) > 0.999


@pytest.mark.parametrize(
    "names", ["horizontal_flip", "grid_distortion", "elastic", "elastic vertical_flip"]
)
def test_masks_move_with_their_images(names):
    images, masks = batch(8)
    layer = augment.RandomGeometry(**always(*names.split()))
    moved = layer((images, masks), training=True)
    assert np.mean(np.array(moved[1]) != masks) > 0.05
    assert set(np.unique(moved[1])) == {0, 1}
    assert agreement(*moved) > 0.98


def test_one_seed_gives_one_sequence_and_images_of_it_differ():
    images, masks = (np.repeat(values[:1], 8, 0) for values in batch(1))
    layers = [augment.build(**always("elastic"), seed=s) for s in (3, 3, 4)]
    first, same, other = (
        [np.array(layer((images, masks), training=True)[0]) for _ in range(2)]
        for layer in layers
    )
    np.testing.assert_array_equal(first, same)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()
    assert len(np.unique(first[0].reshape(8, -1), axis=0)) == 8


def test_rates_and_ranges_are_those_of_the_notebook():
    count = 8000
    drawn = augment.RandomGeometry().draw(count, (320, 480))
    drawn = {name: np.array(values) for name, values in drawn.items()}
    rates = {"horizontal_flip": 0.5, "vertical_flip": 0.5}
    rates |= {"grid_distortion": 0.2, "elastic": 0.2}
    chosen = np.stack([drawn[name] for name in rates], -1).astype(float)
    np.testing.assert_allclose(chosen.mean(0), list(rates.values()), atol=0.025)
    correlations = np.corrcoef(chosen.T) - np.eye(4)
    assert np.abs(correlations).max() < 0.05
    for name, least, most in (("factors", 0.7, 1.3), ("jitters", -50, 50)):
        values, reach = drawn[name], most - least
        assert least <= values.min() < least + 0.01 * reach
        assert most - 0.01 * reach < values.max() <= most
        assert values.std() == pytest.approx(reach / 12**0.5, rel=0.02)
        flat = values.reshape(count, -1)
        assert np.abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])).max() < 0.06
        assert np.abs(np.corrcoef(flat[:-1, 0], flat[1:, 0])[0, 1]) < 0.05
    assert drawn["amplitudes"].std() == pytest.approx(3**-0.5, rel=0.01)


def test_displacements_spread_as_smoothed_uniform_noise_does():
    size, sigma = (48, 64), 5.0
    generator = np.random.default_rng(0)
    noise = generator.uniform(-1, 1, (300, *size))
    expected = gaussian_filter(noise, (0, sigma, sigma)).std(0)
    still = {"elastic_affine": 0.0, "elastic_sigma": sigma}
    drawn = augment.RandomGeometry(**still).draw(300, size)
    (down, down_gains), (across, across_gains) = (
        augment.warp.waves(length, sigma) for length in size
    )
    amplitudes = np.array(drawn["amplitudes"]) * np.outer(down_gains, across_gains)
    shifts = down @ amplitudes @ across.T
    assert shifts[:, 0].std(0).mean() == pytest.approx(expected.mean(), rel=0.05)
    np.testing.assert_allclose(shifts[:, 1].std(0), expected, rtol=0.3)


@pytest.mark.parametrize("policy", POLICIES)
def test_dtypes_and_pixels_do_not_depend_on_the_policy(policy):
    images, masks = batch()
    options = fitting() | {"grid_distortion": 0.6, "elastic": 0.6}
    expected = augment.build(**options)((images, masks), training=True)
    keras.config.set_dtype_policy(policy)
    moved = augment.build(**options)((images, masks), training=True)
    for ours, theirs in zip(moved, expected, strict=True):
        assert ours.dtype == tf.uint8
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_float_images_stay_as_they_are(dtype):
    keras.config.set_dtype_policy("mixed_bfloat16")
    images, masks = batch()
    images = tf.cast(images, dtype)
    extra = [{"name": "RandomContrast", "factor": 0.3}]
    moved = augment.build(extra=extra, **fitting())((images, masks), training=True)
    assert moved[0].dtype == images.dtype
    assert moved[1].dtype == tf.uint8


def test_eager_graph_xla_and_tf_data_move_alike():
    images, masks = batch()
    layer = augment.RandomGeometry(**fitting())
    drawn = layer.draw(6, SIZE)
    drawn["elastic"] = np.arange(6) % 2 == 0
    drawn["grid_distortion"] = np.arange(6) % 3 == 0
    eager = layer.move(images, masks, drawn)
    graph = tf.function(layer.move)(images, masks, drawn)
    compiled = tf.function(layer.move, jit_compile=True)(images, masks, drawn)
    batches = tf.data.Dataset.from_tensors((images, masks, drawn)).map(layer.move)
    for other in (graph, compiled, next(iter(batches))):
        for ours, theirs in zip(eager, other, strict=True):
            off = np.abs(np.array(ours, "int32") - np.array(theirs))
            assert np.mean(off <= 1) > 0.999


@pytest.mark.parametrize("compiled", [False, True])
def test_draws_inside_a_graph_differ_from_step_to_step(compiled):
    layer = augment.build(**always("elastic"))

    @tf.function(jit_compile=compiled)
    def step(*pair):
        return layer(pair, training=True)

    first, second = (step(*batch(2))[0].numpy() for _ in range(2))
    assert (first != second).any()


def test_the_number_of_images_may_be_unknown():
    images, masks = batch(5)
    layer = augment.build(**fitting())
    batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(3)
    sizes = [
        len(moved) for moved, _ in batches.map(lambda *pair: layer(pair, training=True))
    ]
    assert sizes == [3, 2]


def test_a_layer_is_made_again_from_its_config():
    extra = [{"name": "RandomZoom", "height_factor": [-0.2, 0.2]}]
    layer = augment.build(extra=extra, seed=5, **always("elastic"))
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert again.get_config() == layer.get_config()
    moved, same = (one(batch(2), training=True) for one in (layer, again))
    np.testing.assert_array_equal(moved[0], same[0])


@pytest.mark.parametrize("name", augment_layers.PHOTOMETRIC)
def test_a_photometric_layer_changes_images_alone(name):
    images, masks = batch()
    layer = augment.build(extra=chain(name), **always())
    moved = layer((images, masks), training=True)
    assert moved[0].dtype == moved[1].dtype == tf.uint8
    np.testing.assert_array_equal(moved[1], masks)
    assert (np.array(moved[0]) != images).any()


@pytest.mark.parametrize("name", (*augment.GEOMETRIC, *augment.MIXING))
def test_a_geometric_layer_moves_masks_with_their_images(name):
    # Copies of one plane, so that no photometric part of RandAugment blurs it.
    masks = batch()[1]
    images = 255 * masks[..., :3]
    layer = augment.build(extra=chain(name), **always())
    changed = False
    for _ in range(4):
        moved = [np.array(v) for v in layer((images, masks), training=True)]
        changed = changed or (moved[1] != masks).any()
        assert moved[0].dtype == moved[1].dtype == np.uint8
        assert set(np.unique(moved[1])) <= {0, 1}
        if name != "RandAugment":
            assert agreement(*moved) > 0.97
        else:
            planes = [v[0, ..., 0].ravel().astype(float) for v in moved]
            assert abs(np.corrcoef(*planes)[0, 1]) > 0.8
    assert changed


def test_cutmix_copies_one_rectangle_of_image_and_all_its_masks():
    images, masks = batch()
    layer = augment.build(extra=[{"name": "CutMix"}], **always())
    moved = [np.array(values) for values in layer((images, masks), training=True)]
    differs = (moved[0] != images).any(-1)
    assert differs.any()
    assert agreement(*moved) == 1
    hill = moved[1][..., 3] != masks[..., 3]
    assert (differs | ~hill).mean() > 0.999


@pytest.mark.parametrize("compiles", [True, False])
def test_every_layer_runs_in_a_graph_and_where_it_says_so_in_xla(compiles):
    every = {*augment_layers.PHOTOMETRIC, *augment.GEOMETRIC, *augment.MIXING}
    outside = set(augment.WITHOUT_XLA)
    names = sorted(every - outside if compiles else outside)
    layer = augment.build(extra=chain(*names), **always())
    assert layer.supports_jit == compiles

    def call(*pair):
        return layer(pair, training=True)

    moved = tf.function(call, jit_compile=compiles, autograph=False)(*batch(2))
    assert [values.dtype for values in moved] == [tf.uint8, tf.uint8]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"elastic": 1.5}, "elastic must be from 0 to 1. Received: 1.5"),
        ({"grid_limit": -0.1}, "grid_limit"),
        ({"elastic_sigma": 0.0}, "elastic_sigma"),
        ({"extra": [{"name": "MixUp"}]}, "'MixUp'.*CutMix"),
        ({"extra": [{"name": "RandomCrop", "height": 8}]}, "change the size"),
        ({"extra": [{"factor": 0.2}]}, "mapping"),
        ({"extra": ["RandomFlip"]}, "mapping"),
        ({"extra": [{"name": "RandomContrast"}]}, "RandomContrast rejects"),
        ({"extra": [{"name": "RandomHue", "factor": 7}]}, "factor"),
        ({"extra": [{"name": "RandomFlip", "modus": 1}]}, "modus"),
    ],
)
def test_what_cannot_be_done_is_said(options, words):
    with pytest.raises(InputError, match=words):
        augment.build(**options)


class Trainer(keras.Model):
    """Draws in `call`, so that both backends thread the generators' state."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = keras.layers.Conv2D(4, 1)

    def call(self, inputs, training=None):
        images, masks = self.layer(inputs, training=training)
        return self.head(keras.ops.cast(images, self.compute_dtype) / 255), masks

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **options):
        logits, masks = (keras.ops.cast(values, "float32") for values in y_pred)
        losses = keras.losses.binary_crossentropy(masks, logits, from_logits=True)
        return keras.ops.mean(losses)


def fitted(policy="float32"):
    """Losses, and whether draws went on, of a tiny model that trains."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    extra = [{"name": "RandomContrast", "factor": 0.1}, {"name": "CutMix"}]
    layer = augment.build(extra=extra, **fitting())
    before = layer.geometry.generator.state.numpy()
    trainer = Trainer(layer)
    trainer.compile(keras.optimizers.Adam(0.1))
    pair = batch(8)
    losses = trainer.fit(pair, pair[1], batch_size=4, epochs=3, verbose=0)
    after = layer.geometry.generator.state.numpy()
    return losses.history["loss"], (after != before).any()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_trains_with_the_layer_in_its_step(policy):
    losses, went_on = fitted(policy)
    assert losses[-1] < losses[0]
    assert went_on


JAX = """
import sys
import keras, numpy as np
sys.path.insert(0, sys.argv[1])
import test_augment as here
losses, went_on = here.fitted("mixed_bfloat16")
assert losses[-1] < losses[0] and went_on, losses
keras.config.set_dtype_policy("float32")
images, masks = here.batch(4)
layer = here.augment.build(**here.always("grid_distortion", "elastic"))
moved = layer((images, masks), training=True)
assert here.agreement(*moved) > 0.98
assert [str(values.dtype) for values in moved] == ["uint8", "uint8"]
assert (np.array(moved[1]) != masks).any()
"""


def test_a_model_trains_on_jax_too():
    environment = {**os.environ, **QUICK_JAX}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", JAX, str(Path(__file__).parent)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("dtype", "bands"), [("uint16", 2), ("float32", 5)])
@pytest.mark.parametrize("extra", ["RandomChannelShuffle", "RandomRotation", "CutMix"])
def test_other_bands_keep_dtype_and_values(extra, dtype, bands):
    images = np.random.default_rng(0).random((2, *SIZE, bands)) * 60000
    masks = np.zeros((2, *SIZE, 3), np.uint8)
    names = tuple("abcdefgh"[:bands])
    spec = {
        "name": extra,
        **({"factor": 0.1} if extra != "RandomChannelShuffle" else {}),
    }
    layer = augment.build(
        extra=[spec], bands=Bands(names, dtype), grid_distortion=1, elastic=1
    )
    moved, _ = layer((images.astype(dtype), masks), training=True)
    assert moved.dtype == dtype
    assert np.array(moved).max() > 50000
    assert moved.shape == images.shape
