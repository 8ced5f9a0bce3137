"""The intersection over union (IoU) of masks, by the rule of Rasp et al. (2020).

For each image and label, the IoU of two annotators is undefined if neither has the
label, and 0 if one has it.
"""

import numpy as np

AGREE = 0.1
"""IoU above which two annotators agree."""


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the IoU of two annotators of an image.

    Args:
      one: bool[H, W, C].
      other: bool[H, W, C].

    Returns:
      float64[C]; NaN where undefined.
    """
    both = (one & other).sum((0, 1))
    either = (one | other).sum((0, 1))
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


class Sums:
    """Sums of the IoU of pairs, per image and label."""

    def __init__(self, images: int, labels: int):
        """Starts with no pair."""
        self.defined, self.iou, self.agreeing = np.zeros((3, images, labels))

    def add(self, image: int, values: np.ndarray) -> None:
        """Adds a pair.

        Args:
          image: number of the image.
          values: float64[C], from `iou`.
        """
        is_defined = ~np.isnan(values)
        self.defined[image] += is_defined
        self.iou[image] += np.where(is_defined, values, 0)
        self.agreeing[image] += is_defined & (np.nan_to_num(values) > AGREE)

    def means(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns mean IoU and share of agreement, as `bootstrap.intervals` takes them.

        Args:
          weights: float64[F, N], weights of the images.

        Returns:
          float64[F, C] by name; NaN where no pair is defined.
        """
        pairs = weights @ self.defined
        safe = np.where(pairs > 0, pairs, np.nan)
        return {
            "iou": weights @ self.iou / safe,
            "agree": weights @ self.agreeing / safe,
        }
