"""The embedded sample: procedural scenes, laid out as the competition's files."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from clouds import rle, schema
from clouds.config.data import Sample
from clouds.data import scenes
from clouds.data.annotations import COLUMNS
from clouds.errors import InputError
from clouds.plots import common
from clouds.runtime import files, progress
from clouds.text import counted

FILE = "scenes.json"
_CSV = {"train": "train.csv", "test": "sample_submission.csv"}
_FOLDERS = {"train": "train_images", "test": "test_images"}
_PICTURE = "scenes.jpg"
_NAMES = (FILE, *_CSV.values(), *_FOLDERS.values(), _PICTURE)

_SHOWN = 8


def write(settings: Sample) -> None:
    """Writes train_images, train.csv, test_images, sample_submission.csv, scenes.jpg.

    The runs in train.csv count on `schema.GRID`, whatever the images' size, as
    in the competition. scenes.jpg shows the first scenes with their masks; scenes.json
    keeps the settings and the checksums of both csv. A sample that is whole is left
    alone, one that was cut off is drawn again. Prints what there is.

    Args:
      settings: where, how many and of what size.

    Raises:
      InputError: the folder holds such files, of other settings or not of a sample.
    """
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    counts = (
        f"{counted(settings.train, 'labelled scene')} and "
        f"{counted(settings.test, 'scene')} without labels"
    )
    with files.sole_writer(settings.out, "--out"):
        there, here = _stored(out), _settings(settings)
        if settings.overwrite:
            _remove_images(out, there)
        else:
            _refuse_others(out, there, here)
            if _whole(out, there):
                print(f"{out}: drawn already, {counts}. --overwrite draws it again.")
                return
        _draw(out, settings, there)
    print(f"{out}: {counts}; the first are drawn in {out / _PICTURE}")


def _settings(settings: Sample) -> dict:
    height, width = settings.size
    named = {name: getattr(settings, name) for name in ("train", "test", "seed")}
    return {**named, "size": f"{height}x{width}"}


def _stored(out: Path) -> dict:
    """What was kept of a sample; nothing where there is none."""
    try:
        stored = json.loads((out / FILE).read_text())
        _images(out, stored["settings"]), dict(stored["sha256"])
        return stored
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _images(out: Path, settings: dict) -> list[tuple[str, int, Path]]:
    """Of each image its split, seed and path."""
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


def _refuse_others(out: Path, there: dict, here: dict) -> None:
    known = there.get("settings", here)
    differing = [name for name in here if known.get(name) != here[name]]
    others = [name for name in _NAMES if (out / name).exists()]
    if there:
        others = [name for name in _CSV.values() if not _ours(out / name, there)]
    if differing:
        pairs = [f"--{name} {known[name]} there, {here[name]}" for name in differing]
        received = f"with {'; '.join(pairs)} here"
    elif others:
        received = f"whose {others[0]} is of something else"
    else:
        return
    raise InputError(
        "--out must be without such files, or hold a sample of the same settings. "
        f"Received: '{out}', {received}. Give another folder, or --overwrite, which "
        f"replaces {' and '.join(_CSV.values())}."
    )


def _ours(path: Path, there: dict) -> bool:
    """Whether a csv is as it was written; also where it is not there yet."""
    if not path.exists():
        return True
    return _checksum(path.read_bytes()) == there["sha256"].get(path.name)


def _whole(out: Path, there: dict) -> bool:
    if not there:
        return False
    images = (path for _, _, path in _images(out, there["settings"]))
    names = (out / name for name in (*_CSV.values(), _PICTURE))
    return all(path.is_file() for path in (*names, *images))


def _remove_images(out: Path, there: dict) -> None:
    for _, _, path in _images(out, there["settings"]) if there else ():
        path.unlink(missing_ok=True)


def _draw(out: Path, settings: Sample, there: dict) -> None:
    here = _settings(settings)
    _keep(out, here, there.get("sha256", {}))
    rows = {split: [",".join(COLUMNS) + "\n"] for split in _CSV}
    shown = []
    for folder in _FOLDERS.values():
        (out / folder).mkdir(exist_ok=True)
    for split, seed, path in progress.bar(
        _images(out, here), desc="scenes", unit="scene"
    ):
        image, masks = scenes.scene(seed, settings.size)
        if len(shown) < _SHOWN:
            shown.append((image, masks))
        path.write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
        for label, mask in zip(schema.LABELS, np.moveaxis(masks, -1, 0), strict=True):
            text = rle.encode(_on_grid(mask)) if split == "train" else "1 1"
            rows[split].append(f"{path.name}_{label},{text}\n")
    common.overlays(*zip(*shown, strict=True), out / _PICTURE)
    texts = {_CSV[split]: "".join(lines) for split, lines in rows.items()}
    # Before the files that it is about: these are then known wherever it is cut off.
    _keep(out, here, {name: _checksum(text.encode()) for name, text in texts.items()})
    for name, text in texts.items():
        files.write(out / name, text)


def _keep(out: Path, settings: dict, checksums: dict) -> None:
    fields = {"settings": settings, "sha256": checksums}
    files.write(out / FILE, json.dumps(fields, indent=2) + "\n")


def _on_grid(mask: np.ndarray) -> np.ndarray:
    rows, columns = (
        np.arange(target) * source // target
        for source, target in zip(mask.shape, schema.GRID, strict=True)
    )
    return mask[rows][:, columns]


def _checksum(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()
