import asyncio
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny_export
from starlette.requests import Request
from starlette.responses import Response

from clouds.schema import Bands
from clouds.serving import limits
from clouds.serving.protocol import Refusal

GREY = np.full((8, 9), 77, np.uint8)


def reader(max_bytes=10, max_total=1000, seconds=5):
    return limits.Bodies(max_bytes=max_bytes, max_total=max_total, seconds=seconds)


def read(bodies, chunks, headers=()):
    """Reads a body of chunks; returns it and the bytes held meanwhile."""
    waiting = list(chunks)

    async def receive():
        chunk = waiting.pop(0)
        await asyncio.sleep(10 if chunk is None else 0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def read_all():
        scope = {"type": "http", "method": "POST", "headers": list(headers)}
        async with bodies.read(Request(scope, receive)) as body:
            return body, bodies.held

    return asyncio.run(read_all())


def test_a_body_counts_as_long_as_it_is_used():
    bodies = reader()
    assert read(bodies, [b"abc", b"", b"de"]) == (b"abcde", 5)
    assert bodies.held == 0


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [
        ([b"x" * 6] * 2, []),
        ([], [(b"content-length", b"11")]),
        ([b"x" * 11], [(b"content-length", b"5")]),
    ],
)
def test_a_body_that_is_too_long_is_refused_before_it_is_read(chunks, headers):
    bodies = reader()
    with pytest.raises(Refusal, match="10 bytes at most") as refusal:
        read(bodies, chunks, headers)
    assert refusal.value.status == 413
    assert bodies.held == 0


def test_a_compressed_body_is_refused():
    with pytest.raises(Refusal, match="must not be compressed") as refusal:
        read(reader(), [b"abc"], [(b"content-encoding", b"gzip")])
    assert refusal.value.status == 415


@pytest.mark.parametrize("chunks", [[None], [b"abc", None]])
def test_a_body_that_does_not_arrive_in_time_is_refused(chunks):
    bodies = reader(seconds=0.1)
    with pytest.raises(Refusal, match="did not arrive within 0.1 s") as refusal:
        read(bodies, chunks)
    assert refusal.value.status == 408
    assert bodies.held == 0


def test_all_bodies_share_a_limit():
    bodies = reader(max_total=8)
    bodies.held = 5
    with pytest.raises(Refusal, match="memory") as refusal:
        read(bodies, [b"abc", b"d"])
    assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
    assert bodies.held == 5
    bodies.held = 4
    assert read(bodies, [b"abcd"]) == (b"abcd", 8)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_an_image_with_few_pixels_is_accepted(ending):
    contents = tiny_export.encoded(ending)
    assert limits.check_image(contents, 140 * 210) == 140 * 210
    refusal = limits.check_image(contents, 140 * 210 - 1)
    assert "Received: 210 x 140" in refusal.reason


def bomb():
    """A PNG of 100 kB that unpacks to 30,000 x 30,000 pixels."""
    header = struct.pack(">II5B", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(100_000)


def huge_jpeg():
    contents = bytearray(tiny_export.encoded(".jpg"))
    frame = contents.index(b"\xff\xc0")
    contents[frame + 5 : frame + 9] = b"\xff\x00\xff\x00"
    return bytes(contents)


@pytest.mark.parametrize("contents", [bomb(), huge_jpeg()])
def test_a_decompression_bomb_is_refused_by_its_header(contents):
    refusal = limits.check_image(contents, 1_000_000)
    assert "from 1 to 1,000,000 pixels" in refusal.reason


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "0 bytes of another kind"),
        (b"GIF89a" + bytes(100), "106 bytes of another kind"),
        (b"not an image", "of another kind"),
        (b"/9j/4AAQSkZJRg", "send {'b64': text}"),
        (b"--1\r\nContent-Disposition: form-data; name", "curl --data-binary"),
        (b"\xff\xd8\xff\0", "without its size"),
        (b"\x89PNG\r\n\x1a\n", "Received: 0 x 0"),
        (b"BM\0", "Received: 0 x 0"),
        (b"BM" + bytes(40), "Received: 0 x 0"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "Received: 0 x 0"),
        (tiny_export.encoded(".jpg")[:100], "without its size"),
        (cv2.imencode(".bmp", GREY)[1].tobytes(), "a BMP of 24 bits"),
        (cv2.imencode(".png", GREY.astype("u2"))[1].tobytes(), "almost black"),
    ],
)
def test_a_bad_image_is_refused_with_a_reason(contents, reason):
    refusal = limits.check_image(contents, 1_000_000)
    assert reason in refusal.reason
    assert refusal.status == 400


def test_noise_is_refused_or_accepted_but_raises_nothing_else():
    noise = np.random.default_rng(0)
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"):
        for length in range(0, 200, 7):
            refusal = limits.check_image(start + noise.bytes(length), 10**6)
            assert refusal is None or refusal.status == 400


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "LOCALHOST:8501", "127.0.0.1:8501", "127.1.2.3", "[::1]:80"],
)
def test_names_of_this_machine_are_answered_on_loopback(host):
    for listening in ("127.0.0.1", "::1", "localhost"):
        limits.check_host(host, listening)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "1.2.3.4",
        "[::",
        "@",
    ],
)
def test_other_names_are_refused_on_loopback_only(host):
    with pytest.raises(Refusal, match="--host 0.0.0.0 accepts others") as refusal:
        limits.check_host(host, "127.0.0.1")
    assert refusal.value.status == 403
    limits.check_host(host, "0.0.0.0")


def answered(count, body, most=2, headers=(), seconds=5.0):
    """Sends a request through `limits.Connections`; returns status, body, chunks."""
    sent, read = [], []

    async def application(scope, receive, send):
        await Response("ok")(scope, receive, send)

    async def receive():
        if len(read) == len(body):
            return await asyncio.Future()
        more = len(read) + 1 < len(body)
        read.append(body[len(read)])
        return {"type": "http.request", "body": read[-1], "more_body": more}

    async def send(message):
        sent.append(message)

    async def whole():
        limited = limits.Connections(
            application, most=most, max_bytes=10, seconds=seconds
        )
        limited.count = lambda: count
        scope = {"type": "http", "method": "POST", "headers": headers}
        await limited(scope, receive, send)

    asyncio.run(whole())
    return sent[0]["status"], sent[1]["body"], len(read)


def test_uploads_beyond_the_connections_are_read_and_get_503():
    assert answered(2, [b"abc", b"def"]) == (200, b"ok", 0)
    status, text, chunks = answered(3, [b"abc", b"def"])
    assert (status, chunks) == (503, 2)
    assert b"more than 2 connections" in text


def test_little_is_read_of_uploads_beyond_the_connections():
    assert answered(3, [bytes(6)] * 9)[::2] == (503, 2)
    expect = [(b"expect", b"100-continue")]
    assert answered(3, [b"abc"], headers=expect)[::2] == (503, 0)
    assert answered(3, [], seconds=0.01)[::2] == (503, 0)


def test_an_image_of_other_bands_is_refused_by_its_header():
    bands = Bands(("vis", "ir"), "uint16")
    image = np.ones((4, 6, 2), np.uint16)
    good = tf.io.encode_png(image).numpy()
    assert limits.check_image(good, 100, bands) == 24
    for bad in (image.astype(np.uint8), image[..., :1]):
        refusal = limits.check_image(tf.io.encode_png(bad).numpy(), 100, bands)
        assert "Image must be a PNG of 2 bands of uint16 (vis, ir)." in refusal.reason
