"""The post-processing rule: how probabilities become masks, with numbers per label."""

from dataclasses import dataclass
from typing import Literal, get_args

from clouds.errors import InputError
from clouds.schema import CLOUDS, MaskSpec

Scope = Literal["component", "image"]
Grid = Literal["submission", "network"]

NOTHING = 2**31 - 1
"""Minimum area that no component exceeds, for a label that is better never drawn."""

_COUNT = len(CLOUDS.labels)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How masks are thresholded and cleaned; by default as the notebook does.

    Attributes:
      thresholds: per label, the probability that a pixel of the mask exceeds.
      min_sizes: per label, the minimum area: 8-connected components of more pixels
        are kept.
      tops: per label, the peak threshold: the probability that must be exceeded
        somewhere for a component to be kept. With threshold and area this is the
        triplet rule of the competition's 69th place. None: no such condition.
      presence: per label, the score that the label's presence must exceed for its mask
        to be drawn (see `apply.presence_scores`). None: no such gate.
      force_best: whether the label of highest score is drawn where no label passes the
        gate.
      scope: where the peak threshold must be exceeded: in the component itself, or
        anywhere in the image by the same label.
      gap: whether masks are cut where the image is black (orbit gap), as the
        competition's are.
      grid: grid on which components are cleaned and measured: the submission's
        (`MaskSpec.grid`), or as in the notebook the network's, before masks are
        resized.
    """

    thresholds: tuple[float, ...] = (0.5,) * _COUNT
    min_sizes: tuple[int, ...] = (10000,) * _COUNT
    tops: tuple[float, ...] | None = None
    presence: tuple[float, ...] | None = None
    force_best: bool = False
    scope: Scope = "component"
    gap: bool = True
    grid: Grid = "submission"

    def __post_init__(self):
        """Checks the numbers, and converts lists (of JSON) to tuples."""
        self._check("Thresholds", "thresholds", highest=1)
        self._check("Minimum areas", "min_sizes")
        self._check("Peak thresholds", "tops", highest=1)
        self._check("Presence thresholds", "presence", highest=1)
        valid = {"scope": get_args(Scope), "grid": get_args(Grid)}
        valid |= {"gap": (False, True), "force_best": (False, True)}
        for name, choices in valid.items():
            value = getattr(self, name)
            if type(value) is not type(choices[0]) or value not in choices:
                allowed = " or ".join(map(str, choices))
                raise InputError(f"{name} must be {allowed}. Received: {value}.")
        if self.force_best and self.presence is None:
            raise InputError(
                "The best label can be forced only with presence thresholds. Received: "
                "none. Give them, or leave it out."
            )

    @classmethod
    def default(cls, spec: MaskSpec) -> "Rule":
        """Returns the rule without tuning.

        For the competition's labels it is the notebook's. For others it only applies
        thresholds: objects may be of any size, and black pixels part of them.
        """
        if spec == CLOUDS:
            return cls()
        count = len(spec.labels)
        return cls(thresholds=(0.5,) * count, min_sizes=(0,) * count, gap=False)

    def check_labels(self, spec: MaskSpec, source: str) -> None:
        """Checks that the rule has numbers for each label.

        Raises:
          InputError: it has fewer or more.
        """
        if len(self.thresholds) != len(spec.labels):
            raise InputError(
                f"{source} has numbers for {len(self.thresholds)} labels, not for "
                f"{', '.join(spec.labels)}. Remove it, and tune again."
            )

    def _check(self, title: str, name: str, highest: float = float("inf")) -> None:
        values = getattr(self, name)
        if values is None:
            return
        object.__setattr__(self, name, tuple(values))
        count = len(self.thresholds)
        if len(values) != count or not all(0 <= value <= highest for value in values):
            allowed = "from 0 to 1" if highest == 1 else "of 0 or more"
            raise InputError(
                f"{title} must be {count} numbers {allowed}. Received: {list(values)}."
            )

    def describe_label(self, label: int) -> str:
        """Describes the conditions of one label.

        Args:
          label: index of the label.
        """
        size = self.min_sizes[label]
        if size == NOTHING:
            return area(size)
        peak = self.tops and self.tops[label]
        peak = f", peak above {peak:.2f}" if peak else ""
        gate = self.presence and self.presence[label]
        gate = f", presence above {gate:.2f}" if gate else ""
        return (
            f"above {self.thresholds[label]:.2f}{peak}, area above {area(size)}{gate}"
        )


def area(size: float) -> str:
    """Formats a minimum area in pixels."""
    return "nothing drawn" if size == NOTHING else f"{size:,g}"


def describe_source(source: str, run: str) -> str:
    """Describes by which rule masks are drawn.

    Args:
      source: default, tuned, flags, or tuned and flags.
      run: folder of the run that a rule was tuned for.
    """
    rule = {
        "default": "the default rule; bin/evaluate --tune chooses one for the run",
        "flags": "the rule given by the flags",
        "tuned": f"the rule tuned for {run}",
        "tuned and flags": f"the rule tuned for {run}, changed by the flags",
    }
    return f"Post-processed with {rule[source]}."
