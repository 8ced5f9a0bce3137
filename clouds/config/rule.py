"""The rule by which probabilities become masks: a number a label, in their order."""

from dataclasses import dataclass
from typing import Literal

from clouds import schema
from clouds.errors import InputError

Scope = Literal["component", "image"]
Grid = Literal["submission", "network"]

NOTHING = 2**31 - 1
"""A minimum size that no component exceeds, of a label better left undrawn."""

_COUNT = len(schema.LABELS)


def told(source: str, folder: str) -> str:
    """Says by which rule masks are drawn.

    Args:
      source: default, tuned, flags, or tuned and flags.
      folder: of the run that a rule was tuned for.
    """
    by = {
        "default": "by the default rule; bin/evaluate --tune chooses one for the run",
        "flags": "by the rule that the flags give",
        "tuned": f"by the rule tuned for {folder}",
        "tuned and flags": f"by the rule tuned for {folder} and by the flags",
    }
    return f"Masks are drawn {by[source]}."


def area(size: float) -> str:
    """Says a minimum size in pixels, or that nothing is drawn."""
    return "nothing drawn" if size == NOTHING else f"{size:,g}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How masks are drawn and cleaned.

    Attributes:
      thresholds: pixels strictly above belong to the mask.
      min_sizes: 8-connected components of strictly more pixels are kept.
      tops: what must be exceeded somewhere for a component to stay: with threshold
        and size the triplet rule of the competition's 69th place; None asks nothing.
      scope: where the top must be reached: in the component itself, or anywhere in
        the image by the same label.
      gap: whether masks are cut where the image is black, as the truth is.
      grid: on which components are cleaned and counted: the submission's, of 350x525,
        or as in the notebook the network's, before the masks are resized.
    """

    thresholds: tuple[float, ...] = (0.5,) * _COUNT
    min_sizes: tuple[int, ...] = (10000,) * _COUNT
    tops: tuple[float, ...] | None = None
    scope: Scope = "component"
    gap: bool = True
    grid: Grid = "submission"

    def __post_init__(self):
        """Refuses what cannot be, and brings JSON's lists to tuples."""
        for name, highest in (("thresholds", 1), ("tops", 1), ("min_sizes", None)):
            values = getattr(self, name)
            if values is None:
                continue
            object.__setattr__(self, name, tuple(values))
            in_range = all(v >= 0 and (highest is None or v <= highest) for v in values)
            if len(values) != _COUNT or not in_range:
                raise InputError(
                    f"{name.replace('_', ' ').capitalize()} must be {_COUNT} numbers "
                    f"{'of 0 or more' if highest is None else 'from 0 to 1'}. "
                    f"Received: {list(values)}."
                )

    def of_label(self, label: int) -> str:
        """Says what a label's numbers are.

        Args:
          label: its number, in the order of `schema.LABELS`.
        """
        size = self.min_sizes[label]
        if size == NOTHING:
            return area(size)
        top = f", top {self.tops[label]:.2f}" if self.tops and self.tops[label] else ""
        return f"above {self.thresholds[label]:.2f}{top}, area above {area(size)}"
