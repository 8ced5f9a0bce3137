"""Limits on requests: bytes of a body, bytes of all bodies, pixels of an image."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import tensorflow as tf
from starlette.requests import Request

from clouds.data import preprocessing
from clouds.serving.protocol import Refusal

_RETRY_AFTER = 1

_header_size = tf.function(
    preprocessing.header_size, input_signature=[tf.TensorSpec([], tf.string)]
)


class Memory:
    """The bytes of all requests that are being read or answered.

    Args:
      limit: maximum number of bytes.

    Attributes:
      held: current number of bytes.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self.held = 0

    def take(self, count: int) -> None:
        """Adds bytes.

        Raises:
          Refusal: the limit would be exceeded; 503.
        """
        if self.held + count > self._limit:
            raise Refusal(
                503, "The server has no memory left for this request.", _RETRY_AFTER
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Subtracts bytes."""
        self.held -= count


@contextlib.asynccontextmanager
async def body(
    request: Request, max_bytes: int, memory: Memory, seconds: float
) -> AsyncIterator[bytes]:
    """Reads the body of a request, which counts as long as the context lasts.

    A body that is too long is refused at once. The connection then discards the rest,
    so that a client that sends everything before it reads still gets the answer.

    Args:
      request: request to read.
      max_bytes: maximum length of the body.
      memory: memory that the body counts in.
      seconds: timeout for the entire body.

    Yields:
      The body.

    Raises:
      Refusal: the body is too slow (408) or too long (413), or all bodies together
        are (503).
      ClientDisconnect: the client disconnected.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_long(declared, max_bytes)
    chunks, length = [], 0
    try:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    memory.take(len(chunk))
                    length += len(chunk)
                    if length > max_bytes:
                        raise _too_long("more", max_bytes)
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal(
                408, f"The body of the request did not arrive within {seconds:g} s."
            ) from None
        contents = b"".join(chunks)
        chunks.clear()
        yield contents
    finally:
        memory.give_back(length)


def check_image(contents: bytes, max_pixels: int) -> None:
    """Rejects an image file that a server should not decode, by its header.

    Args:
      contents: contents of the file.
      max_pixels: maximum number of pixels.

    Raises:
      Refusal: it is not a JPEG, PNG or BMP, is damaged, or has too many pixels; 400.
    """
    received = f"Received: {len(contents)} bytes"
    if not contents.startswith(preprocessing.SIGNATURES):
        raise Refusal(
            400, f"Image must be a JPEG, PNG or BMP. {received} of another kind."
        )
    try:
        height, width = _header_size(contents).numpy().tolist()
    except tf.errors.InvalidArgumentError:
        raise Refusal(
            400,
            f"Image must be a complete JPEG, PNG or BMP. {received} without its size.",
        ) from None
    if not 0 < height * width <= max_pixels:
        raise Refusal(
            400,
            f"Image must have from 1 to {max_pixels:,} pixels. Received: {width} x "
            f"{height}. Send a smaller one: the model resizes it anyway.",
        )


def _too_long(received: str, max_bytes: int) -> Refusal:
    return Refusal(
        413,
        f"A request must have {max_bytes} bytes at most. Received: {received}. Send "
        "fewer images per request, or smaller ones.",
    )
