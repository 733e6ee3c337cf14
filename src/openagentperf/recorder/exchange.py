"""One request on its way, and what came back: kept as it was read until it is over, then handed to the writer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from openagentperf.recorder.heads import Header, session_of, value_of
from openagentperf.recorder.protocol import Ended
from openagentperf.records.capture import Dialect, Ending
from openagentperf.units import Ns

MAX_KEPT_BYTES = 256 << 20
"""A request or answer that is longer is forwarded all the same; recorded it is not."""


class Exchange:
    """Bytes and times. `body` are the request's pieces in order, `chunks` the reads of the answer."""

    __slots__ = (
        "arrived_ns", "at_unix_ns", "body", "chunks", "complete", "dialect", "head", "headers", "keep_alive",
        "kept_bytes", "length_known", "method", "recorded", "times", "uploaded",
    )  # fmt: skip

    def __init__(self, method: str, headers: Sequence[Header], arrived_ns: Ns, at_unix_ns: int) -> None:
        self.method = method
        self.headers = headers
        self.arrived_ns = arrived_ns
        self.at_unix_ns = at_unix_ns
        self.dialect: Dialect | None = None
        self.head = b""
        """As it goes to the upstream."""
        self.length_known = True
        """False: the body goes on in chunks, as it came."""
        self.keep_alive = True
        """What the client asked of its connection."""
        self.body: list[bytes] = []
        self.complete = False
        """The request's last byte has come."""
        self.uploaded = 0
        """Pieces of the body that have been passed on."""
        self.chunks: list[bytes] = []
        self.times: array[int] = array("q")
        self.kept_bytes = 0
        self.recorded = True
        """False: it was longer than what is kept."""

    def heard(self, now_ns: Ns, data: bytes) -> None:
        """A read of the answer. What only passes through is counted, not kept."""
        self.times.append(now_ns)
        if self.dialect is not None and self.recorded:
            self.kept_bytes += len(data)
            self.chunks.append(data)
            if self.kept_bytes > MAX_KEPT_BYTES:
                self.forget()

    @property
    def resendable(self) -> bool:
        """Whether all that has come of the request is still here."""
        return self.recorded

    def forget(self) -> None:
        """Keep no more of it than is still to be passed on."""
        self.recorded = False
        del self.body[: self.uploaded]
        self.uploaded = 0
        self.chunks.clear()

    def ended(self, dialect: Dialect, ending: Ending) -> Ended:
        return Ended(
            dialect=dialect,
            at_unix_ns=self.at_unix_ns,
            arrived_ns=self.arrived_ns,
            ending=ending,
            agent=value_of(self.headers, b"user-agent"),
            session=session_of(self.headers),
            encoding=value_of(self.headers, b"content-encoding").lower(),
            times_ns=self.times[: len(self.chunks)].tobytes(),
            sizes=array("q", map(len, self.chunks)).tobytes(),
        )
