"""A page about a run: data, training, metrics, tuning, and predictions to look at.

The page shows what `bin/train`, `bin/evaluate` and `bin/describe` wrote, and predicts
the images of the gallery. For a missing part it names the command that makes it.
"""

import shlex
from pathlib import Path

from clouds.config.presentation import Report
from clouds.config.rule import describe_source
from clouds.data import manifest
from clouds.errors import InputError
from clouds.evaluation import held_out, results
from clouds.evaluation.agreement import agree
from clouds.evaluation.results import Evaluation
from clouds.evaluation.tuning import tune
from clouds.plots import evaluation as evaluation_plots
from clouds.plots import training as training_plots
from clouds.plots import tuning as tuning_plots
from clouds.report import describe, gallery, html, sources
from clouds.runs import run_facts, run_folder
from clouds.runtime.json_types import NUMBER

_TABLES = ("labels", "labels_per_image", "both_share", "area_share")
_MORE_TABLES = ("sets", "components", "patches_per_mask", "patch_area_share")
_STATISTICS = {"csv": str, "grid": [int], "rows": int, "images": int, "masks": int}
_STATISTICS |= dict.fromkeys((*_TABLES, *_MORE_TABLES), {str: {str: (*NUMBER, None)}})
_MAPS = {"thresholds": [NUMBER], "min_sizes": [NUMBER], "dice": {str: [[NUMBER]]}}
_TUNING = {"rule": {"thresholds": [NUMBER], "min_sizes": [NUMBER]}, "maps": _MAPS}
_TUNING |= {"tuned_on": run_folder.TUNED_ON, "dice": run_folder.DICE}
_AGREEMENT = {"images": int, "annotators": [str]}
_AGREEMENT |= {f"{part}?": run_folder.DICE for part in agree.PARTS}


def report(settings: Report) -> None:
    """Writes the page; prints its path and the missing parts.

    Args:
      settings: run, and the folders of what the page shows.

    Raises:
      InputError: the folder holds no run, a file is damaged, or the page would
        replace something else.
    """
    path = Path(settings.out or Path(settings.run, run_folder.REPORT))
    html.check(run_folder.REPORT, path)
    evaluation, tuning, outdated = _results(settings)
    stored = evaluation.facts if evaluation else vars(run_folder.settings(settings.run))
    records = settings.records or stored["records"]
    parts = {
        "statistics": sources.read_json(
            settings.statistics or settings.run,
            describe.FILE,
            _STATISTICS,
        ),
        "history": _history(settings.run),
        "evaluation": None if outdated else evaluation,
        "tuning": tuning,
    }
    agreement = _agreement(settings)
    parts["gallery"] = _gallery(settings, parts["evaluation"], records)
    commands = _commands(settings.run, records, parts["evaluation"])
    size = html.write(
        run_folder.REPORT,
        path,
        run_folder.settings(settings.run).labels,
        title=settings.run,
        facts=_facts(settings.run),
        tables=(_TABLES, _MORE_TABLES),
        titles=describe.TITLES,
        outdated=outdated,
        rows=tune.NAMES,
        kinds=gallery.KINDS,
        commands=commands,
        agreement=agreement,
        agreement_rows=agree.PARTS,
        maps=tuning and tuning_plots.maps(tuning),
        **_of_evaluation(settings, parts["evaluation"], tuning),
        **parts,
    )
    print(f"{path}: {size / 1e6:.1f} MB")
    for run in outdated:
        print(f"The weights of {run} have changed since the evaluation.")
    for name, part in parts.items():
        if not part:
            print(f"without {name}: {commands[name]}")


def _results(settings: Report) -> tuple[Evaluation | None, dict | None, list[str]]:
    """Returns evaluation, tuning, and runs whose weights are no longer evaluated."""
    folder = settings.evaluation or settings.run
    evaluation = results.read(folder)
    tuning = sources.read_json(folder, tune.FILE, _TUNING)
    # A training that was resumed may have replaced the weights.
    outdated = _outdated(settings, evaluation.facts) if evaluation else []
    if tuning and _outdated(settings, tuning["tuned_on"]):
        tuning = None
    return evaluation, tuning, outdated


def _agreement(settings: Report) -> dict | None:
    """Returns the agreement with people; None if it was not measured."""
    folder = settings.agreement or settings.run
    found = sources.read_json(folder, agree.FILE, _AGREEMENT)
    if found is None:
        if settings.agreement:
            raise InputError(
                f"--agreement: '{folder}' has no {agree.FILE}. Give the folder of "
                "bin/agreement --out."
            )
        return None
    labels = run_folder.settings(settings.run).labels
    metrics = [rows for part in agree.PARTS for rows in found.get(part, {}).values()]
    if any(set(rows) != {*labels, "mean"} for rows in metrics):
        raise InputError(
            f"{folder}/{agree.FILE} has other labels than the run, "
            f"{', '.join(labels)}. Give another folder with --agreement."
        )
    return found


def _of_evaluation(
    settings: Report, evaluation: Evaluation | None, tuning: dict | None
) -> dict:
    if not evaluation:
        return {"panels": None, "rule": None, "expected": None}
    facts = evaluation.facts
    estimated = (
        tuning
        and facts["rule_source"] == "tuned"
        and facts["tuned_on_these_images"]
        and results.predicted_alike(facts, tuning["tuned_on"])
    )
    return {
        "panels": evaluation_plots.panels(facts),
        "rule": describe_source(facts["rule_source"], settings.run),
        "expected": tuning["dice"]["cross_fitted"] if estimated else None,
    }


def _commands(run: str, records: str, evaluation: Evaluation | None) -> dict[str, str]:
    """Returns the command that makes each part."""
    run = shlex.quote(run)
    evaluate = f"bin/evaluate --records {shlex.quote(records)} --run {run}"
    return {
        "statistics": f"bin/describe --csv train.csv --out {run}",
        "history": f"bin/train --run {run}",
        "evaluation": evaluate,
        "tuning": f"{evaluate} --tune",
        "gallery": f"bin/report --run {run} --records DIR" if evaluation else evaluate,
    }


def _facts(run: str) -> dict[str, str]:
    settings, facts = run_folder.settings(run), run_facts.read(run)
    versions = facts.get("versions", {})
    shown = {
        "Started": facts.get("started", "")[:16].replace("T", " "),
        "Records": settings.records,
        "Size": settings.size and "x".join(map(str, settings.size)),
        "Epochs": facts.get("epochs"),
        "Best epoch": facts.get("best_epoch"),
        "Batch size": settings.batch_size,
        "Loss": settings.loss,
        "Learning rate": f"{settings.learning_rate:g}",
        "Precision": settings.precision,
        "Encoder weights": settings.encoder_weights,
        "Versions": ", ".join(f"{name} {text}" for name, text in versions.items()),
    }
    return {name: str(value) for name, value in shown.items() if value}


def _history(run: str) -> dict | None:
    epochs = sources.read_history(run)
    if epochs is None:
        return None
    metrics = training_plots.METRICS
    columns = [f"{split}{name}" for name in metrics for split in ("", "val_")]
    rows = zip(epochs["epoch"] + 1, epochs[columns].to_numpy().tolist(), strict=True)
    panels = training_plots.panels(epochs, run_folder.settings(run).labels)
    return {"panels": panels, "columns": columns, "rows": list(rows)}


def _outdated(settings: Report, facts: dict) -> list[str]:
    return results.outdated(facts, _runs(settings, facts))


def _runs(settings: Report, facts: dict) -> list[str]:
    """Returns the runs evaluated; a single one may have been moved since."""
    return facts["runs"] if len(facts["runs"]) > 1 else [settings.run]


def _gallery(
    settings: Report, evaluation: Evaluation | None, records: str
) -> dict | None:
    """Returns pictures by kind; None without metrics or records."""
    if evaluation is None or not settings.gallery:
        return None
    if settings.records is None and manifest.load(records) is None:
        return None
    facts = evaluation.facts
    predictions = held_out.load(
        _runs(settings, facts), records, split=facts["split"], flips=facts["flips"]
    )
    if predictions.facts["sha256"] != facts["sha256"]:
        raise InputError(
            f"The run was evaluated on other records than '{records}', or they have "
            "changed. Evaluate again, or name the right ones with --records."
        )
    chosen = gallery.choose(evaluation, settings.gallery)
    names = [name for some in chosen.values() for name in some]
    pictures = gallery.pictures(predictions, evaluation, names)
    return {kind: [pictures[name] for name in some] for kind, some in chosen.items()}
