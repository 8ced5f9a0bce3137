"""Chooses the post-processing rule that scores best on held-out predictions.

Modules, in reading order: `tune` (the rule of runs), `cross_fit` (its score on unseen
images), `families` (which of its numbers are tuned), `search` (the best numbers),
`level_sets` (components at every threshold), `area_curves` (Dice by minimum area).
"""
