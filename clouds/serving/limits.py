"""What a server lets in: bodies of a size, all of them within a memory, small images.

Sizes of images are read off their first bytes, before anything is unpacked.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import tensorflow as tf
from starlette.requests import Request

from clouds.serving.protocol import Refusal

_JPEG, _PNG, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
_LEFT_OUT = b"\0\r\n"
"""Bytes that curl's --data leaves out of a file, and that every image has."""
_RETRY_AFTER = 1


class Memory:
    """The bytes of all requests that are read or worked on.

    Args:
      most: that there may be.

    Attributes:
      held: that there are.
    """

    def __init__(self, most: int):
        self.most = most
        self.held = 0

    def take(self, count: int) -> None:
        """Counts bytes.

        Raises:
          Refusal: there would be too many; 503.
        """
        if self.held + count > self.most:
            raise Refusal(
                503, "The server has no memory left for this request.", _RETRY_AFTER
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Counts them no longer."""
        self.held -= count


@contextlib.asynccontextmanager
async def body(
    request: Request, most: int, memory: Memory, seconds: float
) -> AsyncIterator[bytes]:
    """Reads a request's body, which counts as long as the context lasts.

    What is too long is refused as soon as that is known; the connection then passes
    over the rest, so that a client that sends all before it reads sees the answer.

    Args:
      request: to read.
      most: bytes it may have.
      memory: to count them in.
      seconds: for all of it to arrive.

    Yields:
      The body.

    Raises:
      Refusal: it is too slow (408) or too long (413), or all are together (503).
      ClientDisconnect: it was cut short.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise _too_long(told, most)
    chunks, length = [], 0
    try:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    memory.take(len(chunk))
                    length += len(chunk)
                    if length > most:
                        raise _too_long("more", most)
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal(
                408, f"The request's body did not arrive within {seconds:g} s."
            ) from None
        whole = b"".join(chunks)
        chunks.clear()
        yield whole
    finally:
        memory.give_back(length)


def check_image(contents: bytes, most_pixels: int) -> None:
    """Refuses an image file that no server should unpack.

    Args:
      contents: of the file.
      most_pixels: that it may have.

    Raises:
      Refusal: it is no JPEG, PNG or BMP, or has too many pixels; 400.
    """
    as_image = contents.startswith((_JPEG, _PNG[:4], _BMP))
    if as_image and not any(byte in contents for byte in _LEFT_OUT):
        raise Refusal(
            400,
            f"Image must be a whole JPEG, PNG or BMP. Received: {len(contents)} bytes "
            "without a zero or a line's end, which curl's --data leaves out. Send the "
            "file with --data-binary.",
        )
    try:
        height, width = _sides(contents)
    except (struct.error, tf.errors.InvalidArgumentError):
        raise Refusal(
            400,
            "Image must be a whole JPEG, PNG or BMP. Received: "
            f"{len(contents)} bytes, which end before they tell its size.",
        ) from None
    if not 0 < height * width <= most_pixels:
        raise Refusal(
            400,
            f"Image must have from 1 to {most_pixels:,} pixels. Received: {width} x "
            f"{height}. Make it smaller: the model sees fewer.",
        )


def _sides(contents: bytes) -> tuple[int, int]:
    if contents.startswith(_JPEG):
        # The decoder's own reading, so that it cannot be of another opinion.
        height, width, _ = tf.io.extract_jpeg_shape(contents).numpy().tolist()
        return height, width
    if contents.startswith(_PNG):
        width, height = struct.unpack_from(">II", contents, 16)
        return height, width
    if contents.startswith(_BMP):
        width, height = struct.unpack_from("<ii", contents, 18)
        # One of negative height is stored from the top down.
        return abs(height), width
    raise Refusal(
        400,
        f"Image must be a JPEG, PNG or BMP. Received: {len(contents)} bytes that "
        "begin as none of these.",
    )


def _too_long(received: str, most: int) -> Refusal:
    return Refusal(
        413,
        f"A request must have {most} bytes at most. Received: {received}. Send fewer "
        "images at a time, or smaller ones.",
    )
