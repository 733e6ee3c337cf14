"""The dashboard as a server: in the foreground, until it is told to end."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn
from msgspec import Struct

from openagentperf.dash.app import Dashboard
from openagentperf.dash.guard import SHORTEST_TOKEN
from openagentperf.dash.library import Library
from openagentperf.errors import UsageError
from openagentperf.listening import is_loopback, listener, url

_NICE = 5
"""Where a run goes on on this host, its load loop comes first."""
_SOON_S = 2


class Wish(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    runs: Path
    host: str = "127.0.0.1"
    port: int = 8380
    token: str = ""
    hosts: tuple[str, ...] = ()


class _Server(uvicorn.Server):
    """Ends its streams as soon as it is told to end: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending()
        super().handle_exit(sig, frame)


def serve(wish: Wish, tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `tell` is given the address, with the token that opens it where one is needed.

    UsageError: no such folder, a port that cannot be had, a token that is too short.
    """
    if not wish.runs.is_dir():
        raise UsageError(str(wish.runs), "is no folder", "a folder of runs, or one run, was needed", "check the path")
    if wish.token and (len(wish.token) < SHORTEST_TOKEN or not wish.token.isascii() or not wish.token.isprintable()):
        raise UsageError(
            "--token", "is too short, or holds more than printable ASCII", f"{SHORTEST_TOKEN} characters or more were needed",
            "leave it out: one is made where it is needed",
        )  # fmt: skip
    token = wish.token or ("" if is_loopback(wish.host) else secrets.token_urlsafe(24))
    with listener("--port", wish.host, wish.port) as bound:
        port = bound.getsockname()[1]
        dashboard = Dashboard(Library(wish.runs))
        app = dashboard.app(wish.host, port, frozenset(name.lower() for name in wish.hosts), token)
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=_SOON_S,
            timeout_keep_alive=30, proxy_headers=False, lifespan="off", limit_concurrency=512, h11_max_incomplete_event_size=1 << 16,
        )  # fmt: skip
        with suppress(OSError):
            os.nice(_NICE)
        tell(_address(wish.host, port, token))
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again when all is closed
            _Server(config, dashboard.hub.close).run([bound])


def _address(host: str, port: int, token: str) -> str:
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"{url(host, port)}/" + (f"?token={token}" if token else "")
