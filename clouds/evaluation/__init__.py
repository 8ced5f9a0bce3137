"""How good a run is: held-out predictions, their scores, and the tuned rule.

Modules, in reading order: `evaluate` (the command), `held_out` (predictions on
validation images), `counts` (pixels per image and label), `scores` (Dice, average
precision), `summary` (tables), `results` (files), and the package `tuning`.
"""
