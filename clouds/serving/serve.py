"""Serves an exported model over HTTP, until it is told to stop."""

import logging
import signal
import socket

import uvicorn

from clouds.config.serving import Serving
from clouds.errors import InputError
from clouds.runtime import startup
from clouds.serving.app import Service
from clouds.serving.model_store import Model

_KEEP_ALIVE = 30


def serve(settings: Serving) -> None:
    """Loads the model, then answers requests until SIGTERM or Ctrl-C.

    Requests that have begun are then finished, within `settings.shutdown_timeout`.

    Args:
      settings: the model, the address, the limits.

    Raises:
      InputError: the model cannot be loaded, or the address not be listened at.
    """
    with _listening(settings.host, settings.port) as listener:
        startup.freeze_kernels()
        warm = sorted({1, settings.max_batch})
        model = Model(settings.model, settings.name, warm)
        application = Service(settings, model).application()
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
                # uvicorn counts the connection that asks, too.
                limit_concurrency=settings.connections + 1,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=settings.shutdown_timeout,
            )
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(
            f"{settings.name}, version {model.version.number}: http://{shown}:{port}/",
            flush=True,
        )
        # uvicorn raises the signal that ended it once more.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        server.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as fault:
        raise InputError(
            "--host and --port must be an address of this machine, and free. Received: "
            f"{host} and {port} ({fault.strerror}). Choose others; --port 0 takes any."
        ) from fault
