"""Runs that somebody looks at: each is polled once a second however many look, and not at all once nobody has for minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from openagentperf.dash.library import Library, Run
from openagentperf.live.records import Snapshot
from openagentperf.live.watch import RunWatch
from openagentperf.report.page import clean

PERIOD_S = 1.0
BEAT_S = 5.0
"""A page that hears nothing for three times as long takes the line for dead."""
IDLE_S = 300.0
"""From the last look to the end of a watch: longer than any scraper's interval (Prometheus drops a series after as long), which would
else be told of a run that is read anew each time, and of its first rows only."""
MOST_STREAMS = 100
MOST_RUNS = 32
"""Watched at once: each holds up to 24 MB of a phase's values."""
_TEXT, _NAME = 2_000, 300
_KEPT_PHASES = 16


class Busy(Exception):
    """More at once than the dashboard serves."""


def shown(value: object) -> bytes:
    """JSON in which every string is fit to be shown: no control codes, no marks that turn the direction of writing, nothing without end."""
    return msgspec.json.encode(_clean(msgspec.to_builtins(value)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value, _TEXT)
    if isinstance(value, dict):
        return {clean(str(key), _NAME): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if all(item is None or isinstance(item, int | float) for item in value):
            return value
        return [_clean(item) for item in value]
    return value


class Channel:
    """One run as it is told to all who look at it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.used_s = time.monotonic()
        self.seen: Snapshot | None = None
        self.about = self.now = b""
        self.changed = asyncio.Event()
        """Of the next change: replaced by a new one whenever it is set."""
        self.ended = False
        """Nobody polls it any more."""
        self._watch = RunWatch(run.folder)
        self._closed: dict[int, bytes] = {}
        self._lock = asyncio.Lock()

    async def poll(self) -> None:
        async with self._lock:
            seen, about, now = await asyncio.to_thread(self._poll)
        self.seen = seen
        if (about, now) != (self.about, self.now):
            self.about, self.now = about, now
            self.changed.set()
            self.changed = asyncio.Event()

    def _poll(self) -> tuple[Snapshot, bytes, bytes]:
        seen = self._watch.poll()
        about = self.about if self.seen is not None and self.seen.about == seen.about else shown(seen.about)
        return seen, about, shown(seen.now)

    async def closed(self, index: int) -> bytes:
        """A judged phase as JSON. StorageError where its tables cannot be read; KeyError where there is none."""
        async with self._lock:
            if index not in self._closed:
                view = await asyncio.to_thread(lambda: shown(self._watch.closed(index)))
                while len(self._closed) >= _KEPT_PHASES:
                    del self._closed[next(iter(self._closed))]
                self._closed[index] = view
            return self._closed[index]


class Hub:
    def __init__(self, library: Library, most_runs: int = MOST_RUNS) -> None:
        self.library, self._most_runs = library, most_runs
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream, so that the server can end; a page then comes back by itself."""
        self._closing.set()

    async def channel(self, run: Run) -> Channel:
        """Of a run, polled at least once."""
        found = self._channels.get(run.id)
        if found is None:
            if len(self._channels) >= self._most_runs:
                self._make_room()
            found = self._channels[run.id] = Channel(run)
            task = asyncio.create_task(self._go_on(found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        found.used_s = time.monotonic()
        if found.seen is None:
            await found.poll()
        return found

    def _make_room(self) -> None:
        """End the watch of the run that was not looked at for the longest time; Busy where each has somebody before it."""
        oldest = min(self._channels.values(), key=lambda channel: channel.used_s)
        if time.monotonic() - oldest.used_s < 2 * BEAT_S:  # an open page looks again within one
            raise Busy
        self._end(oldest)

    def _end(self, channel: Channel) -> None:
        channel.ended = True
        channel.changed.set()
        if self._channels.get(channel.run.id) is channel:
            del self._channels[channel.run.id]

    async def _go_on(self, channel: Channel) -> None:
        try:
            while not (self._closing.is_set() or channel.ended) and time.monotonic() - channel.used_s < IDLE_S:
                await channel.poll()
                await asyncio.sleep(PERIOD_S)
        finally:
            self._end(channel)

    async def stream(self, run: Run) -> AsyncIterator[bytes]:
        """Server-sent events: `about` and `now`, whole each time they change, so that whoever comes back has missed nothing."""
        if self._streams >= MOST_STREAMS:
            raise Busy
        channel = await self.channel(run)
        return self._events(channel)

    async def _events(self, channel: Channel) -> AsyncIterator[bytes]:
        self._streams += 1
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            yield b"retry: 1000\n\n"
            about = now = b""
            while not self._closing.is_set() and not channel.ended:
                channel.used_s = time.monotonic()
                changed = asyncio.ensure_future(channel.changed.wait())
                try:
                    if channel.about != about:
                        about = channel.about
                        yield b"event: about\ndata: " + about + b"\n\n"
                    if channel.now != now:
                        now = channel.now
                        yield b"event: now\ndata: " + now + b"\n\n"
                    done, _ = await asyncio.wait(
                        (changed, closing), timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    changed.cancel()
                if not done:
                    yield b"event: beat\ndata: {}\n\n"
        finally:
            closing.cancel()
            self._streams -= 1

    async def live(self) -> list[Snapshot]:
        """Every run that is not over, as it stands; what cannot be watched beside the others is left out."""
        found = []
        for run, line in await asyncio.to_thread(self.library.listed):
            if line.state not in ("running", "silent", "preparing") or line.silent_s > _LONG_SILENT_S:
                continue
            try:
                channel = await self.channel(run)
            except Busy:
                break
            if channel.seen is not None:
                found.append(channel.seen)
        return found


_LONG_SILENT_S = 600.0
