"""Who may ask, and what every answer carries: host names against DNS rebinding, a token where the dashboard is reachable from elsewhere,
and headers that leave a page nothing to load but our own files.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openagentperf.listening import is_loopback

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
DOCUMENT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of reports and comparisons, which have their style inside: no script runs in them, and their origin is nobody's."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SHORTEST_TOKEN = 16


def host_name(header: str) -> str:
    """A Host header without its port: `[::1]:80` is `::1`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


class Guard:
    """An ASGI app around another.

    hosts   names by which this server may be asked, besides loopback's. A page elsewhere can make its own name lead here, and its
            requests then bear that name.
    token   "" where none is needed
    """

    def __init__(self, app: ASGIApp, bound: str, hosts: frozenset[str], token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._cookie = f"openagentperf_{port}"
        """Cookies know no ports: two dashboards on one host must not take each other's."""
        self._hosts = hosts | {bound.lower()}
        self._any_address = not is_loopback(bound)
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", PAGE_POLICY)
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._known(host_name(headers.get("host", ""))):
            return PlainTextResponse(
                "This dashboard is not known by that name. Use the address that it printed, or start it with --allow-host NAME.\n", 421
            )  # fmt: skip
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("The dashboard only reads.\n", 405, headers={"Allow": "GET, HEAD"})
        if not self._token:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and self._right(given[-1]):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            # `//host` and `/\host` would lead away from here.
            path = "/" + scope.get("raw_path", b"/").decode("latin-1").partition("?")[0].lstrip("/\\")
            response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            response.set_cookie(self._cookie, given[-1], httponly=True, samesite="lax")
            return response
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and self._right(bearer)) or self._right(self._from_cookie(headers)):
            return None
        return PlainTextResponse(
            "A token is needed: open the address with ?token=... that `openagentperf dashboard` printed when it was started.\n", 401
        )  # fmt: skip

    def _known(self, host: str) -> bool:
        if host in self._hosts or is_loopback(host):
            return True
        if not self._any_address:
            return False
        try:  # an address cannot be made to lead elsewhere
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _from_cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)
