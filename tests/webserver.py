"""A scripted HTTP server on loopback, with or without TLS, for what meters ask of exporters and BMCs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    promised: int | None = None
    """Content-Length, where it is not the body's: the connection is closed behind the body then."""
    last: bool = False
    """The connection is closed behind it, unannounced: as a server does that forgets idle clients."""


Script = Callable[[Request], Reply | None]
"""None: the connection is closed without an answer."""


class WebServer(ThreadingHTTPServer):
    """Answers by `script`, which may be replaced at any time. `requests` is what was asked, in order."""

    daemon_threads = True

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self._context = context
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self._context else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.server_address[1]}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens any more, and open connections are closed. May be called twice."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.drop_all()

    def drop_all(self) -> None:
        """Close every open connection: a server that was restarted."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # -- of socketserver ---------------------------------------------------------------------------------------------------------

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if (
            self._context is not None
        ):  # the handshake is the handler's: a client that breaks it off must not stop the server
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections += 1
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that go away, and handshakes that fail: the tests look at the client's side


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second would wait 40 ms for the receipt of the first.
    disable_nagle_algorithm = True
    server: WebServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        self.server.requests.append(request)
        reply = self.server.script(request)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) if reply.promised is None else reply.promised))
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.promised is not None or reply.last:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass
