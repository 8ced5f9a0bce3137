"""Chooses the post-processing rule that scores best on held-out predictions.

Modules, in reading order: `tune` (one run's rule), `search` (which rule is best),
`level_sets` (components at every threshold), `area_curves` (Dice by minimum area).
"""
