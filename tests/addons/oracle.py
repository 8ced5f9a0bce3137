"""Runs the peers on drawn parameters and writes what they gave: oracle.py OUT.npz.

For the environment of albumentations 1.3.1 and tensorflow-addons 0.23.0 (Python
3.11, TensorFlow 2.15), which has no Keras 3: test_parity.py runs it there and
compares the arrays with `clouds`. Maps are what albumentations hands to OpenCV.
"""

import sys

import cv2
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa
from albumentations.augmentations.geometric import functional
from scipy.ndimage import gaussian_filter

SIZES = {"network": (320, 480), "odd": (131, 97)}
CASES = 4


def scene(generator, size):
    """Makes clouds of several scales, and masks of them, as uint8."""
    planes = [
        sum(
            gaussian_filter(generator.standard_normal(size), sigma) * sigma
            for sigma in (1, 4, 16)
        )
        for _ in range(7)
    ]
    image = np.clip(128 + 60 * np.stack(planes[:3], -1), 0, 255).astype(np.uint8)
    smooth = [gaussian_filter(generator.standard_normal(size), 16) for _ in range(4)]
    return image, (np.stack(smooth, -1) > 0).astype(np.uint8)


def spied(name, call):
    """Calls, and returns what it gave and the arguments of the OpenCV function."""
    seen = []
    original = getattr(cv2, name)

    def spy(image, **arguments):
        seen.append(arguments)
        return original(image, **arguments)

    setattr(cv2, name, spy)
    try:
        return call(), seen[0]
    finally:
        setattr(cv2, name, original)


def grid_case(generator, image, masks):
    """Runs grid_distortion on an image and on masks."""
    factors = generator.uniform(0.7, 1.3, (2, 6))

    def distort(values, interpolation):
        return functional.grid_distortion(values, 5, *factors, interpolation)

    moved, seen = spied("remap", lambda: distort(image, cv2.INTER_LINEAR))
    return {
        "factors": factors,
        "map": np.stack([seen["map2"], seen["map1"]]),
        "image": moved,
        "masks": distort(masks, cv2.INTER_NEAREST),
    }


def elastic_case(generator, image, masks):
    """Runs elastic_transform with its defaults on an image and on masks."""
    seed = int(generator.integers(1 << 31))
    size = image.shape[:2]
    # Three corners 50 px off may fold a square smaller than 50 px.
    reach = 50 * min(size) // 320
    state = np.random.RandomState(seed)
    jitters = state.uniform(-reach, reach, (3, 2))
    noise = np.stack([state.rand(*size) * 2 - 1 for _ in range(2)])

    def distort(values, interpolation):
        state = np.random.RandomState(seed)
        return functional.elastic_transform(
            values, 1, 50, reach, interpolation, random_state=state
        )

    moved, seen = spied("remap", lambda: distort(image, cv2.INTER_LINEAR))
    _, affine = spied("warpAffine", lambda: distort(image, cv2.INTER_LINEAR))
    return {
        "jitters": jitters,
        "noise": noise,
        "matrix": affine["M"],
        "map": np.stack([seen["map2"], seen["map1"]]),
        "image": moved,
        "masks": distort(masks, cv2.INTER_NEAREST),
    }


def affine_case(generator, image, masks):
    """Runs shift_scale_rotate with a black border on an image and on masks."""
    angle, scale = generator.uniform(-30, 30), generator.uniform(0.8, 1.2)
    shifts = generator.uniform(-0.1, 0.1, 2)

    def move(values, interpolation):
        return functional.shift_scale_rotate(
            values, angle, scale, *shifts, interpolation, cv2.BORDER_CONSTANT, 0
        )

    return {
        "angle": angle,
        "scale": scale,
        "shifts": shifts,
        "image": move(image, cv2.INTER_LINEAR),
        "masks": move(masks, cv2.INTER_NEAREST),
    }


def addons(generator):
    """Runs the addons' dense warp and connected components."""
    images = generator.uniform(0, 255, (3, 40, 56, 3)).astype(np.float32)
    flow = 6 * generator.standard_normal((3, 40, 56, 2)).astype(np.float32)
    planes = np.stack(
        [generator.random((48, 64)) < share for share in (0.1, 0.4, 0.55, 0.6, 0.9)]
        + [np.zeros((48, 64), bool), np.ones((48, 64), bool)]
    )
    return {
        "warp_images": images,
        "warp_flow": flow,
        "warp_result": tfa.image.dense_image_warp(images, flow).numpy(),
        "planes": planes,
        "labels": tfa.image.connected_components(tf.constant(planes)).numpy(),
    }


def main(out):
    """Writes `<size>_<distortion>_<array>`, CASES of each, and the addons' arrays."""
    generator = np.random.default_rng(0)
    arrays = addons(generator)
    for name, size in SIZES.items():
        image, masks = scene(generator, size)
        arrays |= {f"{name}_image": image, f"{name}_masks": masks}
        kinds = {"grid": grid_case, "elastic": elastic_case, "affine": affine_case}
        for kind, case in kinds.items():
            cases = [case(generator, image, masks) for _ in range(CASES)]
            for key in cases[0]:
                arrays[f"{name}_{kind}_{key}"] = np.stack([one[key] for one in cases])
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
