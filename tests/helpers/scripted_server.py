"""An HTTP server of prepared answers."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def scripted(*answers):
    """Serves answers (status, headers, body): the address, and the requests so far."""
    left, seen = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self):
            length = int(self.headers.get("content-length", 0))
            seen.append((self.path, self.rfile.read(length)))
            status, headers, body = left.pop(0)
            self.send_response(status)
            if isinstance(body, bytes):
                headers, body = {"content-length": len(body), **headers}, [body]
            for name, value in headers.items():
                self.send_header(name, str(value))
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in body:
                    self.wfile.write(piece)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()
