"""Settings from probabilities to masks, shared by several commands."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from clouds.config import rule
from clouds.config.checks import not_negative, positive, within_one
from clouds.config.fields import LocalFolders, Numbers, flag, shown
from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.schema import MaskSpec

_RULE_FLAGS = ("threshold", "min_area", "peak_threshold", "peak_scope")
_RULE_FLAGS += ("presence", "force_best", "orbit_gap", "clean_on")
_TUNED = "default: the run's tuned rule, or"


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Settings of the commands that turn a run's probabilities into masks."""

    run: LocalFolders = flag(
        "folder of a run, or of several runs whose predictions are averaged",
        section="network",
    )
    flips: bool = flag(
        "average the predictions of four views (test-time augmentation by flips)", False
    )
    threshold: Numbers | None = flag(
        "probability above which a pixel belongs to the mask, one number or one per "
        f"label ({_TUNED} 0.5)",
        None,
        section="masks",
    )
    min_area: Numbers | None = flag(
        "minimum area in pixels: only larger components are kept, one number or one "
        f"per label ({_TUNED} 10000 with the competition's labels, else 0)",
        None,
        renamed_from="min_size",
    )
    peak_threshold: Numbers | None = flag(
        "probability that at least one pixel of a component must exceed for it to be "
        f"kept, one number or one per label ({_TUNED} none)",
        None,
        renamed_from="top",
    )
    peak_scope: rule.Scope | None = flag(
        "where the peak threshold must be exceeded: in the component itself, or "
        f"anywhere in the image by the same label ({_TUNED} component)",
        None,
        renamed_from="top_scope",
    )
    presence: Numbers | None = flag(
        "presence threshold: a label's mask is left empty unless the label's presence "
        "score is higher; the score is the mean of the highest 9.5 % of its "
        "probabilities, averaged with the class head's score if the run has one; one "
        f"number or one per label ({_TUNED} none)",
        None,
    )
    force_best: bool | None = flag(
        "keep the mask of the label with the highest presence score in images where no "
        f"label passes its presence threshold ({_TUNED} no)",
        None,
    )
    orbit_gap: Literal["cut", "keep"] | None = flag(
        "masks in the gap between two orbits, where the image is black: cut removes "
        f"them, keep leaves them ({_TUNED} cut with the competition's labels, else "
        "keep)",
        None,
        renamed_from="gap",
    )
    clean_on: rule.Grid | None = flag(
        "grid on which small components are removed and --min-area is counted: that "
        "of the submission, 350x525 with the competition's labels, or that of the "
        f"network, before masks are resized, as in the notebook ({_TUNED} submission)",
        None,
    )

    def __post_init__(self):
        """Rejects values out of range."""
        for name, check in (
            ("threshold", within_one),
            ("min_area", not_negative),
            ("peak_threshold", within_one),
            ("presence", within_one),
        ):
            if getattr(self, name) is not None:
                check(self, name)

    def rule(self, tuned: Rule | None, spec: MaskSpec) -> Rule:
        """Returns the rule for the masks: the flags, else the tuned rule.

        Args:
          tuned: rule of the run, if it has one.
          spec: labels of the run.

        Raises:
          InputError: a flag has numbers for another number of labels.
        """
        given = {
            "thresholds": self._per_label("threshold", spec),
            "min_sizes": self._per_label("min_area", spec),
            "tops": self._per_label("peak_threshold", spec),
            "presence": self._per_label("presence", spec),
            "force_best": self.force_best,
            "scope": self.peak_scope,
            "gap": None if self.orbit_gap is None else self.orbit_gap == "cut",
            "grid": self.clean_on,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(tuned or Rule.default(spec), **given)

    def _per_label(self, name: str, spec: MaskSpec) -> Numbers | None:
        numbers = getattr(self, name)
        if numbers is None or len(numbers) == len(spec.labels):
            return numbers
        if len(numbers) == 1:
            return numbers * len(spec.labels)
        raise InputError(
            f"--{name.replace('_', '-')} must be one number, or one for each of "
            f"{', '.join(spec.labels)}. Received: {shown(numbers, Numbers)}."
        )

    def rule_source(self, tuned: bool) -> str:
        """Returns the source of that rule: default, tuned, flags, tuned and flags."""
        flags = any(getattr(self, name) is not None for name in _RULE_FLAGS)
        sources = [*["tuned"] * tuned, *["flags"] * flags]
        return " and ".join(sources) or "default"


@dataclass(frozen=True, kw_only=True)
class BatchedMasks(Masks):
    """The same, for commands that predict batches of images."""

    batch_size: int = flag("number of images per batch", 16)

    def __post_init__(self):
        """Rejects values out of range."""
        super().__post_init__()
        positive(self, "batch_size")
