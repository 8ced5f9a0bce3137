"""Warps and components against albumentations and tensorflow-addons."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, maximum_filter

from clouds.training import warp

SIZES = ("network", "odd")


@pytest.fixture(scope="session")
def peers(oracle, tmp_path_factory):
    out = tmp_path_factory.mktemp("oracle") / "peers.npz"
    oracle("oracle.py", out)
    with np.load(out) as arrays:
        return dict(arrays)


def pick(peers, size, kind):
    prefix = f"{size}_{kind}_"
    case = {k[len(prefix) :]: v for k, v in peers.items() if k.startswith(prefix)}
    count = len(case["image"])
    images = np.repeat(peers[f"{size}_image"][None], count, 0)
    masks = np.repeat(peers[f"{size}_masks"][None], count, 0)
    return images, masks, case


def grid_coordinates(case, size):
    rows, columns = (
        warp.grid_lines(case["factors"][:, 1 - axis].astype("float32"), size[axis])
        for axis in range(2)
    )
    return rows[:, :, None], columns[:, None]


def elastic_coordinates(case, size):
    down, across = (warp.waves(length, 50.0)[0] for length in size)
    amplitudes = (down.T @ case["noise"] @ across).astype("float32")
    return warp.elastic(case["jitters"].astype("float32"), amplitudes, size)


def undo(matrix, maps):
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    rows, columns = maps.astype("float64")
    x, y, _ = np.einsum("ij,jhw->ihw", inverse, [columns, rows, np.ones_like(rows)])
    return np.stack([y, x])


def exact_maps(case, kind):
    if kind == "grid":
        return case["map"]
    pairs = zip(case["matrix"], case["map"], strict=True)
    return np.stack([undo(matrix, maps) for matrix, maps in pairs])


def exactly(image, maps):
    planes = np.moveaxis(image.astype("float64"), -1, 0)
    moved = [map_coordinates(p, maps, order=1, mode="mirror") for p in planes]
    return np.stack(moved, -1)


def steepest(image, maps):
    """The largest step between neighbours near each source pixel."""
    values = image.astype("float64")
    down = np.abs(np.diff(values, axis=0, append=values[-2:-1]))
    right = np.abs(np.diff(values, axis=1, append=values[:, -2:-1]))
    steps = maximum_filter(down, (4, 4, 1)) + maximum_filter(right, (4, 4, 1))
    planes = np.moveaxis(steps, -1, 0)
    near = [map_coordinates(p, maps, order=0, mode="mirror") for p in planes]
    return np.stack(near, -1)


COORDINATES = {"grid": grid_coordinates, "elastic": elastic_coordinates}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", COORDINATES)
def test_a_distortion_is_that_of_albumentations_sampled_exactly(peers, size, kind):
    images, _, case = pick(peers, size, kind)
    ours = warp.sample(images, COORDINATES[kind](case, images.shape[1:3]))
    maps = exact_maps(case, kind)
    expected = [exactly(*pair) for pair in zip(images, maps, strict=True)]
    off = np.abs(np.array(ours) - np.stack(expected))
    print(f"{size} {kind}: {np.mean(off <= 1):.5%} within 1, at most {off.max():.2f}")
    assert np.mean(off <= 1) >= 0.999


@pytest.mark.parametrize("size", SIZES)
def test_one_sampling_equals_albumentations_two_when_exact(peers, size):
    images, _, case = pick(peers, size, "elastic")
    ours = warp.sample(images, elastic_coordinates(case, images.shape[1:3]))
    plain = np.stack(np.indices(images.shape[1:3]))
    expected = []
    for image, matrix, maps in zip(images, case["matrix"], case["map"], strict=True):
        affine = exactly(image, undo(matrix, plain))
        expected.append(exactly(affine, maps))
    off = np.abs(np.array(ours) - np.stack(expected))
    print(f"{size}: {np.mean(off <= 1):.5%} within 1, at most {off.max():.2f}")
    assert np.mean(off <= 1) >= 0.999


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", COORDINATES)
def test_what_opencv_differs_by_its_rounding_explains(peers, size, kind):
    images, _, case = pick(peers, size, kind)
    ours = np.array(warp.sample(images, COORDINATES[kind](case, images.shape[1:3])))
    off = np.abs(ours.astype(int) - case["image"])
    # A coordinate is rounded to 1/32 pixel, a grey level to 1; the elastic
    # transform does both twice, and rounds the affine map to 1/1024 before.
    pixels, levels = (1 / 64, 1) if kind == "grid" else (2 / 64 + 1 / 1024, 1.5)
    maps = exact_maps(case, kind)
    steps = np.stack([steepest(*p) for p in zip(images, maps, strict=True)])
    excess = off - levels - pixels * steps
    print(f"{size} {kind}: mean {off.mean():.3f}, max {off.max()}, {excess.max():.3f}")
    assert np.mean(excess <= 1e-3) >= 0.9999


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", COORDINATES)
def test_masks_are_those_of_albumentations(peers, size, kind):
    images, masks, case = pick(peers, size, kind)
    coordinates = COORDINATES[kind](case, images.shape[1:3])
    ours = np.array(warp.sample(masks, coordinates, "nearest"))
    print(f"{size} {kind}: {np.mean(ours == case['masks']):.5%} equal")
    assert ours.dtype == np.uint8
    assert np.mean(ours == case["masks"]) >= 0.999


def test_the_dense_warp_is_that_of_tensorflow_addons(peers):
    ours = np.array(warp.dense_image_warp(peers["warp_images"], peers["warp_flow"]))
    off = np.abs(ours - peers["warp_result"])
    print(f"dense warp: at most {off.max():.2e}")
    assert off.max() < 1e-2
    assert off.mean() < 1e-4


def test_four_connected_components_are_those_of_tensorflow_addons(peers):
    components = pytest.importorskip(
        "clouds.postprocess.components", exc_type=ImportError
    )
    for plane, theirs in zip(peers["planes"], peers["labels"], strict=True):
        ours = np.array(components.label(plane[None], connectivity=4))[0]
        pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        assert ((ours == 0) == ~plane).all()


@pytest.mark.parametrize("size", SIZES)
def test_shift_scale_rotate_is_that_of_albumentations(peers, size):
    images, masks, case = pick(peers, size, "affine")
    numbers = (case[name].astype("float32") for name in ("angle", "scale", "shifts"))
    coordinates = warp.shift_scale_rotate(*numbers, images.shape[1:3])
    ours = np.array(warp.sample(images, coordinates, border="black"))
    off = np.abs(ours.astype(int) - case["image"])
    # OpenCV rounds coordinates to 1/32 pixel.
    print(f"{size}: mean {off.mean():.3f}, {np.mean(off <= 4):.4%} within 4")
    assert off.mean() < 1 and np.mean(off <= 4) > 0.99
    moved = np.array(warp.sample(masks, coordinates, "nearest", "black"))
    assert np.mean(moved == case["masks"]) > 0.995
