"""Scores the families of post-processing rules on held-out images, cross-fitted.

With PYTHONPATH=. :
  benchmarks/families.py --run runs/first --records tfrecords/clouds

Prints the Dice of each family on images that it was not fitted on, and that of the
choice among families, with labels judged together and each by its own images alone.
"""

import argparse

import numpy as np

from clouds.evaluation import held_out
from clouds.evaluation.tuning import cross_fit, families, level_sets, tune

_SEEDS = range(2)


def main():
    """Measures components once, then fits the families."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of the run")
    parser.add_argument("--records", required=True, help="folder of the records")
    parser.add_argument("--flips", action="store_true", help="average four views")
    options = parser.parse_args()
    predictions = held_out.load([options.run], options.records, flips=options.flips)
    presence, spec = [], predictions.spec
    levels = np.repeat(tune.LEVELS, len(spec.labels), axis=1)

    def measured():
        for batch in predictions.batches("measure"):
            presence.append(tune._baselines(batch, spec)[1])
            yield tune._measure(batch, spec.grid, True, levels)

    table = level_sets.join(measured())
    scores = np.concatenate(presence)
    print(f"{'family':30}", *spec.labels, "mean", sep="\t")
    for number, name in enumerate(families.FAMILIES):
        families.select = lambda dice, number=number: np.full(dice.shape[2], number)
        show(name, table, levels, scores)
    families.select = select
    show("chosen, labels together", table, levels, scores)
    families._SHARED = 0
    show("chosen, labels alone", table, levels, scores)


def show(name, table, levels, scores):
    """Prints the mean of a few divisions into folds."""
    dice = [
        cross_fit.cross_fit(table, levels, scores, step=tune.STEP, seed=seed)
        for seed in _SEEDS
    ]
    labels = np.mean([each.cross_fitted.mean(axis=0) for each in dice], axis=0)
    numbers = (f"{number:.4f}" for number in (*labels, labels.mean()))
    print(f"{name:30}", *numbers, sep="\t", flush=True)


select = families.select

if __name__ == "__main__":
    main()
