"""The embedded sample: procedural scenes, laid out as the competition's files."""

from pathlib import Path

import cv2
import numpy as np

from clouds import bars, config, plots, rle, scenes, schema
from clouds.table import COLUMNS
from clouds.words import counted

_SHOWN = 8


def write(settings: config.Sample) -> None:
    """Writes train_images, train.csv, test_images, sample_submission.csv, scenes.jpg.

    The runs in train.csv count on `schema.GRID`, whatever the images' size, as
    in the competition. scenes.jpg shows the first scenes with their masks. Prints what
    it wrote.

    Args:
      settings: where, how many and of what size.
    """
    out = Path(settings.out)
    rows = {"train": [], "test": []}
    shown = []
    for split in rows:
        (out / f"{split}_images").mkdir(parents=True, exist_ok=True)
    counts = {"train": settings.train, "test": settings.test}
    seeds = range(settings.seed, settings.seed + settings.train + settings.test)
    for seed in bars.bar(seeds, desc="scenes", unit="scene"):
        split = "train" if seed - settings.seed < counts["train"] else "test"
        image, masks = scenes.scene(seed, settings.size)
        if len(shown) < _SHOWN:
            shown.append((image, masks))
        name = f"{seed:07x}.jpg"
        cv2.imwrite(str(out / f"{split}_images" / name), image[..., ::-1])
        for label, mask in zip(schema.LABELS, np.moveaxis(masks, -1, 0), strict=True):
            text = rle.encode(_on_grid(mask)) if split == "train" else "1 1"
            rows[split].append(f"{name}_{label},{text}\n")
    plots.overlays(*zip(*shown, strict=True), out / "scenes.jpg")
    _write_csv(out / "train.csv", rows["train"])
    _write_csv(out / "sample_submission.csv", rows["test"])
    print(
        f"{out}: {counted(settings.train, 'labelled scene')} and "
        f"{counted(settings.test, 'scene')} without labels; the first are drawn in "
        f"{out / 'scenes.jpg'}"
    )


def _on_grid(mask: np.ndarray) -> np.ndarray:
    rows, columns = (
        np.arange(target) * source // target
        for source, target in zip(mask.shape, schema.GRID, strict=True)
    )
    return mask[rows][:, columns]


def _write_csv(path: Path, rows: list[str]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(",".join(COLUMNS) + "\n" + "".join(rows))
    part.replace(path)
