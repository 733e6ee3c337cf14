"""`python -m openagentperf.meters.sampler`: polls meters in a process of its own, a thread each, so that neither a slow BMC nor a driver
that blocks can delay another meter, and none of them the load loop.

Polls are jittered: one a period, anywhere in it, by an unpredictable seed. A load that repeats itself in step with the polls would else be
met at one place of its beat every time, and its mean read wrong without a sign of it.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from openagentperf.client.clock import now_ns
from openagentperf.errors import OpenAgentPerfError, StorageError
from openagentperf.meters.base import Meter
from openagentperf.meters.protocol import Answer, Opened, Order, Refused, decode_order
from openagentperf.meters.registry import meter_of
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.rundir import FrameWriter
from openagentperf.seeds import Stream
from openagentperf.units import NS_PER_S, Ns, s_to_ns

_NICE = 5
"""Where cores are short the load loop comes first: a late poll is a gap that shows, a late send would be a wrong TTFT."""


_JOIN_S = 10.0
"""A read that blocks keeps the others from nothing; its thread is given up after this."""
_GRACE_S = 14.0
"""Between the end of standard input and the end of the process, whatever blocks: nobody reads the frames any more."""


class Frames:
    """The pollers' file. A frame that was cut short by a full disk is the last one: what stood behind it could not be read."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._writer, self._lock, self._stop = FrameWriter(path), threading.Lock(), stop
        self.error: StorageError | None = None
        self._open = True

    def put(self, readings: Sequence[Reading]) -> None:
        """Does nothing after `close` or an error, which stops all pollers."""
        with self._lock:
            if not self._open or self.error is not None:
                return
            try:
                self._writer.put_all(readings)
            except StorageError as error:
                self.error = error
                self._stop.set()

    def close(self) -> None:
        with self._lock:
            self._open = False
            self._writer.close()


class Poller:
    """One meter's thread. `stop` is shared by all."""

    def __init__(self, facts: MeterFacts, meter: Meter, frames: Frames, stop: threading.Event) -> None:
        self._facts, self._meter, self._frames, self._stop = facts, meter, frames, stop
        self._period_ns = s_to_ns(facts.period_s)  # not the wish's: a BMC may not be asked as often as it says
        self._jitter = Stream(secrets.randbits(60), "polls", facts.name)
        self.thread = threading.Thread(target=self._run, name=facts.name, daemon=True)

    def _run(self) -> None:
        began_ns = now_ns()
        period = 0
        while not self._stop.is_set():
            due_ns = began_ns + round((period + self._jitter.uniform()) * self._period_ns)
            if self._stop.wait(max(0, due_ns - now_ns()) / NS_PER_S):
                return
            self._frames.put(self._read())
            # After a slow answer the polls go on from now: catching up would ask an overloaded BMC even more often.
            period = max(period + 1, self._periods(now_ns() - began_ns))

    def _read(self) -> list[Reading]:
        """A meter that raises against its word loses this poll, and no other meter does."""
        at = now_ns()
        try:
            return self._meter.read()
        except Exception as error:  # noqa: BLE001
            why = f"{type(error).__name__}: {error}"[:200]
            return [
                Reading(meter=self._facts.name, device=device.device, quantity="power", t_ns=at, value=None, why=why)
                for device in self._facts.devices
            ]

    def _periods(self, elapsed_ns: Ns) -> int:
        return elapsed_ns // self._period_ns


def sample(
    meters: Sequence[Meter], path: Path, stop: threading.Event, say: Callable[[Opened], None], join_s: float = _JOIN_S
) -> None:
    """Open all meters, `say` so, poll them until `stop`, close them. Raises the error of the first meter that cannot be opened, and
    StorageError where the frames cannot be written: the gap that this leaves makes the windows invalid."""
    blocked: set[int] = set()
    try:
        facts = Opened(meters=tuple(meter.open() for meter in meters))
        frames = Frames(path, stop)
        pollers = [Poller(of, meter, frames, stop) for of, meter in zip(facts.meters, meters, strict=True)]
        for poller in pollers:
            poller.thread.start()
        say(facts)
        stop.wait()
        until = time.monotonic() + join_s
        for index, poller in enumerate(pollers):
            poller.thread.join(max(0.0, until - time.monotonic()))
            if poller.thread.is_alive():
                blocked.add(index)
        frames.close()
        if frames.error is not None:
            raise frames.error
    finally:
        for index, meter in enumerate(meters):
            if index not in blocked:  # a library that is shut down under a call that is still in it may crash
                meter.close()


def main() -> int:
    order: Order = decode_order(sys.stdin.buffer.readline())
    os.nice(_NICE)
    stop = threading.Event()
    threading.Thread(target=_until_stdin_closes, args=(stop,), daemon=True).start()
    try:
        sample([meter_of(spec) for spec in order.meters], Path(order.path), stop, _say)
    except StorageError as error:
        sys.stderr.write(f"{error.sentence()}\n")  # nobody reads standard output any more
        return error.exit_code
    except OpenAgentPerfError as error:
        _say(Refused(where=error.where, found=error.found, needed=error.needed, fix=error.fix))
        return error.exit_code
    return 0


def _until_stdin_closes(stop: threading.Event) -> None:
    """Of a run that ended, or that was killed: the kernel closes it then."""
    while os.read(0, 4096):
        pass
    stop.set()
    time.sleep(_GRACE_S)
    os._exit(1)


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
