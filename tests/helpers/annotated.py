"""Csv files of small masks."""

import numpy as np

from clouds import rle, schema
from helpers import references

GRID = (12, 9)


def write_csv(folder, masks, *, texts=None) -> str:
    """Writes a csv of masks bool[N, H, W, C], or of the texts given."""
    if texts is None:
        texts = [[rle.encode(m[..., c]) for c in range(4)] for m in masks]
    rows = [
        f"{image}.jpg_{label},{text}\n"
        for image, row in enumerate(texts)
        for label, text in zip(schema.CLOUDS.labels, row, strict=True)
    ]
    path = folder / "train.csv"
    path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    return str(path)


def noise(images: int = 40) -> np.ndarray:
    """Returns speckled masks, among them full, empty and nasty ones."""
    draw = np.random.default_rng(0).random
    masks = draw((images, *GRID, 4)) < draw((images, 1, 1, 4))
    masks &= draw((images, 1, 1, 4)) < [0.9, 0.4, 0.6, 0.7]
    masks[1:3], masks[3] = True, False
    for image, plane in enumerate(references.NASTY.values(), 4):
        masks[image, ..., 1] = plane(*GRID)
    return masks
