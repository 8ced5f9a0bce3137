"""Writes the sample: procedural scenes in the layout of the competition's files."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from clouds import rle, schema
from clouds.config.data import Sample
from clouds.data import scenes
from clouds.data.masks.csv_rows import STANDARD
from clouds.errors import InputError
from clouds.plots.overlays import draw_overlays
from clouds.runtime import checksums, files, progress
from clouds.text import counted

FILE = "scenes.json"
_CSV = {"train": "train.csv", "test": "sample_submission.csv"}
_FOLDERS = {"train": "train_images", "test": "test_images"}
_PICTURE = "scenes.jpg"
_NAMES = (FILE, *_CSV.values(), *_FOLDERS.values(), _PICTURE)

_SHOWN = 8


def write(settings: Sample) -> None:
    """Writes train_images, train.csv, test_images, sample_submission.csv, scenes.jpg.

    The runs in train.csv are on the grid `schema.GRID`, whatever the size of the
    images, as in the competition. scenes.jpg shows the first scenes with their masks;
    scenes.json holds the settings and the checksums of both csv files. A complete
    sample is not changed, an incomplete one is drawn again.

    Args:
      settings: folder, numbers and size of the scenes.

    Raises:
      InputError: the folder holds such files of other settings or of another origin.
    """
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    counts = (
        f"{counted(settings.train, 'labelled scene')} and "
        f"{counted(settings.test, 'scene')} without labels"
    )
    with files.sole_writer(settings.out, "--out"):
        stored, requested = _stored(out), _settings(settings)
        if settings.overwrite:
            _remove_images(out, stored)
        else:
            _check_folder(out, stored, requested)
            if _is_complete(out, stored):
                print(f"{out}: already drawn, {counts}. --overwrite draws it again.")
                return
        _draw(out, settings, stored)
    print(f"{out}: {counts}; {out / _PICTURE} shows the first ones")


def _settings(settings: Sample) -> dict:
    height, width = settings.size
    named = {name: getattr(settings, name) for name in ("train", "test", "seed")}
    return {**named, "size": f"{height}x{width}"}


def _stored(out: Path) -> dict:
    """Reads scenes.json; empty if there is none, or a damaged one."""
    try:
        stored = checksums.read_json(out / FILE)
        _images(out, stored["settings"]), dict(stored["sha256"])
        return stored
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _images(out: Path, settings: dict) -> list[tuple[str, int, Path]]:
    """Returns the split, seed and path of each image."""
    first = settings["seed"]
    labelled = first + settings["train"]
    splits = [
        ("train" if seed < labelled else "test", seed)
        for seed in range(first, labelled + settings["test"])
    ]
    return [
        (split, seed, out / _FOLDERS[split] / f"{seed:07x}.jpg")
        for split, seed in splits
    ]


def _check_folder(out: Path, stored: dict, requested: dict) -> None:
    settings = stored.get("settings", requested)
    differing = [name for name in requested if settings.get(name) != requested[name]]
    foreign = [name for name in _NAMES if (out / name).exists()]
    if stored:
        foreign = [name for name in _CSV.values() if not _is_own(out / name, stored)]
    if differing:
        pairs = [
            f"--{name} {settings[name]}, not {requested[name]}" for name in differing
        ]
        problem = f"holds a sample with {' and '.join(pairs)}"
    elif foreign:
        problem = f"holds another {foreign[0]}"
    else:
        return
    raise InputError(
        f"--out: '{out}' {problem}. Give another folder, or --overwrite, which "
        f"replaces {' and '.join(_CSV.values())}."
    )


def _is_own(path: Path, stored: dict) -> bool:
    """Returns whether a csv is as it was written, or not written yet."""
    if not path.exists():
        return True
    return _checksum(path.read_bytes()) == stored["sha256"].get(path.name)


def _is_complete(out: Path, stored: dict) -> bool:
    if not stored:
        return False
    images = (path for _, _, path in _images(out, stored["settings"]))
    names = (out / name for name in (*_CSV.values(), _PICTURE))
    return all(path.is_file() for path in (*names, *images))


def _remove_images(out: Path, stored: dict) -> None:
    for _, _, path in _images(out, stored["settings"]) if stored else ():
        path.unlink(missing_ok=True)


def _draw(out: Path, settings: Sample, stored: dict) -> None:
    requested = _settings(settings)
    _store(out, requested, stored.get("sha256", {}))
    rows = {split: [",".join(STANDARD.columns) + "\n"] for split in _CSV}
    shown = []
    for folder in _FOLDERS.values():
        (out / folder).mkdir(exist_ok=True)
    for split, seed, path in progress.bar(
        _images(out, requested), desc="scenes", unit="scene"
    ):
        image, masks = scenes.scene(seed, settings.size)
        if len(shown) < _SHOWN:
            shown.append((image, masks))
        files.write(path, cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
        for label, mask in zip(
            schema.CLOUDS.labels, np.moveaxis(masks, -1, 0), strict=True
        ):
            text = rle.encode(_on_grid(mask)) if split == "train" else "1 1"
            rows[split].append(f"{path.name}_{label},{text}\n")
    draw_overlays(*zip(*shown, strict=True), out / _PICTURE)
    texts = {_CSV[split]: "".join(lines) for split, lines in rows.items()}
    # Before the csv files, which are then recognised wherever the drawing is cut off.
    sums = {name: _checksum(text.encode()) for name, text in texts.items()}
    _store(out, requested, sums)
    for name, text in texts.items():
        files.write(out / name, text)


def _store(out: Path, settings: dict, sums: dict) -> None:
    checksums.write_json(out / FILE, {"settings": settings, "sha256": sums})


def _on_grid(mask: np.ndarray) -> np.ndarray:
    rows, columns = (
        np.arange(target) * source // target
        for source, target in zip(mask.shape, schema.GRID, strict=True)
    )
    return mask[rows][:, columns]


def _checksum(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()
