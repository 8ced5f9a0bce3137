"""Limits on requests: connections, hosts, bytes and pixels, of one and of all."""

import asyncio
import contextlib
import functools
import ipaddress
import re
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator

import tensorflow as tf
from starlette.requests import ClientDisconnect, Request

from clouds.data.images import graph_formats, preprocessing
from clouds.schema import RGB, Bands
from clouds.serving import protocol
from clouds.serving.protocol import Refusal

_RETRY_AFTER = 1

_FILE = [tf.TensorSpec([], tf.string)]
_header_size = tf.function(preprocessing.header_size, input_signature=_FILE)


@functools.lru_cache
def _format_checker(bands: Bands) -> Callable:
    if bands == RGB:
        return tf.function(graph_formats.check, input_signature=_FILE)
    check = functools.partial(graph_formats.check_bands, bands=bands)
    return tf.function(check, input_signature=_FILE)


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


class Pixels:
    """Counts the pixels of the images that are waiting or being answered.

    Args:
      max_total: maximum number of pixels.
    """

    def __init__(self, max_total: int):
        self._max_total = max_total
        self._held = 0

    @contextlib.contextmanager
    def hold(self, pixels: int, retry_after: int) -> Iterator[None]:
        """Counts pixels as long as the context lasts.

        Args:
          pixels: pixels of the images of a request.
          retry_after: seconds for a client to wait, for the refusal.

        Raises:
          Refusal: they are too many for one request (413), or with others (429).
        """
        if pixels > self._max_total:
            raise Refusal(
                413,
                f"A request must have {self._max_total:,} pixels at most. Received: "
                f"{pixels:,}. Send the images in several requests, or smaller ones.",
            )
        if self._held + pixels > self._max_total:
            message = "The server has too many pixels waiting."
            raise Refusal(429, message, retry_after)
        self._held += pixels
        try:
            yield
        finally:
            self._held -= pixels


class Connections:
    """An application that answers 503 while there are too many connections.

    uvicorn's own limit answers before it reads, and a client that still sends its
    request sees a reset instead of the answer.

    Args:
      application: ASGI application for the other requests.
      most: maximum number of connections.
      max_bytes: maximum bytes of a request that are read to answer it.
      seconds: timeout for that.

    Attributes:
      count: function that returns the number of connections.
    """

    def __init__(self, application, *, most: int, max_bytes: int, seconds: float):
        self._application, self._most = application, most
        self._max_bytes, self._seconds = max_bytes, seconds
        self.count: Callable[[], int] = lambda: 0

    async def __call__(self, scope, receive, send) -> None:
        """Answers a request."""
        if scope["type"] != "http" or self.count() <= self._most:
            await self._application(scope, receive, send)
            return
        request = Request(scope, receive)
        if "expect" not in request.headers:
            await self._discard(request)
        message = f"The server has more than {self._most} connections."
        refusal = Refusal(503, message, _RETRY_AFTER)
        response = protocol.refused(refusal)
        response.headers["connection"] = "close"
        await response(scope, receive, send)

    async def _discard(self, request: Request) -> None:
        length = 0
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    length += len(chunk)
                    if length > self._max_bytes:
                        return


def check_host(host: str, listening: str) -> None:
    """Rejects names of other hosts where a server listens on loopback only.

    Otherwise a web page could read the answers, by a name of its own that resolves to
    127.0.0.1 (DNS rebinding).

    Args:
      host: Host header of a request; empty without one.
      listening: address on which the server listens.

    Raises:
      Refusal: the header names another host; 403.
    """
    if not host or not _is_loopback(listening):
        return
    try:
        is_allowed = _is_loopback(urllib.parse.urlsplit(f"//{host}").hostname or "")
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise Refusal(
            403,
            "The server listens on loopback only, so the Host header must be localhost "
            f"or 127.0.0.1. Received: {host[:40]!r}. --host 0.0.0.0 accepts others.",
        )


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_image(contents: bytes, max_pixels: int, bands: Bands = RGB) -> int | Refusal:
    """Checks by its header whether a server should decode an image file.

    Returns:
      The number of pixels, or the refusal (400) of a file that is not a JPEG, PNG or
      BMP, is damaged, has too many pixels or other bands, or would be decoded wrongly.
    """
    received = f"Received: {len(contents)} bytes"
    if not contents.startswith(preprocessing.SIGNATURES):
        kinds = "JPEG, PNG or BMP" if bands == RGB else f"PNG of {bands}"
        message = f"Image must be a {kinds}. {received} of another kind."
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
        _format_checker(bands)(contents)
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"Image must be [^\]\n]*\.", error.message)
        return Refusal(400, found[0] if found else f"Image must be whole. {received}.")
    return height * width


def _advise(contents: bytes) -> str:
    if contents.startswith((b"/9j/", b"iVBORw0KGgo", b"Qk")):
        return " It looks like base64: send {'b64': text} in JSON."
    if contents.startswith(b"--") and b"form-data" in contents[:1000].lower():
        return " It is a form: send the file itself, as curl --data-binary @FILE does."
    return ""
