"""Evaluates runs: held-out predictions, their metrics, and the tuned rule.

Modules, in reading order: `evaluate` (the command), `held_out` (predictions on
validation images), `counts` (pixels per image and label), `scores` (metrics),
`bootstrap` (intervals), `summary` (tables), `results` (files), and the packages
`tuning` and `agreement`.
"""
