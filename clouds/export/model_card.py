"""Markdown that goes with an exported model: its card and its signatures.

It names nothing of this machine: runs and records have checksums instead of paths.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from clouds import __version__
from clouds.config.rule import Rule, area
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.schema import CLOUDS, RGB, Bands, MaskSpec
from clouds.text import counted

MODEL, SIGNATURES = "model_card.md", "signature.md"

_METRICS = {
    "Competition Dice, post-processed": "dice_post",
    "Dice of non-empty masks": "dice_non_empty_post",
    "Average precision of `score`": "average_precision",
    "Calibration error (ECE) of `score`": "ece_presence",
}


class Trained(NamedTuple):
    """A run: settings, content of `run.json`, and SHA-256 of the weights."""

    settings: Training
    facts: Mapping
    weights: str


def signatures(
    version: str,
    inputs: Mapping[str, tf.TensorSpec],
    outputs: Mapping[str, Mapping[str, tf.TensorSpec]],
    spec: MaskSpec = CLOUDS,
    bands: Bands = RGB,
) -> str:
    """Describes the signatures of a model in Markdown.

    Args:
      version: version of the model.
      inputs: type of each signature's input.
      outputs: types of each signature's outputs, by name.
      spec: labels and grid of the masks.
      bands: bands of the images.
    """
    rows = [
        f"| `{name}` | {_type(given.name, given)} | "
        f"{', '.join(_type(key, output) for key, output in outputs[name].items())} |"
        for name, given in inputs.items()
    ]
    return _SIGNATURES.format(
        version=version,
        rows="\n".join(rows),
        images=_describe_images(bands),
        grid=_grid(spec),
        labels=", ".join(spec.labels),
        first=spec.labels[0],
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
    """Writes the card of a model in Markdown.

    Args:
      version: version of the model.
      runs: runs whose networks are averaged.
      rule: post-processing rule.
      tuned: whether it is the rule tuned for the first run, unchanged.
      metrics: content of the first run's `metrics.json`, if any.
      precision: precision of the exported network.
      flips: whether four flipped views are averaged.
    """
    spec = runs[0].settings.spec
    views = ", averaged over four flipped views" if flips else ""
    size = "x".join(map(str, runs[0].settings.size))
    networks = f"the mean of {len(runs)} networks" if len(runs) > 1 else "one network"
    return _MODEL.format(
        version=version,
        clouds=__version__,
        network=f"{networks}{views}, at {size} in {precision}",
        bands=_describe_bands(runs[0].settings),
        runs="\n".join(map(_describe_run, runs)),
        metrics=_metrics_table(
            metrics, rule, [run.weights for run in runs], flips, spec.labels
        ),
        rule=_rule_table(rule, tuned, spec),
        labels=", ".join(spec.labels),
        about=_ABOUT_CLOUDS if spec.labels == CLOUDS.labels else "",
    )


def _type(name: str, spec: tf.TensorSpec) -> str:
    shape = ["B", *("any" if n is None else str(n) for n in spec.shape[1:])]
    return f"`{name}` {spec.dtype.name}[{', '.join(shape)}]"


def _describe_images(bands: Bands) -> str:
    most = f"{preprocessing.MOST_PIXELS:,}"
    if bands == RGB:
        return _COLOURS.format(most=most)
    files = f"- `image_bytes`: PNG files of {bands}, of {most} pixels at most.\n"
    images = f"- `images`: values of {bands}, of any height and width."
    return (files if bands.as_png else "") + images


def _describe_bands(settings: Training) -> str:
    """Describes other bands than RGB, and how they are scaled."""
    if settings.bands == RGB:
        return ""
    scaled = {"unit": ", divided by their highest value", "raw": ""}
    means, deviations = settings.band_means, settings.band_deviations
    if settings.preprocess == "statistics":
        pairs = zip(settings.band_names, means, deviations, strict=True)
        each = (f"{name} {mean:.6g} ± {sd:.6g}" for name, mean, sd in pairs)
        scaled["statistics"] = f", standardized by {', '.join(each)}"
    return f"\n- images of {settings.bands}{scaled[settings.preprocess]}"


def _describe_run(trained: Trained) -> str:
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
        f"encoder from {'random' if settings.encoder_weights == 'none' else 'given'} "
        "weights",
        f"loss {settings.loss}, best epoch {facts.get('best_epoch', 'unknown')} of "
        f"{facts.get('epochs', settings.epochs)}",
        *(f"{name} {best[name]:.4f}" for name in sorted(best) if "mean_dice" in name),
    ]
    if settings.fold is not None:
        parts.append(f"without fold {settings.fold}")
    return f"- {'; '.join(parts)}"


def _grid(spec: MaskSpec) -> str:
    return "x".join(map(str, spec.grid))


def _rule_table(rule: Rule, tuned: bool, spec: MaskSpec) -> str:
    rows = [
        "| label | threshold | peak threshold | minimum area, pixels | presence |",
        "| --- | --- | --- | --- | --- |",
    ]
    none = (None,) * len(spec.labels)
    peaks, gates = (numbers or none for numbers in (rule.tops, rule.presence))
    numbers = zip(
        spec.labels, rule.thresholds, peaks, rule.min_sizes, gates, strict=True
    )
    rows += [
        f"| {label} | {threshold:.4g} | {f'{peak:.4g}' if peak else '-'} "
        f"| {area(size)} | {f'{gate:.4g}' if gate else '-'} |"
        for label, threshold, peak, size, gate in numbers
    ]
    on_submission = rule.grid == "submission"
    grid = _grid(spec) if on_submission else "the network's grid, then resized"
    forced = " Where no label passes, the best one is drawn." if rule.force_best else ""
    notes = (
        f"{'Tuned on validation images' if tuned else 'Not tuned'}. Components are "
        f"8-connected and measured on {grid}. Peak thresholds apply per {rule.scope}. "
        "A label is drawn where its `score` exceeds the presence threshold."
        f"{forced} "
        f"The black orbit gap is {'removed from' if rule.gap else 'kept in'} the masks."
    )
    return "\n".join([*rows, "", notes])


def _metrics_table(
    metrics: Mapping | None,
    rule: Rule,
    weights: list[str],
    flips: bool,
    labels: Sequence[str],
) -> str:
    if not metrics:
        return (
            "Not measured. Run `bin/evaluate` before `bin/export` to include metrics."
        )
    names = (*labels, "mean")
    rows = [f"| | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for title, name in _METRICS.items():
        values = [_value(metrics["figures"][name][label]) for label in names]
        rows.append(f"| {title} | {' | '.join(values)} |")
    notes = [
        f"On {counted(metrics['images'], 'image')} of the {metrics['split']} split, "
        "with 95 % bootstrap intervals over images. All-empty masks score "
        f"{metrics['figures']['dice_all_empty']['mean']['value']:.3f}."
    ]
    if metrics.get("tuned_on_these_images"):
        notes.append("The rule was tuned on these images: the scores are optimistic.")
    measured = Rule(**metrics["rule"]), metrics.get("weights"), metrics["flips"]
    if measured != (rule, weights, flips):
        notes.append("Measured with other weights, views or rule than exported.")
    return "\n".join([*rows, "", " ".join(notes)])


def _value(metric: Mapping) -> str:
    if metric["value"] is None:
        return "-"
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**metric)


_COLOURS = """\
- `image_bytes`: JPEG, PNG or BMP files of {most} pixels at most. Grey, palette, alpha,
  CMYK and 16-bit images are converted to 8-bit RGB.
- `images`: pixels of 0..255 in RGB, of any height and width."""

_SIGNATURES = """\
# Signatures of clouds, version {version}

| signature | input | outputs |
| --- | --- | --- |
{rows}

B is the number of images of a request, 1 or more. The labels are, in order, {labels}.

{images}
- `rle`: masks in the competition's format, "start length start length ...". Pixels are
  counted from 1 down the columns of a grid of {grid}, whatever the size of the image.
  Empty if the label is absent.
- `score`: score of the label's presence, 0..1: the mean of the highest 9.5 %
  of the probabilities on {grid}, averaged with the class head's if the network has one.
  It does not depend on the thresholds.
- `area`: number of pixels of the mask on {grid}.
- `grid`: height and width of the masks, {grid}.
- `probabilities`: before thresholds, at the network's size.
- `mask_bytes`: masks as PNGs of {grid}, 0 or 255.

## REST

`POST /v1/models/clouds:predict` with files in base64; `signature_name` selects a
signature:

    {{"instances": [{{"b64": "/9j/4AAQ..."}}]}}
    {{"signature_name": "masks_png", "instances": [{{"b64": "/9j/4AAQ..."}}]}}

The response has an object per image, or the values alone if there is one output; PNGs
are in base64:

    {{"predictions": [{{"rle": ["", "1 350", ...], "score": [0.1, ...],
                      "area": [0, 350, ...], "label": ["{first}", ...],
                      "grid": [350, 525]}}]}}

## Errors

A damaged or too large image, numbers that are not pixels, and an empty request are
refused with INVALID_ARGUMENT (gRPC 3, HTTP 400) and a reason. In TensorFlow Serving one
such image fails its entire request and, if the server batches, the requests in its
batch: send them again, one by one. `bin/serve` answers the other images.
"""

_ABOUT_CLOUDS = """\
The labels are patterns of shallow clouds in true-colour satellite images, those of the
competition *Understanding Clouds from Satellite Images*: rough regions drawn by
volunteers, in which a pattern prevails, not outlines of clouds. One volunteer compared
with the union of three others has a Dice of 0.54 to 0.58. Other satellites, land,
sunglint and other seasons were not tested.

"""

_MODEL = """\
# clouds, version {version}

Finds {labels} in images. Exported by clouds {clouds}: a U-Net on ResNet34, {network}.

## Data

{runs}{bands}

{about}## Metrics

{metrics}

## Post-processing

{rule}

## Limits

- The model is trained for images of the size and proportions of its data; others are
  stretched to the network's size.
- Regions of different labels may overlap.
- `score` is not a calibrated probability.
- The model was not tested on anything outside its data.
"""
