"""The web page of the server: one file, which loads nothing from elsewhere."""

import base64
import hashlib
import json
import re
from importlib import resources
from typing import NamedTuple

from clouds import schema

_FACTS = "{{facts}}"


class Page(NamedTuple):
    """A page and how it is to be sent.

    Attributes:
      html: of it.
      headers: that keep a browser from running anything else in it.
    """

    html: str
    headers: dict[str, str]


def build() -> Page:
    """Reads the page, and fills in the labels and their colours."""
    html = resources.files("clouds.serving").joinpath("page.html").read_text("utf-8")
    facts = {"labels": schema.LABELS, "colours": schema.COLOURS}
    html = html.replace(_FACTS, json.dumps(facts))
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


def _hash(html: str, tag: str) -> str:
    """What a Content-Security-Policy calls the one element of a tag by."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
