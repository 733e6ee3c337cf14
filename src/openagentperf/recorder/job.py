"""A recording from start to stop: listen, forward, hand over what went by, wait until it is written."""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from msgspec import Struct

from openagentperf import __version__
from openagentperf.client.endpoint import Address, resolve, tls_context
from openagentperf.corpus.scrubrules import Rules
from openagentperf.errors import InfrastructureError, OpenAgentPerfError, StorageError, UsageError
from openagentperf.listening import url
from openagentperf.recorder.courier import Courier
from openagentperf.recorder.front import Front
from openagentperf.recorder.protocol import Done, Setup, Trouble, Wrote
from openagentperf.recorder.proxy import Proxy
from openagentperf.records.capture import Dialect, Started

Note = Callable[[str], object]


class Wish(Struct, frozen=True, kw_only=True):
    """What to record, and where."""

    upstream: str
    """The endpoint's base URL, with or without /v1."""
    out: Path
    host: str
    port: int
    """0: any free one."""
    dialect: Dialect | None
    """None: told by each request's path."""
    rules: Rules | None
    """None: nothing is scrubbed."""
    ca_file: str = ""


class Recorded(Struct, frozen=True, kw_only=True):
    """What one recording wrote. JSON-able."""

    exchanges: int
    """Written to the log by this recording."""
    passed: int
    """Requests that only went through: other methods and paths."""
    not_recorded: dict[str, int]
    """Requests of a recorded kind that are not in the log, by the reason."""
    scrubbed: dict[str, int]
    """Different values taken out, by rule."""
    replaced: dict[str, int]
    """Their occurrences."""


def record(wish: Wish, note: Note) -> tuple[Recorded, OpenAgentPerfError | None]:
    """Record until SIGINT or SIGTERM, into the log `capture.jsonl` in wish.out. `note` is told lines for a person, the address among them.

    The error is what broke the recording off while the agents were served on: a full disk, a writer that died. What had been written
    stands in the log. Raises EndpointError, UsageError, InfrastructureError or StorageError for a wish that cannot be carried out at all.
    """
    address = resolve(wish.upstream, "--upstream", unix=False)
    context = tls_context(wish.ca_file) if address.tls else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        proxy, courier, done, troubles = runner.run(_serve(wish, address, context, note))
    lost = {why: count for why, count in sorted(proxy.counts.items()) if why not in ("recorded", "passed")}
    if missing := courier.dropped + (done.unreadable if done is not None else 0):
        lost["not written"] = missing
    recorded = Recorded(
        exchanges=0 if done is None else done.exchanges,
        passed=proxy.counts["passed"],
        not_recorded=lost,
        scrubbed={} if done is None else done.distinct,
        replaced={} if done is None else done.replaced,
    )
    return recorded, _error(troubles[0]) if troubles else None


async def _serve(
    wish: Wish, address: Address, context: ssl.SSLContext | None, note: Note
) -> tuple[Proxy, Courier, Done | None, list[Trouble]]:
    loop = asyncio.get_running_loop()
    troubles: list[Trouble] = []

    def hear(said: Wrote | Trouble) -> None:
        if isinstance(said, Trouble):
            troubles.append(said)
            note(f"error: {said.where}: {said.found}; the agents are served on, what comes now may not be recorded")
        elif said.exchanges == 1:
            note("the first exchange is recorded")

    started = Started(
        at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        upstream=f"{'https' if address.tls else 'http'}://{address.host}{address.path}",
        version=__version__,
        scrubbed=wish.rules is not None,
    )
    courier = await Courier.start(Setup(folder=str(wish.out), started=started, rules=wish.rules), hear)
    try:
        proxy = Proxy(address, context, wish.dialect, courier)
        server = await _listen(loop, proxy, wish)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        note(f"listening on {url(*server.sockets[0].getsockname()[:2])}")
        gc.collect()
        gc.freeze()  # a full collection over the imports would stop all streams for some 10 ms
        await stop.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second Ctrl-C does not wait for the writer
        server.close()
        proxy.stop()
        await asyncio.sleep(0)  # one turn of the loop, in which the connections learn of it
    finally:
        done = await courier.finish()
    return proxy, courier, done, troubles


async def _listen(loop: asyncio.AbstractEventLoop, proxy: Proxy, wish: Wish) -> asyncio.Server:
    try:
        server = await loop.create_server(lambda: Front(proxy), wish.host, wish.port, backlog=1024)
    except OSError as error:
        raise InfrastructureError(
            f"--listen {wish.host}:{wish.port}",
            f"cannot be listened on ({error.strerror or error})",
            "a free address of this host was needed",
            "name another, or port 0 for any free one",
        ) from error
    if proxy.address.sockaddr[:2] in [listening.getsockname()[:2] for listening in server.sockets]:
        server.close()
        raise UsageError(
            "--upstream",
            f"is the recorder's own address {wish.host}:{wish.port}",
            "the endpoint's was needed",
            "correct one of them",
        )
    return server


def _error(trouble: Trouble) -> OpenAgentPerfError:
    kind = StorageError if trouble.storage else InfrastructureError
    return kind(trouble.where, trouble.found, trouble.needed, trouble.fix)
