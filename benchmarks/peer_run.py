"""One client at one load: started, watched, ended, and its report held against the server's own log.

The server has core 0 and runs ahead of everything else where that is allowed; the whole tree of the client has core 1, in a session of its
own. CPU time is /proc's, of every process in the tree, between the first request that the server read and the last token it sent
(`load`), and from there to the client's end (`after`: decoding, tables, percentiles). What comes before, imports and making prompts, is not
counted for anybody.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.cpu import Watch
from benchmarks.mock import SendLog, pinned, running
from benchmarks.peer_clients import Job, Load, Peer, Said
from openagentperf.score.quantile import quantile
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

SERVER_CORE, CLIENT_CORE = 0, 1
LIMIT_S = 180.0
NOT_INSTALLED = "not installed"
_WORDS = 300
_QUIET = {"DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}


class Spent(Protocol):
    def at(self, t_ns: Ns) -> float:
        """CPU seconds spent until then."""


class Ran(Struct, frozen=True, kw_only=True):
    """One run of one client. What could not be had is None; `failure` says why."""

    peer: str
    load: str
    version: str = ""
    failure: str = ""
    requests: int = 0
    """Answered in full."""
    tokens: int = 0
    load_s: float = 0.0
    load_cpu_s: float = 0.0
    after_cpu_s: float = 0.0
    open: int = 0
    """Streams at once, at the most."""
    body_bytes: float = 0.0
    """Of a request, mean."""
    server_late_p99_ms: float = 0.0
    """Of answers, the worst event against the server's schedule: what the truth itself is worth."""
    server_ahead: bool = False
    said: Said | None = None
    ttft_p50_error_ms: float | None = None
    """Reported less true."""
    ttft_p95_error_ms: float | None = None
    speed_error_percent: float | None = None

    @property
    def us_per_token(self) -> float | None:
        """CPU under load."""
        return 1e6 * self.load_cpu_s / self.tokens if self.tokens else None

    @property
    def us_per_token_in_all(self) -> float | None:
        """CPU under load and after it."""
        return 1e6 * (self.load_cpu_s + self.after_cpu_s) / self.tokens if self.tokens else None

    @property
    def ms_per_request(self) -> float | None:
        return 1e3 * self.load_cpu_s / self.requests if self.requests else None

    @property
    def ms_per_request_in_all(self) -> float | None:
        return 1e3 * (self.load_cpu_s + self.after_cpu_s) / self.requests if self.requests else None

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens / self.load_s if self.load_s else None


def run(peer: Peer, load: Load, peers: Path | None) -> Ran:
    """Never raises for what a peer does: a peer that is absent, fails or hangs is a row that says so."""
    program = peer.installed(peers)
    ran = Ran(peer=peer.name, load=load.name, version=peer.version(peers))
    if not program:
        return replace(ran, failure=NOT_INSTALLED)
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        running(*load.server, core=SERVER_CORE) as mock,
    ):
        job = Job(load=load, url=mock.url.removesuffix("/v1"), peers=(peers or Path()).absolute(), out=Path(scratch))
        printed = Path(scratch) / "printed"
        with printed.open("wb") as file, pinned(CLIENT_CORE):  # it inherits the core
            child = subprocess.Popen(
                peer.command(job, program), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=job.out,
                env=_environment(peer), start_new_session=True,
            )  # fmt: skip
        with pinned(SERVER_CORE):  # as little of this process as can be runs beside the client
            watch = Watch(child.pid)
            watch.start()
            try:
                status, in_all_s = _ended(child, watch)
            finally:
                watch.over()
                if child.returncode is None:  # we were interrupted, and it has a session of its own
                    _kill(watch)
        log = mock.log().load()
        text = printed.read_text(errors="replace")
        failure, said = _report(peer, job, status, text)
    return held_against(log, load, watch, in_all_s, replace(ran, failure=failure, said=said, server_ahead=mock.ahead))


def held_against(log: SendLog, load: Load, spent: Spent, in_all_s: float, ran: Ran) -> Ran:
    """The run with what the server's log says of it.

    log       of the load alone
    spent     CPU seconds of the client's tree until a time
    in_all_s  the same until its end
    """
    if not len(log):
        return replace(ran, failure=ran.failure or "sent no request")
    whole = log.of(np.flatnonzero(log.tokens >= load.tokens))
    first_ns, last_ns = int(log.read_ns.min()), int(log.end_ns.max())
    until_last_s = spent.at(last_ns)
    ran = replace(
        ran,
        requests=len(whole),
        tokens=int(log.tokens.sum()),
        load_s=(last_ns - first_ns) / NS_PER_S,
        load_cpu_s=until_last_s - spent.at(first_ns),
        after_cpu_s=max(0.0, in_all_s - until_last_s),
        open=log.most_open(),
        body_bytes=float(log.body_bytes.mean()),
        server_late_p99_ms=quantile(log.late_ns / NS_PER_MS, 0.99),
    )
    said = ran.said
    if said is None or not len(whole):
        return ran
    ttft_ms = whole.ttft_ns / NS_PER_MS
    true_p50, true_p95 = (
        quantile(ttft_ms, q) if told is None else told
        for q, told in ((0.5, said.true_ttft_p50), (0.95, said.true_ttft_p95))
    )
    true_speed = said.true_speed_p50 or quantile(whole.speed, 0.5)
    return replace(
        ran,
        ttft_p50_error_ms=said.ttft_p50 - true_p50,
        ttft_p95_error_ms=said.ttft_p95 - true_p95,
        speed_error_percent=None if said.speed_p50 is None else 100 * (said.speed_p50 / true_speed - 1),
    )


def _environment(peer: Peer) -> dict[str, str]:
    """No telemetry, and a local tokenizer may be read (a client that is told to be offline refuses it)."""
    env = {**os.environ, **_QUIET, **peer.env}
    env.pop("HF_HUB_OFFLINE", None)
    return env


def _ended(child: subprocess.Popen[bytes], watch: Watch) -> tuple[int | None, float]:
    """Its status, None where it had to be ended, and the CPU seconds of its whole life, its children's among them."""
    late = False
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            in_all_s = used.ru_utime + used.ru_stime
            break
        if watch.seconds > LIMIT_S:
            late = True
            _kill(watch)
        time.sleep(0.05)
    return None if late else child.returncode, in_all_s


def _kill(watch: Watch) -> None:
    for alive in watch.alive:
        with suppress(ProcessLookupError):
            os.kill(alive, signal.SIGKILL)


def _report(peer: Peer, job: Job, status: int | None, printed: str) -> tuple[str, Said | None]:
    """Why there is none, and the client's report."""
    if status is None:
        return f"not done after {LIMIT_S:g} s", None
    if status:
        return f"status {status}: {printed.strip().rpartition(chr(10))[2]}"[:_WORDS], None
    try:
        return "", peer.read(job, printed)
    except Exception as error:  # noqa: BLE001 - a report of another shape is a row too
        return f"no report that can be read ({type(error).__name__}: {error})"[:_WORDS], None
