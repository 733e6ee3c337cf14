"""The sampler seen from the run: started once, read whenever a phase has ended, stopped by closing its standard input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from openagentperf import children
from openagentperf.errors import MeterError
from openagentperf.meters.base import Spec
from openagentperf.meters.protocol import Order, Refused, decode_answer
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.rundir import FrameReader
from openagentperf.units import Ns, s_to_ns

_STOP_S = 15.0


class Sampling:
    """Meters that are being read into `path`. MeterError where one cannot be opened."""

    def __init__(self, specs: Sequence[Spec], path: Path) -> None:
        self._reader = FrameReader(path)
        self._readings: list[Reading] = []
        self._child = subprocess.Popen(
            [sys.executable, "-m", "openagentperf.meters.sampler"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the run first, which still has to read what was measured
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(msgspec.json.encode(Order(meters=tuple(specs), path=str(path))) + b"\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
            answer = decode_answer(line) if line else None
        except (OSError, msgspec.DecodeError):
            answer = None
        if answer is None or isinstance(answer, Refused):
            self.close()
            if answer is None:
                raise MeterError(
                    "power sampler", "ended before its meters were open", "one that runs", "see its message above"
                )
            raise answer.error()
        self.meters: tuple[MeterFacts, ...] = answer.meters

    def __enter__(self) -> Sampling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the sampler's process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def between(self, start_ns: Ns, end_ns: Ns) -> list[Reading]:
        """The readings taken from `start_ns` to `end_ns`, in the order in which each meter took them; those before are forgotten."""
        self._readings += (row for row in self._reader.read() if isinstance(row, Reading))
        self._readings = [row for row in self._readings if row.t_ns >= start_ns]
        return [row for row in self._readings if row.t_ns <= end_ns]

    def updated_after(self, t_ns: Ns) -> bool:
        """Whether every sensor that was alive at `t_ns` has updated since: its counter where it has one, else its power. A poll is not
        enough, for an edge of a window lies between two updates."""
        self._readings += (row for row in self._reader.read() if isinstance(row, Reading))
        counts = {(m.name, d.device): "energy" if d.counter else "power" for m in self.meters for d in m.devices}
        since_ns = t_ns - s_to_ns(max((meter.max_gap_s for meter in self.meters), default=0.0))
        later: dict[tuple[str, str], list[Reading]] = defaultdict(list)
        settled: set[tuple[str, str]] = set()
        for row in reversed(self._readings):
            key = row.meter, row.device
            if row.value is None or row.quantity != counts.get(key) or key in settled:
                continue
            if row.t_ns < since_ns:
                break
            if row.t_ns - row.spread_ns > t_ns:
                later[key].append(row)
                continue
            new = (
                after.value != row.value if after.updated_ns is None else after.updated_ns > t_ns
                for after in later[key]
            )
            if not any(new):
                return False
            settled.add(key)
        return True

    def close(self) -> None:
        children.end(self._child, _STOP_S)
