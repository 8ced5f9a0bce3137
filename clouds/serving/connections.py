"""HTTP connections that do not wait for ever, and are not too many.

uvicorn times a connection only between two requests. Here a request must also have
come whole within a time, its headers and its body, and an answer must have been read
within it; so that clients that trickle bytes, or take none, hold no connection long.
"""

import asyncio
import http

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from clouds.serving import protocol
from clouds.serving.protocol import Refusal

_RETRY_AFTER = 1
_UNANSWERED = h11.IDLE, h11.SEND_RESPONSE
_HEADERS = 16_384
"""What h11 reads at most, unless told otherwise."""


def limited(most: int, patience: float) -> type[asyncio.Protocol]:
    """Makes uvicorn's `http` of two limits.

    Args:
      most: connections at a time. What comes above is told 503, and twice as many
        are cut off.
      patience: seconds for a request, or for reading its answer.
    """

    class Limited(_Patient):
        seconds = patience

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > 2 * most:
                transport.abort()
            elif len(self.connections) > most:
                self.app = _busy

    return Limited


class _Patient(H11Protocol):
    """A connection that is closed where its client takes too long."""

    seconds: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.ERROR:
            return
        super().data_received(data)
        self._watch()

    def eof_received(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self.data_received(b"")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.seconds, self._cut_off)

    def _watch(self) -> None:
        state = self.conn.their_state
        begun = state is h11.IDLE and bool(self.conn.trailing_data[0])
        if state is h11.SEND_BODY or begun:
            self._start()
        elif state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            self._stop()

    def _start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in _UNANSWERED:
            self._answer(408, f"A request must have come within {self.seconds:g} s.")
        self.transport.close()
        self.loop.call_later(self.seconds, self._cut_off)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, a hook of uvicorn's, which sends plain text."""
        if self.conn.our_state not in _UNANSWERED:
            self.transport.close()
            return
        self._answer(
            400,
            "Malformed request: it must be HTTP/1.1, and its headers have "
            f"{_HEADERS} bytes at most.",
        )
        if self.cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # To close with bytes unread would reset the connection, the answer with it.
        self.transport.write_eof()
        self.loop.call_later(self.seconds, self.transport.abort)

    def _answer(self, status: int, reason: str) -> None:
        _, headers, body = _message(Refusal(status, reason))
        phrase = http.HTTPStatus(status).phrase
        response = h11.Response(status_code=status, headers=headers, reason=phrase)
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))

    def _cut_off(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


async def _busy(scope, receive, send) -> None:
    refusal = Refusal(503, "The server has too many connections.", _RETRY_AFTER)
    status, headers, body = _message(refusal)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _message(refusal: Refusal) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    body = protocol.error(refusal)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    return refusal.status, headers, body
