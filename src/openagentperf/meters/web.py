"""HTTP requests of meters: one kept-alive connection a meter, short timeouts, no proxy from the environment, no redirects followed."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

TIMEOUT_S = 5.0
_MAX_BODY_BYTES = 32 << 20
_PIECE_BYTES = 1 << 16

_DROPPED = (http.client.BadStatusLine, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a kept connection says that the server has closed in the meantime. RemoteDisconnected is a BadStatusLine."""


class WebError(Exception):
    """No usable answer, in a few words."""


class Answer:
    """Status, headers (names in lower case) and body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Web:
    """Requests to one server. Used by one thread.

    ca_file    PEM file of a private certificate authority, which is then the only one trusted
    insecure   certificates are not checked at all
    timeout_s  for each silence of the server, and for the whole body of an answer
    """

    def __init__(self, url: str, *, ca_file: str = "", insecure: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        parts = _split(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port
        self.path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=ca_file or None)
            except OSError as error:  # ssl.SSLError is one
                raise WebError(f"the CA file {ca_file} cannot be used ({error})") from error
            if insecure:
                self._context.check_hostname = False
                self._context.verify_mode = ssl.CERT_NONE
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request; a kept connection that the server has closed is dialled anew once. WebError where no answer comes."""
        kept = self._connection is not None
        try:
            try:
                return self._ask(method, path, headers or {}, body)
            except _DROPPED:
                self.close()
                if not kept:
                    raise
                return self._ask(method, path, headers or {}, body)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a path that HTTP cannot carry
            self.close()
            raise WebError(_words(error)) from error
        except WebError:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        if self._connection is None:
            if self._context is not None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout_s, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        self._connection.request(method, path or "/", body=body, headers=dict(headers))
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, self._body(response))

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        # The socket's timeout starts anew with every piece: a server that drips one byte a second would never be late by it alone.
        until = time.monotonic() + self._timeout_s
        data = bytearray()
        while piece := response.read1(_PIECE_BYTES):
            data += piece
            if len(data) > _MAX_BODY_BYTES:
                raise WebError(f"the answer is longer than {_MAX_BODY_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise TimeoutError
        # read1 gives what there is; only `length` tells that a body was cut short.
        if response.length:
            raise http.client.IncompleteRead(bytes(data), response.length)
        response.close()  # which read1 does not do at the end; until then the connection takes no other request
        return bytes(data)


def public(url: str) -> str:
    """The URL as it may stand in a result: without user, password and query. Of any text: messages about wrong URLs hold it too."""
    scheme, _, rest = url.partition("://")
    path = rest.partition("?")[0].partition("/")[2]
    return f"{scheme}://{place(url)}/{path}" if path else f"{scheme}://{place(url)}"


def place(url: str) -> str:
    """Host, and port where it is not the usual one: what tells apart two servers whose devices have the same names."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable:
        raise WebError(f"`{url}` is no http or https URL")
    if parts.username is not None:
        raise WebError("the URL holds a user name; secrets are named by variables (user_env, password_env, token_env)")
    return parts


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, _DROPPED):
        return "the server closed the connection"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut short"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
