"""Times a training step against segmentation-models on TensorFlow 2.15 in float32.

Batches of random images at 320x480, without augmentation: the network, BCE + Dice,
its gradients, Adam. `bin/test --oracle` makes the environment of the peer.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/train_step.py
"""

from lib import duel

# Of a pixel at 320x480: 18.4 G an image forward (reckoned from the layers), and twice
# that for the gradients of weights and of features.
MULTIPLY_ADDS = 3 * 18.4e9 / (320 * 480)

if __name__ == "__main__":
    duel.run("train", __doc__, MULTIPLY_ADDS, (0.58, 0.75))
