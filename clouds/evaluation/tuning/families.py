"""Families of rules, from the default to all conditions, and the choice among them.

A family says which numbers of a rule are tuned; the others keep their defaults. Levels
and N are as in `search`; weights are float64[N] of the images, 0 for those left out.
"""

from typing import NamedTuple

import numpy as np

from clouds.config.rule import NOTHING, Rule
from clouds.evaluation.tuning import area_curves, level_sets, search
from clouds.evaluation.tuning.level_sets import Components
from clouds.evaluation.tuning.search import Choice

FAMILIES = (
    "default",
    "threshold",
    "gate",
    "area",
    "threshold, gate",
    "peak",
    "area, gate",
    "peak, gate",
)
"""Families, the simplest first. `area` includes the threshold, and `peak` the area."""

_SHARED = 0.75
"""Weight of the mean over all labels, against a label's own, in the choice of a family.

On 542 real images the nested cross-fitted Dice is 0.609 with it, and 0.602 without it
(`benchmarks/families.py`).
"""

_GATES = 40
"""Number of presence thresholds that are tried, at equal steps of rank."""


class Fits(NamedTuple):
    """Choices of all families for one weighting of the images.

    Attributes:
      choices: choice of each family.
      dice: float64[F, N, C], Dice of each image by the choice of each family.
    """

    choices: list[Choice]
    dice: np.ndarray


class Fitter:
    """Fits all families for any weighting of the images.

    Args:
      table: result of `level_sets.join`.
      levels: float[T, C], levels of the components.
      presence: float[N, C], presence scores.
      scope: where the peak threshold must be exceeded (see `Rule`).
      step: step between the levels that are tried first; then, per label, the levels
        less than a step from the choice.
      default: rule without tuning; the notebook's if None.
    """

    def __init__(
        self, table: Components, levels, presence, scope, step: int, default=None
    ):
        self.table = table
        self.levels = levels
        self.presence = presence
        self.scope = scope
        self.step = step
        self.default = default or Rule()
        self.labels = table.truth.shape[1]
        self.absent = table.truth == 0
        self.places = np.arange(step - 1, len(levels), step)
        coarse = np.repeat(self.places[:, None], self.labels, axis=1)
        coarse = level_sets.subset(table, coarse)
        self.sorted = area_curves.sort(coarse, len(self.places), scope)
        self.by_label = [level_sets.of_label(table, k) for k in range(self.labels)]

    def fit(self, weights: np.ndarray, sizes) -> tuple[list[Fits], np.ndarray]:
        """Fits the families for several weightings.

        Args:
          weights: float64[W, N].
          sizes: A minimum areas of the returned grid.

        Returns:
          The fits; float64[C, S, A], the mean Dice of the last weighting by the S
          thresholds that are tried first and the minimum areas, without a peak.
        """
        default_size = self.default.min_sizes[0]
        sizes = np.append(np.asarray(list(sizes)), default_size)
        best, grids = area_curves.curves(self.sorted, weights, sizes)
        fits = [self._fit_one(*each) for each in zip(best, grids, weights, strict=True)]
        return fits, grids[-1, ..., :-1]

    def _fit_one(self, best, grid, weight) -> Fits:
        levels = self.levels[self.places]
        bases = {
            "default": self._default(),
            "threshold": self._threshold(grid[..., -1]),
            # The first peak threshold stands for none.
            "area": search.choose(self.sorted, levels, best[:1], weight),
            "peak": search.choose(self.sorted, levels, best, weight),
        }
        bases["area"] = self._refine(bases["area"], weight, peaks=False)
        bases["peak"] = self._refine(bases["peak"], weight, peaks=True)
        present = weight @ ~self.absent > 0
        for name in ("area", "peak"):
            bases[name] = self._with_defaults(bases[name], present)
        choices, dice = {}, {}
        for name, choice in bases.items():
            scores = search.score(self.table, self.levels, choice)
            gate = self._gate(scores, weight)
            gated = "gate" if name == "default" else f"{name}, gate"
            choices[name] = choice._replace(presence=(0.0,) * self.labels)
            dice[name] = scores
            choices[gated] = choice._replace(presence=tuple(gate.tolist()))
            dice[gated] = np.where(self.presence > gate, scores, self.absent)
        return Fits(
            [choices[f] for f in FAMILIES], np.stack([dice[f] for f in FAMILIES])
        )

    def _default(self) -> Choice:
        rule = self.default
        nearest = np.abs(self.levels - rule.thresholds[0]).argmin(axis=0)
        thresholds = self.levels[nearest, np.arange(self.labels)]
        return self._choice(thresholds, (rule.min_sizes[0],) * self.labels)

    def _threshold(self, dice) -> Choice:
        default = self._default()
        chosen = self.levels[self.places[dice.argmax(axis=1)], np.arange(self.labels)]
        present = ~self.absent.all(axis=0)
        thresholds = np.where(present, chosen, default.thresholds)
        return self._choice(thresholds, default.min_sizes)

    def _choice(self, thresholds, min_sizes) -> Choice:
        nothing = (0.0,) * self.labels
        thresholds = tuple(np.asarray(thresholds).tolist())
        return Choice(thresholds, nothing, tuple(min_sizes), self.scope, nothing)

    def _refine(self, choice, weights, *, peaks: bool) -> Choice:
        """Searches each label again among the levels near its choice."""
        options = {"weights": weights, "scope": self.scope, "sizes": ()}
        refined = []
        for label, (table, *chosen) in enumerate(
            zip(self.by_label, *search.places(self.levels, choice), strict=True)
        ):
            near = np.unique(np.add.outer(chosen, np.arange(1 - self.step, self.step)))
            near = near[(near >= 0) & (near < len(self.levels))]
            part = level_sets.subset(table, near[:, None])
            own = self.levels[near, label, None]
            refined.append(search.search(part, own, peaks=peaks, **options).choice)
        fields = ([field[0] for field in each[:3]] for each in refined)
        dice = tuple(each.dice[0] for each in refined)
        return Choice(*zip(*fields, strict=True), self.scope, dice)

    def _with_defaults(self, choice, present) -> Choice:
        default = self._default()
        sizes = np.where(present, choice.min_sizes, default.min_sizes)
        drawn = present & (sizes != NOTHING)
        return choice._replace(
            thresholds=tuple(
                np.where(drawn, choice.thresholds, default.thresholds).tolist()
            ),
            tops=tuple(np.where(drawn, choice.tops, 0.0).tolist()),
            min_sizes=tuple(sizes.tolist()),
        )

    def _gate(self, dice, weight) -> np.ndarray:
        """Returns the presence threshold of highest mean Dice, float64[C]; 0 for none.

        Below it masks are empty: the Dice of an image is then 1 or 0.
        """
        rows = np.flatnonzero(weight)
        order = rows[np.argsort(self.presence[rows], axis=0)]
        columns = np.arange(self.labels)
        gain = (self.absent[order, columns] - dice[order, columns]).cumsum(axis=0)
        gain = np.concatenate([np.zeros((1, self.labels)), gain])
        counts = np.unique(
            np.linspace(0, len(rows), _GATES, endpoint=False).astype(int)
        )
        removed = counts[gain[counts].argmax(axis=0)]
        ordered = self.presence[order, columns]
        above = ordered[removed, columns]
        below = ordered[np.maximum(removed - 1, 0), columns]
        return np.where(removed > 0, (above + below) / 2, 0.0)


def select(dice: np.ndarray) -> np.ndarray:
    """Chooses a family per label: the simplest within a standard error of the best.

    The standard error is that of the mean difference to the best family (one-standard-
    error rule of Breiman et al. 1984, for paired differences). As the images of one
    label are few, a label's Dice is averaged with that of all labels.

    Args:
      dice: float64[F, N, C], Dice of images that the families were not fitted on.

    Returns:
      int64[C], index in `FAMILIES`; the default with fewer than two images.
    """
    if dice.shape[1] < 2:
        return np.zeros(dice.shape[2], np.int64)
    dice = (1 - _SHARED) * dice + _SHARED * dice.mean(axis=2, keepdims=True)
    best = dice.mean(axis=1).argmax(axis=0)
    labels = np.arange(dice.shape[2])
    behind = dice[best, :, labels].T - dice
    error = behind.std(axis=1, ddof=1) / np.sqrt(dice.shape[1])
    return (behind.mean(axis=1) <= error).argmax(axis=0)


def combine(fits: Fits, families: np.ndarray) -> tuple[Choice, np.ndarray]:
    """Combines the choices of one family per label.

    Args:
      fits: fits of all families.
      families: int64[C], index in `FAMILIES`.

    Returns:
      The choice, and float64[N, C], the Dice of each image by it.
    """
    labels = range(len(families))
    fields = {
        name: tuple(getattr(fits.choices[families[k]], name)[k] for k in labels)
        for name in ("thresholds", "tops", "min_sizes", "presence", "dice")
    }
    choice = fits.choices[0]._replace(**fields)
    return choice, fits.dice[families, :, labels].T
