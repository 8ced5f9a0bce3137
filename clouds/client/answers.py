"""The answers of a server, checked."""

from typing import NamedTuple

from clouds import rle
from clouds.client.retry import Rejected
from clouds.config.checks import check_labels
from clouds.errors import InputError
from clouds.schema import CLOUDS, MaskSpec
from clouds.text import counted

_MAX_REASON = 500
"""Maximum letters of a server's error that are repeated."""


class Answer(NamedTuple):
    """The run-length code and the score of each label in an image, and the labels."""

    rle: list[str]
    scores: list[float]
    spec: MaskSpec = CLOUDS


def read(row: dict) -> Answer | Rejected:
    """Checks the answer for an image; puts the competition's labels in their order.

    Args:
      row: `rle`, `score`, `label` and `grid`, or the reason why there are none as
        `error`. Exports of earlier versions have no grid, and the first ones no labels.

    Returns:
      The answer, or the reason why there is none.

    Raises:
      KeyError, TypeError, ValueError: it is the answer of a model of another kind.
    """
    if "error" in row:
        return Rejected(str(row["error"])[:_MAX_REASON])
    texts, scores = row["rle"], row["score"]
    labels = row.get("label", list(CLOUDS.labels))
    labels = tuple(map(str, labels)) if isinstance(labels, list) else ()
    grid = tuple(map(int, row.get("grid", CLOUDS.grid)))
    if not len(texts) == len(scores) == len(labels):
        raise ValueError(
            f"{counted(len(texts), 'mask')} and {counted(len(scores), 'score')} of "
            f"{counted(len(labels), 'label')}"
        )
    spec = MaskSpec(check_labels(labels, "its answer"), grid)
    if sorted(labels) == sorted(CLOUDS.labels):
        spec = spec._replace(labels=CLOUDS.labels)
        order = [labels.index(label) for label in CLOUDS.labels]
        texts, scores = [texts[k] for k in order], [scores[k] for k in order]
    for label, text, score in zip(spec.labels, texts, scores, strict=True):
        if isinstance(score, bool) or not 0 <= score <= 1:
            return Rejected(f"the server's score of {label} is {score}, not in 0 to 1")
        try:
            rle.parse(text, grid, where=f"the server's {label}")
        except InputError as error:
            return Rejected(str(error))
    return Answer(texts, [round(score, 4) for score in scores], spec)
