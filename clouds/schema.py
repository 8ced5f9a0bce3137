"""Labels, grids and bands: the channels of masks and images, and how large masks are.

Shape letters: B batch, H height, W width, C labels, K bands, R runs. Sizes are (height,
width) in pixels. Masks are uint8 or bool in {0, 1}, with one channel per label, in the
order of their `MaskSpec`.
"""

from typing import NamedTuple

GRID = (1400, 2100)
"""Grid of the run-length codes in train.csv, whatever the size of an image."""

NETWORK_SIZE = (320, 480)
"""Input size of the notebook's network."""

SUBMISSION_SIZE = (350, 525)
"""Grid of the run-length codes in a submission, on which Dice is computed."""

MOST_LABELS = 32
MOST_BANDS = 8

DTYPES = ("uint8", "uint16", "float32")
"""Types of the values of images."""

_PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b2a400"),
    *("#7a3b00", "#4b0082", "#00695c", "#ff8a80", "#5d4037", "#01579b", "#c51162"),
    *("#827717", "#6a1b9a"),
)


class MaskSpec(NamedTuple):
    """Labels and grid of the masks of records, a run or an export.

    Attributes:
      labels: names of the labels, in the order of the channels.
      grid: height and width of the masks of evaluations, submissions and answers.
    """

    labels: tuple[str, ...]
    grid: tuple[int, int] = SUBMISSION_SIZE

    @property
    def colours(self) -> tuple[str, ...]:
        """One colour per label."""
        return colours(len(self.labels))


CLOUDS = MaskSpec(("Fish", "Flower", "Gravel", "Sugar"))
"""The competition's labels, as its csv names them, and grid."""


class Bands(NamedTuple):
    """The bands of the images of records, a run or an export.

    Attributes:
      names: names of the bands, in the order of the channels.
      dtype: type of their values, one of `DTYPES`.
    """

    names: tuple[str, ...] = ("red", "green", "blue")
    dtype: str = "uint8"

    @classmethod
    def numbered(cls, count: int, dtype: str) -> "Bands":
        """Returns bands without given names: band1, band2 and so on."""
        return cls(tuple(f"band{k}" for k in range(1, count + 1)), dtype)

    @property
    def as_png(self) -> bool:
        """Whether a PNG can hold them, which a graph can decode, unlike a TIFF."""
        return self.dtype != "float32" and len(self.names) <= 4

    @property
    def bytes_per_pixel(self) -> int:
        """Size of a pixel in memory."""
        sizes = dict(zip(DTYPES, (1, 2, 4), strict=True))
        return len(self.names) * sizes[self.dtype]

    def __str__(self) -> str:
        """Describes the bands, for messages."""
        bands = "band" if len(self.names) == 1 else "bands"
        return f"{len(self.names)} {bands} of {self.dtype} ({', '.join(self.names)})"


RGB = Bands()
"""Colours of 8 bits, to which files are converted unless other bands are asked for."""


def colours(count: int) -> tuple[str, ...]:
    """Returns one colour for each label.

    The first eight differ for colour-blind readers (after Okabe and Ito, 2008); the
    next eight differ from them in lightness; more labels repeat them.
    """
    return tuple(_PALETTE[k % len(_PALETTE)] for k in range(count))
