"""The network, written in plain Keras.

Modules, in reading order: `unet`, `resnet` (its encoder), `layers` (fast equivalents
of Keras's), `pretrained` (weight files of others).
"""
