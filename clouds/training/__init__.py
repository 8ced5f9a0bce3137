"""Trains the network on records.

Modules, in reading order: `train` (the command), `trainer` (the model with its
augmentation, and the session that fits it), `augment` and `warp` (augmentation on the
device), `optimizers`, `distribution` (devices and hosts), `replicas` (this device
among them), `callbacks`, `loggers`, `trackers` (MLflow, W&B).
"""
