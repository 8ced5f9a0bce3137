"""The network, in plain Keras.

Modules, in reading order: `unet`, `resnet` (its encoder), `layers` (fast equivalents
of Keras's layers), `pretrained` (weights of other files).
"""
