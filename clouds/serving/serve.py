"""Serves an exported model over HTTP until it is stopped."""

import logging
import signal
import socket

import uvicorn

from clouds.config.serving import Serving
from clouds.errors import InputError
from clouds.runtime import startup
from clouds.serving import limits
from clouds.serving.app import Service
from clouds.serving.model_store import Model

_KEEP_ALIVE = 30
"""Seconds until an idle connection is closed."""


def serve(settings: Serving) -> None:
    """Loads a model, then answers requests until SIGTERM or Ctrl-C.

    Open requests may then finish within `settings.shutdown_timeout`.

    Args:
      settings: model, address and limits.

    Raises:
      InputError: the model cannot be loaded, or the address is not available.
    """
    with _listen(settings.host, settings.port) as listener:
        startup.freeze_kernels()
        model = Model(settings.model, settings.name, sorted({1, settings.max_batch}))
        application = limits.Connections(
            Service(settings, model).application(),
            most=settings.max_connections,
            max_bytes=int(settings.max_body * 1_000_000),
            seconds=settings.request_timeout,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level=None if logging.root.handlers else "error",
                access_log=False,
                server_header=False,
                # Beyond that, requests are refused without being read.
                limit_concurrency=2 * settings.max_connections + 1,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=settings.shutdown_timeout,
            )
        )
        application.count = lambda: len(server.server_state.connections)
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        number = model.version.number
        print(f"{settings.name}, version {number}: http://{host}:{port}/", flush=True)
        # uvicorn raises the signal that stopped it again.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise InputError(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another "
            "--host or --port; --port 0 picks a free one."
        ) from error
