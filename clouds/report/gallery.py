"""A few images of an evaluation, with what is true and what was predicted, outlined."""

import base64
from typing import NamedTuple

import cv2
import numpy as np

from clouds import schema
from clouds.config.rule import Rule
from clouds.evaluation.held_out import Batch, Trial
from clouds.evaluation.results import Evaluation
from clouds.postprocess import apply
from clouds.prediction import polygons

KINDS = {
    "best": "of the highest Dice, of equal ones those with the largest masks",
    "worst": "of the lowest Dice",
    "most uncertain": "whose scores lie nearest to 0.5, on average of the labels",
    "random": "drawn from the others",
}
"""What images are shown, and how each kind is chosen."""

_JPEG_QUALITY = 80
_LEAST_DEPTH = 8
_NAME = 80, 19
_STEPS = (0, 1, -1, 2, -2, 3, -3)


class Picture(NamedTuple):
    """An image and its masks, on the grid of a submission.

    Attributes:
      name: of the image.
      data: the image as a data URI.
      size: height and width of the grid.
      outlines: of truth, raw and post the outline of each label as SVG path data,
        empty where there is no mask.
      places: the same, where the middle of the label's name is to stand, (x, y), if it
        is named.
      dice: of each label, the post-processed mask's.
    """

    name: str
    data: str
    size: tuple[int, int]
    outlines: dict[str, list[str]]
    places: dict[str, list[tuple[int, int] | None]]
    dice: list[float]

    @property
    def described(self) -> str:
        """A sentence for those who do not see it."""

        def named(kind):
            pairs = zip(schema.LABELS, self.outlines[kind], strict=True)
            return ", ".join(name for name, outline in pairs if outline) or "nothing"

        return f"{self.name}: true {named('truth')}; predicted {named('post')}."


def choose(evaluation: Evaluation, count: int, *, seed: int = 0) -> dict[str, list]:
    """Chooses images of each kind, none twice.

    Args:
      evaluation: of N images.
      count: how many of each kind at most.
      seed: of those that are drawn.

    Returns:
      Names by the kinds of `KINDS`, fewer where there are no more images.
    """
    images = evaluation.images
    names, dice = np.array(images.names), evaluation.dice.to_numpy().mean(axis=1)
    unsure = np.abs(images.score - 0.5).mean(axis=1)
    drawn = np.random.default_rng(seed).permutation(len(names))
    largest = images.truth.sum(axis=1)
    orders = {
        "best": np.lexsort([-largest, -dice]),
        "worst": np.lexsort([-largest, dice]),
        "most uncertain": np.argsort(unsure, kind="stable"),
        "random": drawn,
    }
    taken, chosen = set(), {}
    for kind in KINDS:
        free = [k for k in orders[kind].tolist() if k not in taken][:count]
        taken.update(free)
        chosen[kind] = names[free].tolist()
    return chosen


def pictures(
    trial: Trial, evaluation: Evaluation, names: list[str]
) -> dict[str, Picture]:
    """Predicts images as the evaluation did, and outlines their masks.

    Args:
      trial: what was evaluated.
      evaluation: that came of it.
      names: of the images.

    Returns:
      Pictures by name.

    Raises:
      InputError: a run or a shard cannot be read.
    """
    rule = Rule(**evaluation.facts["rule"])
    found = {}
    for batch in trial.pick(names):
        for picture in _outlined(batch, rule, trial.truth_size, evaluation):
            found[picture.name] = picture
    return found


def _outlined(batch: Batch, rule: Rule, size, evaluation: Evaluation):
    raw, post = apply.draw(batch.probabilities, rule, batch.images, size)
    masks = {"truth": batch.truth, "raw": raw.numpy(), "post": post.numpy()}
    for k, name in enumerate(batch.names):
        planes = {
            kind: np.moveaxis(drawn[k], -1, 0).astype(bool)
            for kind, drawn in masks.items()
        }
        outlines = {
            kind: [outline(polygons.trace(plane)) for plane in some]
            for kind, some in planes.items()
        }
        # Where the post-process leaves something, its name is enough.
        pairs = zip(planes["raw"], planes["post"], strict=True)
        planes["raw"] = [plane & ~left.any() for plane, left in pairs]
        places = _places(planes, size)
        dice = evaluation.dice.loc[name].tolist()
        yield Picture(name, _as_uri(batch.images[k]), size, outlines, places, dice)


def outline(traced: list[list[np.ndarray]]) -> str:
    """Writes polygons as SVG path data.

    Args:
      traced: from `polygons.trace`, whose edges are level or upright in turn.

    Returns:
      Path data; holes are left open by either fill rule.
    """
    parts = []
    for ring in (ring for rings in traced for ring in rings):
        steps = np.diff(ring, axis=0)[:-1]
        moves = (f"h{x}" if x else f"v{y}" for x, y in steps.tolist())
        parts.append(f"M{ring[0][0]} {ring[0][1]}{''.join(moves)}z")
    return "".join(parts)


def _places(planes: dict, size) -> dict[str, list[tuple[int, int] | None]]:
    """Where names stand: within their masks, and off each other."""
    taken, places = [], {}
    for kind, some in planes.items():
        places[kind] = [_place(plane, size, taken) for plane in some]
    return places


def _place(mask: np.ndarray, size, taken: list) -> tuple[int, int] | None:
    """The pixel deepest within a mask, or one above or below; None of a mere speck."""
    inside = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    if depth.max() < _LEAST_DEPTH:
        return None
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    width, height = _NAME
    x = int(np.clip(x, width / 2, size[1] - width / 2))
    for step in _STEPS:
        place = x, int(np.clip(y + step * height, height, size[0] - height / 2))
        if not any(_meet(place, other) for other in taken):
            break
    taken.append(place)
    return place


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return all(abs(a - b) < s for a, b, s in zip(one, other, _NAME, strict=True))


def _as_uri(image: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    contents = cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(contents).decode()}"
