"""Measures how far annotators, and a network, agree (the command `bin/agreement`)."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clouds import rle
from clouds.config.presentation import Agreement
from clouds.data import annotations
from clouds.data.masks import boxes
from clouds.errors import InputError
from clouds.evaluation import bootstrap
from clouds.evaluation.agreement.overlap import Sums, iou
from clouds.runtime import checksums
from clouds.schema import CLOUDS
from clouds.text import counted

FILE = "agreement.json"
PARTS = {
    "people": "between people",
    "network": "network with people",
    "network_minus_people": "network minus people",
}
"""Names of the results for people."""


def measure(settings: Agreement) -> None:
    """Writes and prints the agreement of annotators, and of a network with them.

    Args:
      settings: tables of boxes, the network's masks, and the output folder.

    Raises:
      InputError: a table cannot be read, or no image was seen by two annotators.
    """
    labels, grid = settings.labels or CLOUDS.labels, settings.grid
    annotators = boxes.read_all(
        settings.boxes, labels, settings.size, settings.workflows or ()
    )
    network = None
    if settings.submission:
        network = annotations.read(settings.submission, labels)
    images = sorted({name for one in annotators.values() for name in one.images})
    pairs = list(itertools.combinations(annotators, 2))
    people, machine = (Sums(len(images), len(labels)) for _ in range(2))
    each = {pair: Sums(1, len(labels)) for pair in pairs}
    each |= {("network", name): Sums(1, len(labels)) for name in annotators if network}
    rows = {name: k for k, name in enumerate(network.images)} if network else {}
    for number, image in enumerate(images):
        masks = {
            name: boxes.draw(one.images[image], len(labels), settings.size, grid)
            for name, one in annotators.items()
            if image in one.images
        }
        for pair in itertools.combinations(masks, 2):
            values = iou(masks[pair[0]], masks[pair[1]])
            people.add(number, values)
            each[pair].add(0, values)
        if image in rows:
            texts = network.texts[rows[image]]
            predicted = np.stack([rle.decode(text, grid) for text in texts], -1)
            for name, mask in masks.items():
                values = iou(predicted, mask)
                machine.add(number, values)
                each["network", name].add(0, values)
    _check(people, machine, settings)
    _write(settings, images, annotators, labels, (people, machine), each)


def _check(people: Sums, machine: Sums, settings: Agreement) -> None:
    if not people.defined.any() and not machine.defined.any():
        other = " nor in --submission" if settings.submission else ""
        raise InputError(
            "--boxes: no image with a pattern was seen by two annotators"
            f"{other}. Give tables of several annotators, or --submission."
        )


def _write(settings: Agreement, images, annotators, labels, sums, each) -> None:
    results = {"images": len(images), "annotators": list(annotators)}
    results["boxes"] = {
        "clipped": sum(one.clipped for one in annotators.values()),
        "dropped": sum(one.dropped for one in annotators.values()),
    }
    for name, one in zip(("people", "network"), sums, strict=True):
        if one.defined.any():
            found = bootstrap.intervals(one.means, len(images))
            results[name] = bootstrap.named(found, labels)
    if len(sums) == 2 and all(one.defined.any() for one in sums):

        def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
            people, machine = (one.means(weights)["iou"] for one in sums)
            return {"iou": machine - people}

        found = bootstrap.intervals(difference, len(images))
        results["network_minus_people"] = bootstrap.named(found, labels)
    results["pairs"] = [
        {"between": list(pair), "iou": one.means(np.ones((1, 1)))["iou"][0].tolist()}
        for pair, one in each.items()
        if one.defined.any()
    ]
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    checksums.write_json(out / FILE, _without_nan(results))
    print(_table(results, labels, len(annotators)), f"\n{out / FILE}", sep="")


def _table(results: dict, labels: Sequence[str], annotators: int) -> str:
    lost, width = results["boxes"], max(map(len, (*labels, "mean")))
    lines = [
        f"{counted(results['images'], 'image')}, {counted(annotators, 'annotator')}, "
        f"boxes clipped: {lost['clipped']:,}, dropped because without area: "
        f"{lost['dropped']:,}"
    ]
    names = {"iou": "mean IoU", "agree": "fraction of IoUs above 0.1"}
    for part, title in PARTS.items():
        for metric, rows in results.get(part, {}).items():
            lines.append(f"{title}, {names[metric]}:")
            lines += [
                f"  {label:{width}} {row['value']:6.3f}  "
                f"[{row['low']:.3f}, {row['high']:.3f}]"
                for label, row in rows.items()
            ]
    return "\n".join(lines)


def _without_nan(value):
    """Returns results with null in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
