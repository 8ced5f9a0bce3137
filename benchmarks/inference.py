"""Times inference against segmentation-models on TensorFlow 2.15 in float32.

Batches of random images at 320x480, to probabilities. `bin/test --oracle` makes the
environment of the peer.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/inference.py --rounds 20
"""

from lib import duel

MULTIPLY_ADDS = 18.4e9 / (320 * 480)

if __name__ == "__main__":
    duel.run("infer", __doc__, MULTIPLY_ADDS, (0.53, 0.75))
