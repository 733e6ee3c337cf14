"""What runs on another host of a cluster: that host's workers, the same processes as on this one, and a relay to the run.

Nothing here knows of Ray, which only puts it there and carries the calls before and after the load. Rows lie in a file of that host until
the next exchange (load.line) takes what is new of it, as bytes.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from openagentperf import rundir
from openagentperf.client.alive import gone
from openagentperf.client.clock import now_ns
from openagentperf.client.endpoint import resolve
from openagentperf.errors import OpenAgentPerfError
from openagentperf.load import line
from openagentperf.load.hostfacts import host_facts
from openagentperf.load.line import Answering, Heard, Post
from openagentperf.load.local import Process, ThisHost
from openagentperf.load.protocol import Begin, Close, Inbox, Setup, Stopped, ToWorker, pack
from openagentperf.records.turns import Shift
from openagentperf.units import Ns

_LOG_BYTES = 4096
_PUNCH_HOLE_KEEP_SIZE = 3  # linux/falloc.h
_PAGE = 4096


class _Seat:
    """One worker here, and how much of its rows the run has."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._frames: Path | None = None
        self._offset = 0

    def begin(self, frames: Path) -> None:
        self._frames, self._offset = frames, 0

    def new(self) -> tuple[bytes, bool]:
        """Frames that have come since the last call, and whether there are more than one batch holds."""
        if self._frames is None or not self._frames.exists():
            return b"", False
        with self._frames.open("r+b") as file:
            file.seek(self._offset)
            data = file.read(line.BATCH_BYTES)
            _give_back(file.fileno(), self._offset + len(data))
        self._offset += len(data)
        return data, len(data) == line.BATCH_BYTES

    def forget(self) -> None:
        if self._frames is not None:
            self._frames.unlink(missing_ok=True)
            self._frames = None


def _give_back(fd: int, up_to: int) -> None:
    """Free what the disk holds of a file before this: the run has it. An hour's rows of a rack are 100 GB; not every disk can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(up_to // _PAGE * _PAGE))


class Node:
    """See the module's docstring.

    skew_ns, rate   for tests: this host's clock is ahead by skew_ns, and by so much more for each second since
    """

    def __init__(self, skew_ns: Ns = 0, rate: float = 0.0) -> None:
        self._here = ThisHost()
        self._root = Path(tempfile.mkdtemp(prefix="openagentperf-node-"))
        self._seats: dict[int, _Seat] = {}
        self._answering: Answering | None = None
        self._skew_ns, self._rate, self._born_ns = skew_ns, rate, now_ns()

    def facts(self, name: str, workers: int) -> bytes:
        """HostFacts as JSON."""
        return msgspec.json.encode(host_facts(name, workers))

    def listen(self, address: str) -> tuple[int, bytes]:
        """Answer exchanges at a port of this address: the port, and the token that it wants to see first."""
        self._answering = Answering(address, self.exchange, self.clock_ns, self._end_all)
        self._answering.start()
        return self._answering.port, self._answering.token

    def clock_ns(self) -> Ns:
        now = now_ns()
        return now + self._skew_ns + round((now - self._born_ns) * self._rate)

    def unreachable(self, urls: Sequence[str]) -> str:
        """Why one of the endpoints cannot be reached from here; "" where all can."""
        for url in urls:
            try:
                why = gone(resolve(url), within_s=0)
            except OpenAgentPerfError as error:
                return error.sentence()
            if why:
                return f"{url} accepts no connection from here ({why})"
        return ""

    def keep(self, name: str, *parts: bytes) -> tuple[str, str]:
        """Keep a file until the end; where it lies, or why it cannot be kept."""
        path = self._root / name
        try:
            with rundir.atomic(path) as file:
                for part in parts:
                    file.write(part)
        except OpenAgentPerfError as error:
            return "", error.sentence()
        return str(path), ""

    def exchange(self, posts: Sequence[Post]) -> list[Heard]:
        """Hand over what the run says to its workers; returns what they have said and written since the last call."""
        for worker, data in posts:
            for message in Inbox(ToWorker).feed(data):
                self._deliver(worker, message)  # type: ignore[arg-type]
        self._here.listen(0)
        return [self._heard(worker, seat) for worker, seat in self._seats.items()]

    def _deliver(self, worker: int, message: ToWorker) -> None:
        if isinstance(message, Setup):
            self.end(worker)
            self._seats[worker] = _Seat(self._here.start(message, self._root / f"worker-{worker}.log"))
            return
        seat = self._seats[worker]
        match message:
            case Begin():
                folder = self._root / f"phase-{message.order.index}"
                folder.mkdir(exist_ok=True)
                frames = rundir.frames_path(folder, worker)
                if self._skew_ns:
                    with closing(rundir.FrameWriter(frames)) as writer:
                        writer.put(Shift(self._skew_ns))
                seat.begin(frames)
                order = msgspec.structs.replace(message.order, start_ns=message.order.start_ns - self._skew_ns)
                message = Begin(order=order, folder=str(folder))
            case Close():
                message = Close(window_end_ns=message.window_end_ns - self._skew_ns)
        seat.process.send(message)

    def _heard(self, worker: int, seat: _Seat) -> Heard:
        """Messages wait for the frames that were written before them."""
        said = list(seat.process.said)
        frames, more = seat.new()
        if more:
            return worker, b"", frames, False, b""
        if any(isinstance(message, Stopped) for message in said):
            seat.forget()
        seat.process.said.clear()
        dead = seat.process.dead
        log = seat.process.log.read_bytes()[-_LOG_BYTES:] if dead else b""
        return worker, b"".join(map(pack, said)), frames, dead, log

    def end(self, worker: int) -> None:
        """Of one worker, where it is here."""
        if (seat := self._seats.pop(worker, None)) is not None:
            self._here.end(seat.process)

    def close(self) -> None:
        if self._answering is not None:
            self._answering.close()
        self._end_all()
        with suppress(OSError):
            shutil.rmtree(self._root)

    def _end_all(self) -> None:
        """Of a run that is gone: whoever takes its place must not find its load still on."""
        for worker in list(self._seats):
            self.end(worker)
