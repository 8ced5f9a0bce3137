import asyncio
import contextlib
import json

import pytest
import uvicorn

from clouds.serving import connections

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
CHUNKED = REQUEST.replace(b"content-length: 10", b"transfer-encoding: chunked")
PATIENCE = 0.3


async def app(scope, receive, send):
    """Answers with the body's length: at once if /early, and at length if /big."""
    assert scope["type"] == "http"
    length, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    body = bytes(30_000_000) if scope["path"] == "/big" else str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def listening(most=10):
    http = connections.limited(most, PATIENCE)
    options = {"lifespan": "off", "log_config": None, "timeout_keep_alive": 1}
    server = uvicorn.Server(uvicorn.Config(app, http=http, port=0, **options))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


def talk(scenario, **options):
    async def whole():
        async with listening(**options) as (server, port):
            return await scenario(
                lambda: asyncio.open_connection("127.0.0.1", port), server
            )

    return asyncio.run(whole())


async def said(reader, writer, *pieces, pause=0):
    """What is answered to pieces, sent with pauses, until the connection ends."""
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"POST / HT"],
        [b"POST / HTTP/1.1\r\nx: y\r\n"] + [b"x: y\r\n"] * 3,
        [REQUEST],
        [REQUEST, b"a", b"a", b"a"],
    ],
)
def test_what_does_not_come_whole_in_time_is_told_408(pieces):
    async def scenario(connect, server):
        return await said(*await connect(), *pieces, pause=PATIENCE / 5)

    answer = talk(scenario)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert "within 0.3 s" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 300_000,
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"no HTTP\r\n\r\n",
        CHUNKED + b"no chunk\r\n",
    ],
)
def test_what_is_no_request_is_told_400(sent):
    async def scenario(connect, server):
        return await said(*await connect(), sent)

    head, _, body = talk(scenario).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert "16384 bytes at most" in json.loads(body)["error"]


def test_a_body_that_ends_too_early_is_told_400():
    async def scenario(connect, server):
        reader, writer = await connect()
        writer.write(REQUEST + b"01234")
        writer.write_eof()
        return await said(reader, writer)

    assert talk(scenario).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_what_is_no_request_after_an_answer_began_only_ends_the_connection():
    async def scenario(connect, server):
        reader, writer = await connect()
        writer.write(CHUNKED.replace(b"POST /", b"POST /early"))
        await reader.readuntil(b"\r\n\r\n0")
        assert await said(reader, writer, b"no chunk\r\n") == b""

    talk(scenario)


def test_a_request_that_comes_in_time_is_answered_however_long_it_is_idle_after():
    async def scenario(connect, server):
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST + b"0123456789")
            assert (await reader.readuntil(b"\r\n\r\n10")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(2 * PATIENCE)
        writer.close()

    talk(scenario)


def test_what_is_still_sent_after_the_answer_is_passed_over_but_not_for_ever():
    async def scenario(connect, server):
        early = REQUEST.replace(b"POST /", b"POST /early")
        reader, writer = await connect()
        writer.write(early + b"01234")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"56789" + REQUEST + b"0123456789")
        await reader.readuntil(b"\r\n\r\n10")
        writer.write(early + b"01234")
        await reader.readuntil(b"\r\n\r\n0")
        assert await said(reader, writer) == b""

    talk(scenario)


def test_an_answer_that_nobody_reads_is_dropped():
    async def scenario(connect, server):
        reader, writer = await connect()
        writer.write(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n")
        await asyncio.sleep(PATIENCE / 3)
        assert server.server_state.connections
        # By now it waits to be read; uvicorn alone would keep it.
        await asyncio.sleep(2 + PATIENCE)
        assert not server.server_state.connections
        writer.close()

    talk(scenario)


def test_too_many_connections_are_told_503_and_far_too_many_are_cut_off():
    async def scenario(connect, server):
        idle = [await connect() for _ in range(3)]
        answer = await said(*await connect(), REQUEST + b"0123456789")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer.lower()
        idle += [await connect() for _ in range(3)]
        reader, writer = await connect()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        for _, each in [*idle, (None, writer)]:
            each.close()
        await asyncio.sleep(0.1)
        reader, writer = await connect()
        writer.write(REQUEST + b"0123456789")
        await reader.readuntil(b"\r\n\r\n10")
        writer.close()

    talk(scenario, most=3)
