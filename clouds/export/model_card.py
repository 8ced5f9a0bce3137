"""What goes with an exported model for people to read: its card, its signatures.

Markdown. Nothing of the machine that wrote it: runs and records are told by their
checksums, not by their paths.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from clouds import __version__, schema
from clouds.config.rule import Rule, area
from clouds.config.training import Training
from clouds.data import preprocessing
from clouds.text import counted

MODEL, SIGNATURES = "model_card.md", "signature.md"

_GRID = "x".join(map(str, schema.SUBMISSION_SIZE))
_FIGURES = {
    "Competition's Dice, post-processed": "dice_post",
    "Dice, non-empty": "dice_non_empty_post",
    "AP of presence, by `score`": "average_precision",
    "ECE of presence, by `score`": "ece_presence",
}


class Trained(NamedTuple):
    """One of the runs that a model is made of.

    Attributes:
      settings: of its training.
      facts: what `run.json` holds.
      weights: SHA-256 of its weights.
    """

    settings: Training
    facts: Mapping
    weights: str


def signatures(
    version: str,
    inputs: Mapping[str, tf.TensorSpec],
    outputs: Mapping[str, Mapping[str, tf.TensorSpec]],
) -> str:
    """Describes what a model takes and gives.

    Args:
      version: of the model.
      inputs: what each signature takes.
      outputs: what it gives, by name.

    Returns:
      Markdown.
    """
    rows = [
        f"| `{name}` | {_shown(spec.name, spec)} | "
        f"{', '.join(_shown(key, outputs[name][key]) for key in outputs[name])} |"
        for name, spec in inputs.items()
    ]
    return _SIGNATURES.format(
        version=version,
        rows="\n".join(rows),
        most=f"{preprocessing.MOST_PIXELS:,}",
        grid=_GRID,
        labels=", ".join(schema.LABELS),
    )


def model(
    version: str,
    runs: Sequence[Trained],
    rule: Rule,
    *,
    tuned: bool,
    metrics: Mapping | None,
    precision: str,
    flips: bool,
) -> str:
    """Writes the card of a model.

    Args:
      version: of the model.
      runs: that it is made of.
      rule: by which its masks are drawn.
      tuned: whether that is the first run's tuned rule, unchanged.
      metrics: what `metrics.json` of the first run holds; None if it has none.
      precision: of the exported network.
      flips: whether it averages four flipped views.

    Returns:
      Markdown.
    """
    views = ", averaged over four flipped views" if flips else ""
    size = "x".join(map(str, runs[0].settings.size))
    several = f"the mean of {len(runs)} networks" if len(runs) > 1 else "one network"
    return _MODEL.format(
        version=version,
        clouds=__version__,
        network=f"{several}{views}, at {size} in {precision}",
        runs="\n".join(map(_of_run, runs)),
        metrics=_of_metrics(metrics, rule, [each.weights for each in runs], flips),
        rule=_of_rule(rule, tuned),
        labels=", ".join(schema.LABELS),
        grid=_GRID,
    )


def _shown(name: str, spec: tf.TensorSpec) -> str:
    sides = ["B", *("any" if n is None else str(n) for n in spec.shape[1:])]
    return f"`{name}` {spec.dtype.name}[{', '.join(sides)}]"


def _of_run(trained: Trained) -> str:
    settings, facts = trained.settings, trained.facts
    records = facts.get("records", {})
    source = records.get("source") or {}
    best = facts.get("best", {})
    parts = [
        f"weights {trained.weights[:16]}",
        f"trained on records of {source.get('name', 'unknown source')}"
        f" (records {records.get('sha256', 'unknown')[:16]})",
        f"started {facts.get('started', 'unknown')}",
        f"{facts.get('backend', 'unknown backend')} in {settings.precision}",
        f"encoder from {'random weights' if _random(settings) else 'given weights'}",
        f"loss {settings.loss}, best epoch {facts.get('best_epoch', 'unknown')} of "
        f"{facts.get('epochs', settings.epochs)}",
        *(f"{name} {best[name]:.4f}" for name in sorted(best) if "mean_dice" in name),
    ]
    if settings.fold is not None:
        parts.append(f"fold {settings.fold} left out")
    return f"- {'; '.join(parts)}"


def _random(settings: Training) -> bool:
    return settings.encoder_weights == "none"


def _of_rule(rule: Rule, tuned: bool) -> str:
    rows = [
        "| label | threshold | must reach | pixels, more than |",
        "| --- | --- | --- | --- |",
    ]
    tops = rule.tops or [None] * len(schema.LABELS)
    numbers = zip(schema.LABELS, rule.thresholds, tops, rule.min_sizes, strict=True)
    rows += [
        f"| {label} | {threshold:.4g} | {f'{top:.4g}' if top else '-'} | {area(size)} |"
        for label, threshold, top, size in numbers
    ]
    grid = _GRID if rule.grid == "submission" else "the network's grid, then resized"
    return "\n".join(
        [
            *rows,
            "",
            f"{'Tuned on validation images' if tuned else 'Not tuned'}. Components are "
            f"8-connected, counted on {grid}; a top counts within the {rule.scope}. "
            f"What is black in the image is {'cut out' if rule.gap else 'kept'}.",
        ]
    )


def _of_metrics(
    metrics: Mapping | None, rule: Rule, weights: list[str], flips: bool
) -> str:
    if not metrics:
        return "Not measured. `bin/evaluate` before `bin/export` brings figures here."
    names = (*schema.LABELS, "mean")
    rows = [f"| | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for title, name in _FIGURES.items():
        values = [_value(metrics["figures"][name][label]) for label in names]
        rows.append(f"| {title} | {' | '.join(values)} |")
    notes = [
        f"On {counted(metrics['images'], 'image')} of the {metrics['split']} split, "
        "95 % intervals by the bootstrap over images. All-empty masks score "
        f"{metrics['figures']['dice_all_empty']['mean']['value']:.3f}."
    ]
    if metrics.get("tuned_on_these_images"):
        notes.append("The rule was tuned on these very images: expect less of others.")
    measured = Rule(**metrics["rule"]), metrics.get("weights"), metrics["flips"]
    if measured != (rule, weights, flips):
        notes.append(
            "Measured with other weights, views or rule than are exported here."
        )
    return "\n".join([*rows, "", " ".join(notes)])


def _value(figure: Mapping) -> str:
    if figure["value"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**figure)


_SIGNATURES = """\
# Signatures of clouds, version {version}

| signature | takes | gives |
| --- | --- | --- |
{rows}

B is the number of images of a request, 1 or more. Labels come in the order {labels}.

- `image_bytes`: whole files, JPEG, PNG or BMP, of {most} pixels at most. Grey, palette,
  alpha, CMYK and 16-bit images are turned into 8-bit RGB.
- `images`: pixels of 0..255 in RGB, of any height and width.
- `rle`: the masks as the competition has them, "start length start length ...": pixels
  are counted from 1 down the columns of a grid of {grid}, whatever the image's size.
  Empty if nothing was found.
- `score`: how sure the label is in the image, 0..1: the mean of its highest
  probabilities, of 17,500 pixels of {grid}. It does not depend on the thresholds.
- `area`: pixels of the mask, of {grid}.
- `probabilities`: before thresholds, at the network's size.
- `mask_bytes`: the masks as PNGs of {grid}, 0 or 255.

## REST

`POST /v1/models/clouds:predict`, with files in base64; `signature_name` picks another:

    {{"instances": [{{"b64": "/9j/4AAQ..."}}]}}
    {{"signature_name": "masks_png", "instances": [{{"b64": "/9j/4AAQ..."}}]}}

The answer holds an object an image, or, of one output, its values alone; PNGs come in
base64:

    {{"predictions": [{{"rle": ["", "1 350", ...], "score": [0.1, ...],
                      "area": [0, 350, ...], "label": ["Fish", ...]}}]}}

## Errors

What is no whole image, or has too many pixels, numbers that are no pixels, and an empty
request are refused with INVALID_ARGUMENT (gRPC 3, HTTP 400) and a reason. In TensorFlow
Serving one such image fails its whole request and, where the server batches, those that
share its batch: send them again, one by one. `bin/serve` answers for each image.
"""

_MODEL = """\
# clouds, version {version}

Finds {labels} (the organisation of shallow clouds) in true-colour satellite images.
Exported by clouds {clouds}: a U-Net on ResNet34, {network}.

## Data

{runs}

The labels that this is made for, those of the competition *Understanding Clouds from
Satellite Images*, are rough regions drawn by volunteers: one of them, held against the
union of three others, reaches a Dice of 0.54 to 0.58.

## Figures

{metrics}

## Masks

{rule}

## Limits

- Trained for scenes of the size and the proportions (2:3) of its data; others are
  stretched to the network's size.
- A mask is a region in which a pattern prevails, not the outline of clouds. Regions of
  different labels may overlap.
- `score` is no calibrated probability.
- What was not in the data, such as other satellites, land, sunglint or other seasons,
  was not measured.
"""
