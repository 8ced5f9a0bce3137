"""The four labels, and the sizes of the competition's grids.

Shape letters: B batch, H height, W width, C labels, R runs. Sizes are
(height, width) in pixels. Masks are uint8 or bool in {0, 1}, with one channel
per label, in the order of `LABELS`.
"""

LABELS = ("Fish", "Flower", "Gravel", "Sugar")
"""The patterns, in the order of a mask's channels, as the csv names them."""

GRID = (1400, 2100)
"""Grid of the run-length codes in train.csv, whatever the size of an image."""

NETWORK_SIZE = (320, 480)
"""Input size of the notebook's network."""

SUBMISSION_SIZE = (350, 525)
"""Grid of the run-length codes in a submission, on which Dice is computed."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""One colour per label, safe for colour-blind readers (Okabe and Ito, 2008)."""
