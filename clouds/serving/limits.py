"""Limits on requests: bytes of a body, bytes of all bodies, pixels of an image."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import tensorflow as tf
from starlette.requests import Request

from clouds.data import graph_formats, preprocessing
from clouds.serving.protocol import Refusal

_RETRY_AFTER = 1

_FILE = [tf.TensorSpec([], tf.string)]
_header_size = tf.function(preprocessing.header_size, input_signature=_FILE)
_check_format = tf.function(graph_formats.check, input_signature=_FILE)


class Bodies:
    """Reads the bodies of requests.

    Args:
      max_bytes: maximum length of a body.
      max_total: maximum bytes of all bodies that are being read or answered.
      seconds: timeout for an entire body.

    Attributes:
      held: current bytes of these bodies.
    """

    def __init__(self, *, max_bytes: int, max_total: int, seconds: float):
        self._max_bytes, self._max_total = max_bytes, max_total
        self._seconds = seconds
        self.held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Reads a body, which counts as long as the context lasts.

        A body that is too long is refused at once. The connection then discards the
        rest, so that a client that sends everything before it reads gets the answer.

        Raises:
          Refusal: the body is too slow (408), too long (413) or compressed (415), or
            all bodies together are too long (503).
          ClientDisconnect: the client disconnected.
        """
        encoding = request.headers.get("content-encoding", "identity").strip()
        if encoding.lower() not in ("", "identity"):
            raise Refusal(415, "The body must not be compressed (Content-Encoding).")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_long(declared)
        chunks, length = [], 0
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    async for chunk in request.stream():
                        if self.held + len(chunk) > self._max_total:
                            message = "The server has no memory left for this request."
                            raise Refusal(503, message, _RETRY_AFTER)
                        self.held += len(chunk)
                        length += len(chunk)
                        if length > self._max_bytes:
                            raise self._too_long("more")
                        chunks.append(chunk)
            except TimeoutError:
                message = f"The body did not arrive within {self._seconds:g} s."
                raise Refusal(408, message) from None
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.held -= length

    def _too_long(self, received: str) -> Refusal:
        return Refusal(
            413,
            f"A request must have {self._max_bytes} bytes at most. Received: "
            f"{received}. Send fewer images per request, or smaller ones.",
        )


def check_image(contents: bytes, max_pixels: int) -> Refusal | None:
    """Checks by its header whether a server should decode an image file.

    Returns:
      The refusal (400) of a file that is not a JPEG, PNG or BMP, is damaged, has too
      many pixels, or would be decoded wrongly; else None.
    """
    received = f"Received: {len(contents)} bytes"
    if not contents.startswith(preprocessing.SIGNATURES):
        message = f"Image must be a JPEG, PNG or BMP. {received} of another kind."
        return Refusal(400, message + _advise(contents))
    try:
        height, width = _header_size(contents).numpy().tolist()
    except tf.errors.InvalidArgumentError:
        message = "Image must be a complete JPEG, PNG or BMP."
        return Refusal(400, f"{message} {received} without its size.")
    if not 0 < height * width <= max_pixels:
        return Refusal(
            400,
            f"Image must have from 1 to {max_pixels:,} pixels. Received: {width} x "
            f"{height}. Send a smaller one: the model resizes it anyway.",
        )
    try:
        _check_format(contents)
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"Image must be [^\]\n]*\.", error.message)
        return Refusal(400, found[0] if found else f"Image must be whole. {received}.")
    return None


def _advise(contents: bytes) -> str:
    if contents.startswith((b"/9j/", b"iVBORw0KGgo", b"Qk")):
        return " It looks like base64: send {'b64': text} in JSON."
    if contents.startswith(b"--") and b"form-data" in contents[:1000].lower():
        return " It is a form: send the file itself, as curl --data-binary @FILE does."
    return ""
