import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import QUICK_JAX
from scipy.ndimage import gaussian_filter, map_coordinates

from clouds.errors import InputError
from clouds.training import warp

SIZE = (40, 56)
TILT = np.array([0.1, -0.1], "float32")


def rng(seed=0):
    return np.random.default_rng(seed)


def some_images(count=3, size=SIZE, channels=3, seed=0):
    shape = (count, *size, channels)
    return rng(seed).integers(0, 256, shape, dtype=np.uint8)


def some_coordinates(count=3, size=SIZE, beyond=0.7, seed=1):
    """Positions anywhere in and around an image."""
    return tuple(
        rng(seed + axis)
        .uniform(-beyond * length, (1 + beyond) * length, (count, *size))
        .astype("float32")
        for axis, length in enumerate(size)
    )


def some_parameters(count=3, size=(64, 96), seed=2):
    generator = rng(seed)
    lengths = [warp.waves(length, 50.0)[1].size for length in size]
    return {
        "factors": generator.uniform(0.7, 1.3, (count, 2, 6)).astype("float32"),
        "jitters": generator.uniform(-10, 10, (count, 3, 2)).astype("float32"),
        "amplitudes": generator.normal(size=(count, 2, *lengths)).astype("float32"),
    }


def everything(images, masks, factors, jitters, amplitudes):
    """All of the module, from parameters to moved images and masks."""
    size = images.shape[1:3]
    chosen = np.arange(len(factors)) % 2 == 0
    images, masks = (warp.flip(values, chosen, ~chosen) for values in (images, masks))
    positions = warp.elastic(jitters, amplitudes, size)
    coordinates = [
        warp.follow(warp.grid_lines(factors[:, 1 - axis], size[axis]), positions[axis])
        for axis in range(2)
    ]
    return (
        warp.sample(images, coordinates),
        warp.sample(masks, coordinates, "nearest"),
        warp.dense_image_warp(images, positions[0][..., None] * TILT),
    )


def everything_given():
    return (
        some_images(size=(64, 96)),
        some_images(size=(64, 96), channels=4) & 1,
        (some_parameters()),
    )


def exactly(image, maps, **options):
    planes = np.moveaxis(image.astype("float64"), -1, 0)
    moved = [map_coordinates(p, maps, mode="mirror", **options) for p in planes]
    return np.stack(moved, -1)


def test_flips_are_exact_and_of_the_chosen_images_only():
    images = some_images(4)
    horizontal = np.array([False, True, False, True])
    vertical = np.array([False, False, True, True])
    moved = np.array(warp.flip(images, horizontal, vertical))
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved[0], images[0])
    np.testing.assert_array_equal(moved[1], images[1][:, ::-1])
    np.testing.assert_array_equal(moved[2], images[2][::-1])
    np.testing.assert_array_equal(moved[3], images[3][::-1, ::-1])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_sampling_at_the_pixels_changes_nothing(dtype, interpolation):
    images = tf.cast(some_images(), dtype)
    plain = [np.arange(n, dtype="float32") for n in SIZE]
    moved = warp.sample(images, (plain[0][:, None], plain[1]), interpolation)
    assert moved.dtype == images.dtype
    np.testing.assert_array_equal(moved, images)


def test_bilinear_sampling_is_that_of_scipy():
    images, coordinates = some_images(), some_coordinates()
    moved = np.array(warp.sample(images.astype("float32"), coordinates))
    rounded = np.array(warp.sample(images, coordinates))
    for k, image in enumerate(images):
        expected = exactly(image, [values[k] for values in coordinates], order=1)
        np.testing.assert_allclose(moved[k], expected, atol=5e-3)
        assert np.abs(rounded[k] - expected).max() <= 0.5 + 5e-3


def test_nearest_sampling_is_that_of_scipy():
    masks, coordinates = some_images(channels=4), some_coordinates()
    moved = np.array(warp.sample(masks, coordinates, "nearest"))
    for k, mask in enumerate(masks):
        whole = [np.rint(values[k]) for values in coordinates]
        np.testing.assert_array_equal(moved[k], exactly(mask, whole, order=0))


def test_two_vectors_sample_as_full_fields_do():
    images = some_images()
    rows, columns = (values[:, :1] for values in some_coordinates())
    rows, columns = np.swapaxes(rows, 1, 2)[:, :40], columns
    full = np.broadcast_arrays(rows, columns)
    np.testing.assert_array_equal(
        warp.sample(images, (rows, columns)), warp.sample(images, full)
    )


def test_borders_are_mirrored_at_the_border_pixels():
    images = some_images(1, (5, 7))
    rows, columns = np.arange(-4.0, 9.0)[:, None], np.arange(-6.0, 13.0)
    padded = np.pad(images, ((0, 0), (4, 4), (6, 6), (0, 0)), "reflect")
    for interpolation in ("bilinear", "nearest"):
        moved = warp.sample(images, (rows, columns), interpolation)
        np.testing.assert_array_equal(moved, padded)


def test_borders_repeat_when_asked():
    images = some_images(1, (5, 7))
    rows, columns = np.arange(-4.0, 9.0)[:, None], np.arange(-6.0, 13.0)
    padded = np.pad(images, ((0, 0), (4, 4), (6, 6), (0, 0)), "edge")
    moved = warp.sample(images, (rows, columns), border="edge")
    np.testing.assert_array_equal(moved, padded)


def test_positions_far_outside_are_still_pixels_of_the_image():
    images = np.full((1, 5, 7, 3), 9, "uint8")
    far = np.array([-1e9, -12345.5, 3e6, 1e20], "float32")
    np.testing.assert_array_equal(warp.sample(images, (far[:, None], far)), 9)
    np.testing.assert_array_equal(
        warp.sample(images, (far[:, None], far), "nearest"), 9
    )


@pytest.mark.parametrize("size", [25, 64, 97, 131, 320, 480])
def test_grid_lines_are_those_of_a_loop_over_the_cells(size):
    factors = rng().uniform(0.7, 1.3, (3, 6)).astype("float32")
    lines = np.array(warp.grid_lines(factors, size))
    for line, drawn in zip(lines, factors, strict=True):
        expected, cell, before = np.zeros(size), size // 5, 0.0
        for k in range(6):
            stop = min((k + 1) * cell, size)
            after = before + cell * drawn[k] if k < 5 else size
            count = stop - k * cell
            expected[k * cell : stop] = np.linspace(before, after, count)
            before = after
        np.testing.assert_allclose(line, expected, atol=1e-3)


@pytest.mark.parametrize(("size", "sigma"), [((64, 97), 50.0), ((90, 64), 4.0)])
def test_waves_smooth_noise_as_a_gaussian_does(size, sigma):
    noise = rng().uniform(-1, 1, size)
    (down, down_gains), (across, across_gains) = (warp.waves(n, sigma) for n in size)
    amplitudes = down_gains[:, None] * (down.T @ noise @ across) * across_gains
    smooth = down @ amplitudes @ across.T
    np.testing.assert_allclose(smooth, gaussian_filter(noise, sigma), atol=2e-4)


def test_elastic_undoes_the_affine_map_of_three_corners():
    size = height, width = (64, 96)
    drawn = some_parameters(3, size)
    rows, columns = warp.elastic(drawn["jitters"], 0 * drawn["amplitudes"], size)
    side, centre = height // 3, np.array([height // 2, width // 2])
    corners = centre + side * np.array([[1, 1], [1, -1], [-1, -1]])
    for k, jitters in enumerate(drawn["jitters"]):
        start = np.column_stack([corners, np.ones(3)])
        forward = np.linalg.solve(start, corners + jitters).T
        inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
        y, x = np.indices(size)
        expected = np.einsum("ij,jhw->ihw", inverse, [x, y, np.ones(size)])
        np.testing.assert_allclose(columns[k], expected[0], atol=1e-3)
        np.testing.assert_allclose(rows[k], expected[1], atol=1e-3)


def test_elastic_displaces_by_the_smoothed_noise():
    size = (64, 96)
    noise = rng().uniform(-1, 1, (1, 2, *size))
    down, across = (warp.waves(length, 6.0)[0] for length in size)
    amplitudes = (down.T @ noise @ across).astype("float32")
    still = np.zeros((1, 3, 2), "float32")
    rows, columns = warp.elastic(still, amplitudes, size, alpha=40, sigma=6.0)
    y, x = np.indices(size)
    shifts = 40 * gaussian_filter(noise[0], (0, 6, 6))
    np.testing.assert_allclose(columns[0], x + shifts[0], atol=2e-2)
    np.testing.assert_allclose(rows[0], y + shifts[1], atol=2e-2)
    assert np.abs(shifts).max() > 1


def test_three_corners_on_one_line_give_no_infinities():
    size, side = (64, 96), 21
    jitters = np.zeros((1, 3, 2), "float32")
    jitters[0, 2] = [2 * side, 0]
    amplitudes = np.zeros_like(some_parameters(1, size)["amplitudes"])
    positions = np.array(warp.elastic(jitters, amplitudes, size))
    assert np.isfinite(positions).all()


def test_following_lines_between_pixels_interpolates_and_mirrors():
    lines = rng().uniform(0, 50, (2, 40)).astype("float32")
    positions = rng().uniform(-30, 70, (2, 8, 9)).astype("float32")
    followed = np.array(warp.follow(lines, positions))
    for k in range(2):
        expected = map_coordinates(
            lines[k].astype("float64"), positions[k][None], order=1, mode="mirror"
        )
        np.testing.assert_allclose(followed[k], expected, atol=1e-3)


def test_the_dense_warp_reads_against_the_flow():
    images = some_images(1).astype("float32")
    flow = np.zeros((1, *SIZE, 2), "float32")
    flow[..., 0], flow[..., 1] = 2, -3
    moved = np.array(warp.dense_image_warp(images, flow))
    np.testing.assert_allclose(moved[:, 2:, :-3], images[:, :-2, 3:])
    np.testing.assert_allclose(moved[:, 0, :-3], images[:, 0, 3:])


def test_eager_graph_xla_and_tf_data_agree():
    images, masks, drawn = everything_given()
    given = tuple(drawn.values())
    eager = everything(images, masks, *given)
    graph = tf.function(everything)(images, masks, *given)
    compiled = tf.function(everything, jit_compile=True)(images, masks, *given)
    batches = tf.data.Dataset.from_tensors((images, masks, *given)).map(everything)
    for other in (graph, compiled, next(iter(batches))):
        for ours, theirs in zip(eager, other, strict=True):
            assert ours.dtype == theirs.dtype
            off = np.abs(np.array(ours, "float64") - np.array(theirs))
            assert np.mean(off <= 1) > 0.999


JAX = """
import sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
import test_warp
given = test_warp.everything_given()
given = (*given[:2], *given[2].values())
results = test_warp.everything(*given) + jax.jit(test_warp.everything)(*given)
np.savez(sys.argv[2], *[np.asarray(values) for values in results])
"""


def test_jax_gives_the_same(tmp_path):
    here, out = str(Path(__file__).parent), str(tmp_path / "jax.npz")
    environment = {**os.environ, **QUICK_JAX}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", JAX, here, out]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    images, masks, drawn = everything_given()
    ours = everything(images, masks, *drawn.values())
    with np.load(out) as theirs:
        for k, values in enumerate(theirs.values()):
            off = np.abs(np.array(ours[k % 3], "float64") - values)
            assert np.mean(off <= 1) > 0.999


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: warp.sample(some_images(), (0, 0), "cubic"), "bilinear, nearest"),
        (lambda: warp.sample(some_images(), (0, 0), border="wrap"), "reflect, edge"),
        (lambda: warp.sample(some_images(size=(1, 9)), (0, 0)), "2 by 2"),
        (lambda: warp.grid_lines(np.ones((1, 6), "float32"), 24), "25 pixels"),
        (lambda: warp.elastic(None, None, (2, 9)), "3 by 3"),
    ],
)
def test_what_cannot_be_done_is_said(call, words):
    with pytest.raises(InputError, match=words):
        call()
