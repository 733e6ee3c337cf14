"""The writer's process: `python -m openagentperf.recorder.writer FD`, fed over a socket with what the proxy has forwarded.

A process of its own: scrubbing a history of 100 KB takes 10 ms of Python, and the proxy may not wait 10 ms for anything. It gives way to
the proxy where cores are few (nice 10). It ends when the socket's other end does: what a killed proxy had handed over is written.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from openagentperf.corpus.scrub import Scrubber
from openagentperf.errors import StorageError
from openagentperf.recorder.captured import Capturer
from openagentperf.recorder.protocol import (
    HEAD,
    Done,
    Ended,
    FromWriter,
    Ready,
    Setup,
    ToWriter,
    Trouble,
    Wrote,
    frame,
)
from openagentperf.rundir import LineWriter

CAPTURE_NAME = "capture.jsonl"
NICE = 10


class Writer:
    """Set up by the first message; then one line an exchange."""

    def __init__(self, setup: Setup) -> None:
        self._scrubber = None if setup.rules is None else Scrubber(setup.rules)
        self._capturer = Capturer(self._scrubber)
        self._log: LineWriter | None = LineWriter(Path(setup.folder) / CAPTURE_NAME)
        self._log.put(msgspec.structs.replace(setup.started, upstream=self._capturer.text(setup.started.upstream)))
        self.exchanges = 0
        self.unreadable = 0

    def take(self, ended: Ended, request: bytes, response: bytes) -> FromWriter:
        """Write one exchange down; what there is to say of it."""
        if self._log is None:
            self.unreadable += 1
            return Wrote(self.exchanges)
        try:
            self._log.put(self._capturer.exchange(ended, request, response))
            self._capturer.written()
        except StorageError as error:
            self._log.close()  # half a line may stand in it: nothing may follow
            self._log = None
            self.unreadable += 1
            return Trouble(storage=True, where=error.where, found=error.found, needed=error.needed, fix=error.fix)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must cost one exchange, not the recording
            self.unreadable += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            # Not the error's text: it may quote what has not been scrubbed.
            found = (
                f"one exchange could not be read ({type(error).__name__} at {Path(place.filename).name}:{place.lineno})"
            )
            return Trouble(storage=False, where="recorder", found=found, fix="please report it")
        self.exchanges += 1
        return Wrote(self.exchanges)

    def done(self) -> Done:
        if self._log is not None:
            self._log.close()
        scrubber = self._scrubber
        return Done(
            exchanges=self.exchanges,
            unreadable=self.unreadable,
            distinct={} if scrubber is None else dict(scrubber.distinct),
            replaced={} if scrubber is None else dict(scrubber.replaced),
        )


def frames(read: Callable[[int], bytes]) -> Iterator[tuple[ToWriter, bytes, bytes]]:
    """Whole frames until the other end closes; `read` gives all that is asked for, or the rest. Half a frame is none."""
    decoder = msgspec.msgpack.Decoder(ToWriter)
    while len(head := read(HEAD.size)) == HEAD.size:
        lengths = HEAD.unpack(head)
        parts = [read(length) for length in lengths]
        if tuple(map(len, parts)) != lengths:
            return
        yield decoder.decode(parts[0]), parts[1], parts[2]


def serve(link: socket.socket) -> None:
    def say(message: FromWriter) -> None:
        with contextlib.suppress(OSError):  # the proxy is gone: what it handed over is written all the same
            link.sendall(b"".join(frame(message)))

    with io.BufferedReader(socket.SocketIO(link, "r"), 1 << 20) as stream:
        messages = frames(stream.read)
        setup, _, _ = next(messages)
        assert isinstance(setup, Setup)
        try:
            writer = Writer(setup)
        except StorageError as error:
            say(Trouble(storage=True, where=error.where, found=error.found, needed=error.needed, fix=error.fix))
            return
        say(Ready())
        for ended, request, response in messages:
            assert isinstance(ended, Ended)
            say(writer.take(ended, request, response))
        say(writer.done())


def main() -> None:
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with socket.socket(fileno=int(sys.argv[1])) as link:
        serve(link)


if __name__ == "__main__":
    main()
