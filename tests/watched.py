"""Run folders as they look at some moment while a run goes on, made by the package's own writers: for tests of what watches them."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import msgspec

from openagentperf import planfile, rundir
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged, PhaseKind, TierVerdict, Verdict
from openagentperf.records.power import DeviceFacts, MeterFacts, Meters, Reading
from openagentperf.records.preflight import ServerFacts
from openagentperf.records.run import RunFacts
from openagentperf.records.turns import ClientSample, Failure, RawTurn
from openagentperf.rundir import LedgerLine
from phases import ns

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STEP_S = 0.01
"""Between two tokens of `turn`: an output speed of 100 tokens/s."""


def turn(
    due_s: float, ttft_s: float = 0.5, tokens: int = 11, *, failure: Failure = "", detail: str = "", prompt: int = 1000,
    cached: int = 800, **more: Any,
) -> RawTurn:  # fmt: skip
    """A turn as a worker writes it: one token an event and a read, the first `ttft_s` after it was due. A failed one has no bytes."""
    events: list[object] = [{"choices": [{"index": 0, "delta": {"content": "x"}}]}] * tokens
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    lines = [b"data: %b\n\n" % json.dumps(event).encode() for event in events] + [b"data: [DONE]\n\n"]
    reads = [b"%x\r\n%b\r\n" % (len(line), line) for line in lines]
    reads = [HEAD + reads[0], *reads[1:-1], reads[-1] + b"0\r\n\r\n"]
    times = [ns(due_s + ttft_s + min(k, tokens - 1) * STEP_S) for k in range(len(reads))]
    if failure:
        reads, times = [], []
    fields: dict[str, Any] = {
        "worker": 0, "agent": 0, "replay": 1, "trajectory": 0, "turn": 1, "last": False, "due_ns": ns(due_s), "sent_ns": ns(due_s),
        "closed_ns": times[-1] if times else ns(due_s + 1), "times_ns": array("q", times).tobytes(),
        "sizes": array("q", map(len, reads)).tobytes(), "lags_ns": b"", "data": b"".join(reads), "failure": failure, "detail": detail,
        "connection": "reused", "request_bytes": 4000,
    }  # fmt: skip
    return RawTurn(**(fields | more))


def sample(t_s: float, in_flight: int, active: int, worker: int = 0) -> ClientSample:
    return ClientSample(
        worker=worker, t_ns=ns(t_s), loop_lag_max_ns=0, cpu_ns=0, gc_pause_max_ns=0, active_agents=active, in_flight=in_flight,
        clock_offset_ns=0,
    )  # fmt: skip


METER = MeterFacts(
    name="m", kind="nvml", boundary="accelerator", basis="measured", source="nvml", period_s=1.0, max_gap_s=3.0, stale_s=10.0,
    devices=(DeviceFacts(device="gpu0"), DeviceFacts(device="gpu1", counter=True)),
)  # fmt: skip


def watt(t_s: float, value: float | None, device: str = "gpu0", quantity: str = "power") -> Reading:
    return Reading(meter="m", device=device, quantity=quantity, t_ns=ns(t_s), value=value)  # type: ignore[arg-type]


class Folder:
    """A run folder that is being written. Phases have 4 agents that start within 2 s, settle for 1 s and are measured for 5 s."""

    def __init__(self, path: Path, *, model: str = "a-model", tier: str = "easy") -> None:
        self.path = path
        path.mkdir(parents=True)
        (path.parent / f"{path.name[:40]}.wish.toml").write_text(
            "seed = 5\n[[tiers.tier]]\nname = "
            + json.dumps(tier)
            + '\noutput_speed = 30\nttft_s = 10\n[rigor]\npreset = "quick"\n'
            "spawn_per_s = 2\nsettle_s = 1\nsearch_measure_s = 5\nmeasure_s = 5\nsearch_turns = 50\n"
        )
        self.plan: Plan = planfile.load(path.parent / f"{path.name[:40]}.wish.toml", planfile.Overrides())
        (path.parent / f"{path.name[:40]}.wish.toml").unlink()
        rundir.write(path / "plan.toml", planfile.dump(self.plan))
        rundir.write(path / "environment.json", msgspec.json.encode({"started_unix_s": 1_000_000_000.0}))
        facts = RunFacts(
            target="endpoint", url="http://127.0.0.1:1/v1", server=ServerFacts(model=model), checks=(), corpus_digest="c", corpus_notes=(),
            lines=(), first_turns=(), shared_bytes=(), set_input_tokens_mean=1, set_output_tokens_mean=1,
        )  # fmt: skip
        rundir.write(path / "run.json", msgspec.json.encode(facts))

    def begin(
        self, index: int, start_s: float, agents: int = 4, kind: PhaseKind = "search", why: str = "ramp"
    ) -> rundir.FrameWriter:
        """A phase begins; the writer is its only worker's."""
        self._append("begun", index, agents, kind, why=why, start_ns=ns(start_s))
        folder = rundir.phase_folder(self.path, index, agents)
        folder.mkdir(parents=True)
        return rundir.FrameWriter(rundir.frames_path(folder, 0))

    def judge(
        self, index: int, verdict: Verdict, agents: int = 4, kind: PhaseKind = "search", **figures: Any
    ) -> Judged:
        name = self.plan.tiers.tier[0].name
        reasons = () if verdict == "pass" else ("too slow",)
        fields: dict[str, Any] = {
            "measured_turns": 60,
            "completed_trajectories": 3,
            "failed_turns": 0,
            "ttft_p95_s": 0.9,
            "speed_p25": 80.0,
        }
        judged = Judged(
            index=index, agents=agents, kind=kind, verdicts=(TierVerdict(tier=name, verdict=verdict, reasons=reasons),),
            **(fields | figures),
        )  # fmt: skip
        self._append("judged", index, agents, kind, judged=judged)
        return judged

    def break_off(self, index: int, why: str, agents: int = 4) -> None:
        self._append("broken", index, agents, "search", why=why)

    def meters(self, *meters: MeterFacts) -> rundir.FrameWriter:
        """Meters (METER alone, where none is named) are open; the writer is the sampler's."""
        rundir.write(self.path / rundir.METERS, msgspec.json.encode(Meters(meters=meters or (METER,))))
        return rundir.FrameWriter(self.path / "power.frames")

    def _append(self, event: str, index: int, agents: int, kind: PhaseKind, **more: Any) -> None:
        rundir.append_line(
            self.path / "ledger.jsonl", LedgerLine(event=event, index=index, agents=agents, kind=kind, **more)
        )
