"""The web page of the server, one self-contained file, and what it asks for."""

import base64
import functools
import hashlib
import json
import math
import re
from html import escape
from importlib import resources
from typing import NamedTuple

import numpy as np
import orjson

from clouds.errors import InputError
from clouds.prediction import geojson
from clouds.prediction.journal import Entry
from clouds.schema import RGB, Bands, MaskSpec
from clouds.serving import protocol
from clouds.serving.protocol import Refusal

_MAX_RUNS = 20_000
"""Runs that become polygons within a second, whatever their shape."""


class Page(NamedTuple):
    """A page, with HTTP headers that restrict what it may load."""

    html: str
    headers: dict[str, str]


@functools.lru_cache
def build(spec: MaskSpec, bands: Bands = RGB) -> Page:
    """Reads the page, and fills in the labels, their colours and the kinds of files."""
    html = resources.files("clouds.serving").joinpath("page.html").read_text("utf-8")
    facts = {"labels": spec.labels, "colours": spec.colours}
    html = html.replace("{{facts}}", json.dumps(facts))
    *names, last = spec.labels
    listed = f"{', '.join(names)} and {last}" if names else last
    html = html.replace("{{names}}", listed)
    html = html.replace("{{formats}}", escape(_formats(bands)))
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "blob: data:",
        "script-src": _hash(html, "script"),
        "style-src": _hash(html, "style"),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return Page(
        html,
        {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": "; ".join(map(" ".join, policy.items())),
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )


def _formats(bands: Bands) -> str:
    if bands == RGB:
        return "JPEG, PNG or BMP"
    if bands.as_png:
        return f"PNG of {bands}, shown in the colours that the browser gives it"
    return f"No files: the model takes {bands} as numbers, by the REST API"


def pack(probabilities: np.ndarray) -> dict:
    """Converts float32[h, w, C] to JSON: `size` h, w and `b64` of uint8[C, h, w]."""
    planes = np.rint(probabilities.transpose(2, 0, 1) * 255).astype(np.uint8)
    encoded = base64.b64encode(planes.tobytes()).decode()
    return {"size": planes.shape[1:], "b64": encoded}


def polygons(body: bytes, spec: MaskSpec) -> bytes:
    """Converts masks to GeoJSON.

    Args:
      body: JSON with `image`, its name, and `rle` and `score` per label.
      spec: labels and grid of the masks.

    Returns:
      A FeatureCollection in pixels.

    Raises:
      Refusal: the masks are invalid (400) or have too many runs (413).
    """
    try:
        masks = orjson.loads(body)
        image = str(masks["image"])
        texts, scores = list(map(str, masks["rle"])), list(map(float, masks["score"]))
    except (KeyError, TypeError, ValueError):
        texts = scores = []
    finite = all(map(math.isfinite, scores))
    if not finite or not len(texts) == len(scores) == len(spec.labels):
        raise Refusal(
            400,
            "A request for polygons must be JSON with 'image', and 'rle' and 'score' "
            f"of {len(spec.labels)} labels.",
        )
    runs = sum(len(text.split()) for text in texts) // 2
    if runs > _MAX_RUNS:
        raise Refusal(
            413,
            f"Masks must have {_MAX_RUNS:,} runs at most, together, to become polygons."
            f" Received: {runs:,}. Remove small components first.",
        )
    try:
        entry = Entry(image=image, plain=texts, cleaned=texts, scores=scores)
        features = geojson.features(entry, None, spec)
    except InputError as error:
        raise Refusal(400, str(error)) from error
    return protocol.dump({**geojson.collection(None, spec), "features": features})


def _hash(html: str, tag: str) -> str:
    """Returns the Content-Security-Policy hash of the only element with a tag."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
