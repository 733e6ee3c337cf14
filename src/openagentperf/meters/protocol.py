"""What the run and its sampler say to each other: one JSON line each way, then nothing but the end of standard input."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.errors import MeterError
from openagentperf.records.power import MeterFacts
from openagentperf.system import Meter


class Order(Struct, frozen=True, kw_only=True):
    """Open these meters and append their readings to `path` until standard input closes."""

    meters: tuple[Meter, ...]
    path: str


class Opened(Struct, frozen=True, kw_only=True, tag="opened"):
    """All meters are open and being read."""

    meters: tuple[MeterFacts, ...]


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """A meter could not be opened: the parts of the error's sentence."""

    where: str
    found: str
    needed: str
    fix: str

    def error(self) -> MeterError:
        return MeterError(self.where, self.found, self.needed, self.fix)


Answer: TypeAlias = Opened | Refused
decode_answer = msgspec.json.Decoder(Answer).decode
decode_order = msgspec.json.Decoder(Order).decode
