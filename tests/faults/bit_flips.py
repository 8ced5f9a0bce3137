"""Flips bits in each kind of file that the package writes and reads again.

A flip must be named (by an `InputError`, or by a line that says what is skipped) or be
without effect: the reader returns what it returned before. `test_bit_flips.py` tries a
few flips of each kind. The long form prints a table:

    python tests/faults/bit_flips.py [FLIPS [KIND ...]]
"""

import contextlib
import io
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

import numpy as np
import pandas as pd
from helpers import small, tiny_export
from helpers.commands import make_tfrecords
from helpers.edits import flip

from clouds.cli import main
from clouds.data import make_scenes, manifest, pipeline
from clouds.data import make_tfrecords as conversion
from clouds.errors import InputError
from clouds.evaluation import results
from clouds.geo import tables
from clouds.models import unet
from clouds.plots.training import METRICS
from clouds.prediction.journal import Entry, Journal
from clouds.prediction.resume import Results
from clouds.report import report, sources
from clouds.runs import checkpoints, network, run_facts, run_folder
from clouds.runs.checkpoints import Progress
from clouds.runtime import checksums
from clouds.serving.model_store import Model
from clouds.training import trackers

OUTCOMES = ("named", "without effect", "silent", "traceback")
_SKIPPED = ("Skipping the damaged", "is damaged")


class Kind(NamedTuple):
    """A kind of file: its path in the workspace, and what reads it."""

    path: str
    read: Callable[[Path], object]


def make(folder: Path) -> None:
    """Makes a workspace with a file of each kind."""
    unet.build = small.build_smooth
    scenes, records, run = (folder / name for name in ("scenes", "records", "run"))
    sample = ["--out", scenes, "--train", "12", "--test", "1", "--size", "96x144"]
    _command("make_scenes", *sample)
    table, image = folder / "places.csv", next((scenes / "train_images").iterdir())
    row = f"{image.name},2020-02-01,0,0,9,6"
    table.write_text(f"image,time,west,south,east,north\n{row}\n")
    _command(*make_tfrecords(scenes, records, "--places", str(table)))
    small.write_run(run, records)
    arrays = [np.arange(500, dtype="float32"), np.arange(3)]
    checkpoints.save(run, Progress(epoch=1, history=[{"loss": 0.5}]), arrays)
    columns = ["epoch", *(prefix + name for name in METRICS for prefix in ("", "val_"))]
    with run_facts.replacing(run / "history.csv") as part:
        rows = np.linspace(0, 1, 3 * len(columns)).reshape(3, -1)
        pd.DataFrame(rows, columns=columns).to_csv(part, index=False)
    _command("evaluate", "--records", records, "--run", run, "--tune")
    _command("describe", "--csv", scenes / "train.csv", "--out", run)
    checksums.write_json(run / run_folder.TRACKERS, {"mlflow": "0123456789"})
    predicted = folder / "predicted"
    predicted.mkdir()
    stored = Results(predicted, "predict", {"flips": False, "thresholds": [0.5] * 4})
    stored.journal.start({"flips": False})
    names = [f"{number}.jpg" for number in range(4)]
    texts = ["1 3 9 2", "", "5 7", "8 1"]
    entries = [Entry(image=name, plain=texts, cleaned=texts[::-1]) for name in names]
    stored.journal.add(entries)
    stored.end({"bad.jpg": "it is empty"})
    tiny_export.write(folder / "model")
    version = folder / "model/1"
    (version / "assets.extra").mkdir()
    rule = {"thresholds": [0.5] * 4, "min_sizes": [100] * 4}
    checksums.write_json(version / "assets.extra/postprocess.json", rule)
    checksums.write_list(version)


def _command(*arguments) -> None:
    assert main.main([*map(str, arguments)]) == 0


def _shards(folder: Path):
    read = manifest.read(str(folder / "records"))
    with pipeline.naming_damaged_shards(str(folder / "records"), read):
        batches = pipeline.evaluation_batches(str(folder / "records"), read, "train", 4)
        return list(batches.as_numpy_iterator())


def _places(folder: Path):
    stored = manifest.read(str(folder / "records"))
    return tables.read(manifest.places(str(folder / "records"), stored))


def _split_table(folder: Path):
    names = {}
    records = str(folder / "records")
    read = manifest.read(records)
    for split in ("train", "val"):
        batches = pipeline.evaluation_batches(records, read, split, 4)
        for batch in batches.as_numpy_iterator():
            names |= {name.decode(): split for name in batch["name"]}
    if faults := conversion._wrong_splits(records, read, names):
        raise InputError(faults[0])


def _scenes(folder: Path):
    stored = make_scenes._stored(folder / "scenes")
    if not stored:
        raise InputError("bin/make_scenes refuses the folder.")
    return stored


def _weights(folder: Path):
    return network.load_one(folder / "run").get_weights()


def _rule(folder: Path):
    run = str(folder / "run")
    return run_folder.rule(run), run_folder.rule_facts(run)


def _evaluation(folder: Path):
    read = results.read(str(folder / "run"))
    return read.facts, read.images.names, list(read.images[1:])


def _of_run(name: str, expected: dict) -> Callable:
    return lambda folder: sources.read_json(str(folder / "run"), name, expected)


def _journal(folder: Path):
    journal = Journal(folder / "predicted/predict.jsonl.part")
    missing = dict.fromkeys(f"{number}.jpg" for number in range(4))
    return missing | {entry.image: entry for entry in journal.entries()}


def _predicted(folder: Path):
    identity = {"flips": False, "thresholds": [0.5] * 4}
    return Results(folder / "predicted", "predict", identity).stored


def _model(folder: Path):
    return Model(str(folder / "model"), "clouds").version.rule


KINDS = {
    "records: manifest": Kind(
        "records/manifest.json", lambda f: manifest.load(f"{f}/records")
    ),
    "records: shard": Kind("records/train-00000-of-00001.tfrecord", _shards),
    "records: places": Kind("records/places.csv", _places),
    "records: splits": Kind("records/split.csv", _split_table),
    "scenes": Kind("scenes/scenes.json", _scenes),
    "run: settings": Kind("run/config.json", lambda f: run_folder.settings(f / "run")),
    "run: facts": Kind("run/run.json", lambda f: run_facts.read(f / "run")),
    "run: weights": Kind("run/best.weights.h5", _weights),
    "run: checkpoint": Kind(
        "run/checkpoints/epoch0001-step000000.npz",
        lambda f: checkpoints.load(f / "run"),
    ),
    "run: history": Kind("run/history.csv", lambda f: sources.read_history(f / "run")),
    "run: trackers": Kind(
        "run/trackers.json", lambda f: trackers._stored_names(f / "run/trackers.json")
    ),
    "run: rule": Kind("run/postprocess.json", _rule),
    "tuning": Kind("run/tuning.json", _of_run("tuning.json", report._TUNING)),
    "metrics": Kind("run/metrics.json", _evaluation),
    "metrics of images": Kind("run/metrics_images.csv", _evaluation),
    "statistics": Kind(
        "run/statistics.json", _of_run("statistics.json", report._STATISTICS)
    ),
    "prediction": Kind("predicted/predict.json", _predicted),
    "journal": Kind("predicted/predict.jsonl.part", _journal),
    "export: graph": Kind("model/1/saved_model.pb", _model),
    "export: rule": Kind("model/1/assets.extra/postprocess.json", _model),
    "export: checksums": Kind("model/1/assets.extra/SHA256SUMS", _model),
}
"""Every kind of file that the package reads again."""


def outcome(kind: Kind, folder: Path, place: int, expected) -> str:
    """Flips a bit, reads the file, and puts the bit back."""
    path, printed = folder / kind.path, io.StringIO()
    flip(path, place)
    try:
        with contextlib.redirect_stdout(printed):
            value = kind.read(folder)
    except InputError:
        return "named"
    except Exception as error:
        print(f"{kind.path}, bit {place}: {error!r}", file=sys.stderr)
        return "traceback"
    finally:
        flip(path, place)
    if any(text in printed.getvalue() for text in _SKIPPED):
        return "named"
    if kind.read is _journal:
        # Missing entries are predicted again.
        expected = {name: value[name] and entry for name, entry in expected.items()}
    if _same(value, expected):
        return "without effect"
    print(f"{kind.path}, bit {place}: silent", file=sys.stderr)
    return "silent"


def tried(kind: Kind, folder: Path, flips: int) -> dict[str, int]:
    """Counts the outcomes of random flips."""
    random.seed(0)
    expected = kind.read(folder)
    bits = 8 * (folder / kind.path).stat().st_size
    places = random.sample(range(bits), min(flips, bits))
    found = [outcome(kind, folder, place, expected) for place in places]
    return {name: found.count(name) for name in OUTCOMES}


def _same(value, expected) -> bool:
    if isinstance(expected, dict):
        # Unknown fields are without effect.
        names = value.keys() & expected.keys() if isinstance(value, dict) else ()
        return len(names) == len(expected) and all(
            _same(value[name], expected[name]) for name in names
        )
    if isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(_same, value, expected))
    if isinstance(expected, pd.DataFrame):
        return value.equals(expected)
    return bool(np.array_equal(value, expected))


def long_form(flips: int, *titles: str) -> int:
    """Prints a table of kinds; returns 1 if a flip was silent or a traceback."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):
            make(folder)
        rows = {title: tried(KINDS[title], folder, flips) for title in titles or KINDS}
    table = pd.DataFrame(rows).T[list(OUTCOMES)]
    print(table.to_string())
    return int(table[["silent", "traceback"]].to_numpy().any())


if __name__ == "__main__":
    sys.exit(long_form(*map(int, sys.argv[1:2] or [400]), *sys.argv[2:]))
