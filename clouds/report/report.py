"""A page about a run: what it was trained on and how, and what it finds.

What `bin/train`, `bin/evaluate` and `bin/describe` left is shown; only the images of
the gallery are predicted anew. Where something is not there, the page says what makes
it.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clouds import config, schema
from clouds.config import rule as rule_of
from clouds.config.rule import Rule
from clouds.data import manifest
from clouds.errors import InputError
from clouds.evaluation import held_out, results
from clouds.evaluation.results import Evaluation
from clouds.report import charts, gallery, html, series
from clouds.report.charts import Line
from clouds.runs import run_folder

FILE = "report.html"

_SHAPES = {
    "dice_plain": ("hollow", "network: all above the rule's thresholds"),
    "dice_post": ("full", "post-processed"),
    "dice_all_empty": ("bar", "all masks empty"),
    "dice_best_constant": ("cross", "the best constant mask"),
    "dice_all_full": ("triangle", "all masks full"),
}
_STATISTICS = ("csv", "grid", "rows", "images", "masks", "labels", "labels_per_image")
_STATISTICS += ("both_share", "area_share", "sets", "components", "patches_per_mask")
_STATISTICS += ("patch_area_share",)
_PARTS = ("statistics", "history", "evaluation", "tuning", "gallery")


def report(settings: config.Report) -> None:
    """Writes the page; prints where it is and what is not in it.

    Args:
      settings: of which run, and where what belongs to it lies.

    Raises:
      InputError: the folder holds no run, or something of it is damaged; or the page
        would replace something else.
    """
    training = run_folder.settings(settings.run)
    path = Path(settings.out or Path(settings.run, FILE))
    html.check(FILE, path)
    figures = settings.evaluation or settings.run
    measured, tuning = results.read(figures), _tuning(figures)
    records = settings.records or (measured.facts["records"] if measured else None)
    # Training that goes on leaves figures of weights that are no more.
    outdated = _outdated(settings, measured.facts) if measured else []
    found = None if outdated else measured
    if tuning and _outdated(settings, tuning["tuned_on"]):
        tuning = None
    honest = (
        found
        and tuning
        and found.facts["rule_source"] == "tuned"
        and found.facts["tuned_on_these_images"]
        and results.alike(found.facts, tuning["tuned_on"])
    )
    fields = {
        "statistics": _json(
            settings.statistics or settings.run, "statistics.json", _STATISTICS
        ),
        "history": _history(settings.run),
        "evaluation": found,
        "tuning": tuning,
        "expected": tuning["dice"]["cross_fitted"] if honest else None,
        "gallery": _gallery(settings, found, records),
        "commands": _commands(settings, records or training.records, found),
    }
    size = html.write(
        FILE,
        path,
        title=settings.run,
        facts=_facts(settings.run),
        charts=_charts(found.facts) if found else None,
        outdated=outdated,
        rule=rule_of.told(found.facts["rule_source"], settings.run) if found else None,
        kinds=gallery.KINDS,
        **fields,
    )
    print(f"{path}: {size / 1e6:.1f} MB")
    for folder in outdated:
        print(f"{folder} has other weights now than were measured: training went on.")
    for part in _PARTS:
        if not fields[part]:
            print(f"without {part}: {fields['commands'][part]}")


def _json(folder: str, name: str, keys: Sequence[str]) -> dict | None:
    path = Path(folder, name)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        if missing := [key for key in keys if key not in found]:
            raise ValueError(f"without {', '.join(missing)}")
        return found
    except ValueError as error:
        raise InputError(
            f"{name} must be as the commands write it. Received: {path}, damaged or "
            f"of another version ({error}). Remove it, or make it again."
        ) from error


def _commands(
    settings: config.Report, records: str, found: Evaluation | None
) -> dict[str, str]:
    """The command that makes each part."""
    folder = shlex.quote(settings.run)
    evaluate = f"bin/evaluate --records {shlex.quote(records)} --run {folder}"
    return {
        "statistics": f"bin/describe --csv train.csv --out {folder}",
        "history": f"bin/train --run {folder}",
        "evaluation": evaluate,
        "tuning": f"{evaluate} --tune",
        "gallery": f"bin/report --run {folder} --records DIR" if found else evaluate,
    }


def _facts(folder: str) -> dict[str, str]:
    """What a reader wants to know of a training first, by name."""
    settings, known = run_folder.settings(folder), run_folder.read_facts(folder)
    versions = known.get("versions", {})
    facts = {
        "Begun": known.get("started", "")[:16].replace("T", " "),
        "Records": settings.records,
        "Size": settings.size and "x".join(map(str, settings.size)),
        "Epochs": known.get("epochs"),
        "Best epoch, kept": known.get("best_epoch"),
        "Batch size": settings.batch_size,
        "Loss": settings.loss,
        "Learning rate": f"{settings.learning_rate:g}",
        "Precision": settings.precision,
        "Encoder weights": settings.encoder_weights,
        "Versions": ", ".join(f"{name} {text}" for name, text in versions.items()),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _history(folder: str) -> dict | None:
    epochs = series.read_history(folder)
    if epochs is None:
        return None
    shown = []
    for column, title in series.HISTORY.items():
        lines = [
            series.history(epochs, column, "training", dash=2),
            series.history(epochs, f"val_{column}", "validation"),
        ]
        shown.append(charts.lines(title, lines, ("epoch", title.lower()), whole=True))
    columns = {label: f"val_dice_{label.lower()}" for label in schema.LABELS}
    if set(columns.values()) <= {*epochs}:
        lines = [
            series.history(epochs, column, label, colour=k, dash=k)
            for k, (label, column) in enumerate(columns.items())
        ]
        axes = ("epoch", "mean dice, validation")
        shown.append(charts.lines("Mean Dice of each label", lines, axes, whole=True))
    names = [f"{part}{name}" for name in series.HISTORY for part in ("", "val_")]
    rows = zip(epochs["epoch"] + 1, epochs[names].to_numpy().tolist(), strict=True)
    return {"charts": shown, "columns": names, "rows": list(rows)}


def _charts(facts: dict) -> dict:
    def each(make, *arguments):
        return [
            make(facts, *arguments, label, label, colour=k, dash=k)
            for k, label in enumerate(schema.LABELS)
        ]

    square = {"x_range": (0, 1), "y_range": (0, 1)}
    even = Line("as it should be", [0, 1], [0, 1], dash=5)
    axes = ("mean probability", "share that is of the label")
    return {
        "dice": charts.rows(
            "Competition's Dice",
            [*schema.LABELS, "mean"],
            facts["figures"],
            {name: shape for name, (shape, _) in _SHAPES.items()},
        ),
        "shapes": [*_SHAPES.values()],
        "presence": charts.lines(
            "Presence of labels",
            each(series.precision_recall),
            ("recall", "precision"),
            **square,
        ),
        "calibration": [
            charts.lines(title, [even, *each(series.calibration, kind)], axes, **square)
            for kind, title in series.CALIBRATIONS.items()
        ],
    }


def _tuning(folder: str) -> dict | None:
    found = _json(folder, "tuning.json", ("rule", "tuned_on", "maps", "dice"))
    if found is None:
        return None
    maps = found["maps"]
    chosen = Rule(**found["rule"])
    by_name = {"default": Rule(), "chosen": chosen}
    places = [
        charts.heat_map(
            label,
            np.array(maps["dice"][label]),
            maps["min_sizes"],
            maps["thresholds"],
            marks={
                name: (rule.min_sizes[k], rule.thresholds[k])
                for name, rule in by_name.items()
            },
        )
        for k, label in enumerate(schema.LABELS)
    ]
    told = [
        {
            "chosen": chosen.of_label(k),
            "areas": {
                n: rule_of.area(rule.min_sizes[k]) for n, rule in by_name.items()
            },
        }
        for k in range(len(schema.LABELS))
    ]
    return {**found, "heat_maps": list(zip(places, told, strict=True))}


def _outdated(settings: config.Report, facts: dict) -> list[str]:
    return results.outdated(facts, _runs(settings, facts))


def _runs(settings: config.Report, facts: dict) -> list[str]:
    """What was measured; a run that was moved is found where it is now."""
    return facts["runs"] if len(facts["runs"]) > 1 else [settings.run]


def _gallery(
    settings: config.Report, found: Evaluation | None, records: str | None
) -> dict | None:
    """Pictures by kind; None where figures or records are not to be had."""
    if found is None or not settings.gallery:
        return None
    if settings.records is None and manifest.load(records) is None:
        return None
    facts = found.facts
    runs = _runs(settings, facts)
    trial = held_out.of(runs, records, split=facts["split"], flips=facts["flips"])
    if trial.facts["sha256"] != facts["sha256"]:
        raise InputError(
            "The records must be those that the run was evaluated on. Received: "
            f"'{records}', made or changed since. Evaluate again, or name the others "
            "with --records."
        )
    chosen = gallery.choose(found, settings.gallery)
    names = [name for some in chosen.values() for name in some]
    pictures = gallery.pictures(trial, found, names)
    return {kind: [pictures[name] for name in some] for kind, some in chosen.items()}
