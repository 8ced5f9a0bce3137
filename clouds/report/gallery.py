"""Images of an evaluation with the outlines of their true and predicted masks."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from clouds.config.rule import Rule
from clouds.evaluation import scores
from clouds.evaluation.counts import Images
from clouds.evaluation.held_out import Predictions
from clouds.evaluation.results import Evaluation
from clouds.plots.false_colour import to_rgb
from clouds.postprocess import apply
from clouds.prediction import polygons
from clouds.runs import run_folder
from clouds.schema import CLOUDS

KINDS = {
    "best": "with the highest Dice; among equals, with the largest masks",
    "worst": "with the lowest Dice",
    "most uncertain": "whose scores are closest to 0.5, on average over labels",
    "random": "drawn from the others",
}
"""Kinds of images, and how each is chosen."""

_MASKS = ("raw_masks", "masks")
_JPEG_QUALITY = 80
_MIN_DEPTH = 8
_NAME_SIZE = 80, 19
_NAME_STEPS = (0, 1, -1, 2, -2, 3, -3)


class Picture(NamedTuple):
    """An image and its masks, on the submission's grid.

    Attributes:
      name: name of the image.
      data: image as a data URI.
      size: height and width of the grid.
      outlines: for truth, raw (thresholded only) and post, SVG path data per label;
        empty without a mask.
      places: the same for the middle of the label's name, (x, y), or None.
      dice: Dice of the post-processed mask of each label.
      labels: names of the labels.
    """

    name: str
    data: str
    size: tuple[int, int]
    outlines: dict[str, list[str]]
    places: dict[str, list[tuple[int, int] | None]]
    dice: list[float]
    labels: Sequence[str] = CLOUDS.labels

    @property
    def described(self) -> str:
        """Description for screen readers."""

        def names(kind):
            pairs = zip(self.labels, self.outlines[kind], strict=True)
            return ", ".join(name for name, outline in pairs if outline) or "nothing"

        return f"{self.name}: true {names('truth')}; predicted {names('post')}."


def choose(evaluation: Evaluation, count: int, *, seed: int = 0) -> dict[str, list]:
    """Chooses images of each kind, none twice.

    Args:
      evaluation: evaluation of N images.
      count: maximum number of images of each kind.
      seed: seed of the random ones.

    Returns:
      Names by the keys of `KINDS`.
    """
    images = evaluation.images
    names, dice = np.array(images.names), _dice(images).mean(axis=1)
    uncertainty = np.abs(images.score - 0.5).mean(axis=1)
    area = images.truth.sum(axis=1)
    orders = {
        "best": np.lexsort([-area, -dice]),
        "worst": np.lexsort([-area, dice]),
        "most uncertain": np.argsort(uncertainty, kind="stable"),
        "random": np.random.default_rng(seed).permutation(len(names)),
    }
    taken, chosen = set(), {}
    for kind in KINDS:
        free = [k for k in orders[kind].tolist() if k not in taken][:count]
        taken.update(free)
        chosen[kind] = names[free].tolist()
    return chosen


def pictures(
    predictions: Predictions, evaluation: Evaluation, names: list[str]
) -> dict[str, Picture]:
    """Predicts images as the evaluation did, and outlines their masks.

    Args:
      predictions: predictions that were evaluated.
      evaluation: their evaluation.
      names: names of the images.

    Returns:
      Pictures by name.

    Raises:
      InputError: a run or a shard cannot be read.
    """
    rule, size = Rule(**evaluation.facts["rule"]), predictions.truth_size
    images, trained = evaluation.images, run_folder.settings(predictions.runs[0])
    dice = dict(zip(images.names, _dice(images).tolist(), strict=True))
    result = {}
    for batch in predictions.pick(names):
        options = {"class_scores": batch.class_scores, "outputs": _MASKS}
        drawn = apply(batch.probabilities, rule, batch.images, size, **options)
        raw, post = (masks.numpy() for masks in drawn.values())
        for k, name in enumerate(batch.names):
            masks = {"truth": batch.truth[k], "raw": raw[k], "post": post[k]}
            planes = {
                kind: list(np.moveaxis(mask, -1, 0).astype(bool))
                for kind, mask in masks.items()
            }
            outlines = {
                kind: [outline(polygons.trace(plane)) for plane in some]
                for kind, some in planes.items()
            }
            picture = to_rgb(batch.images[k], trained.bands, trained.show_bands)
            places, data = _places(planes, size), _data_uri(picture)
            result[name] = Picture(
                name, data, size, outlines, places, dice[name], evaluation.labels
            )
    return result


def _dice(images: Images) -> np.ndarray:
    return scores.dice(images.truth, images.post, images.post_shared)


def outline(polygons: list[list[np.ndarray]]) -> str:
    """Formats polygons as SVG path data.

    Args:
      polygons: result of `polygons.trace`, whose edges are alternately horizontal and
        vertical.

    Returns:
      Path data that leaves holes open by either fill rule.
    """
    parts = []
    for ring in (ring for rings in polygons for ring in rings):
        steps = np.diff(ring, axis=0)[:-1]
        moves = (f"h{x}" if x else f"v{y}" for x, y in steps.tolist())
        parts.append(f"M{ring[0][0]} {ring[0][1]}{''.join(moves)}z")
    return "".join(parts)


def _places(planes: dict, size) -> dict[str, list[tuple[int, int] | None]]:
    """Places names within their masks, without overlaps."""
    # A post-processed mask is named instead of the raw one.
    pairs = zip(planes["raw"], planes["post"], strict=True)
    planes = planes | {"raw": [raw & ~post.any() for raw, post in pairs]}
    taken = []
    return {
        kind: [_place(plane, size, taken) for plane in some]
        for kind, some in planes.items()
    }


def _place(mask: np.ndarray, size, taken: list) -> tuple[int, int] | None:
    """Returns the deepest pixel of a mask, or one above or below; None for specks."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    if depth.max() < _MIN_DEPTH:
        return None
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    width, height = _NAME_SIZE
    x = int(np.clip(x, width / 2, size[1] - width / 2))
    for step in _NAME_STEPS:
        place = x, int(np.clip(y + step * height, height, size[0] - height / 2))
        if not any(_overlap(place, other) for other in taken):
            break
    taken.append(place)
    return place


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    pairs = zip(one, other, _NAME_SIZE, strict=True)
    return all(abs(a - b) < size for a, b, size in pairs)


def _data_uri(image: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    contents = cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(contents).decode()}"
