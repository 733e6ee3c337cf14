"""One submission examined: does its result follow from its rows, are its hashes its own, who signed it?

    python -m openagentperf.leaderboard.examine PATH BYTES      prints an `Examined`, or an error object, as JSON

The site examines each submission in such a process of its own, with a bound on memory and time: a file from somebody else may have been
made to take all of either, or to bring a decoder down.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec import Struct

from openagentperf import planfile, verify
from openagentperf.errors import OpenAgentPerfError, StorageError
from openagentperf.leaderboard import bundle, conduct, sshsig
from openagentperf.plan import Plan, digest_of
from openagentperf.records.result import Result
from openagentperf.report.page import clean

_LONGEST_TEXT = 100_000
"""Characters of plan.toml and launch.txt that a site shows."""
_DIFFERENCES = 20
_FIELDS, _LONGEST_NAME, _LONGEST_VALUE = 100, 200, 1000
"""Of environment.json: fields, and characters of each."""


class Examined(Struct, frozen=True, kw_only=True):
    """What was found out about a run folder or bundle."""

    name: str
    content: str
    """SHA-256 over its files (leaderboard.bundle)."""
    differences: tuple[str, ...]
    """Where result.json is not what the rows give: the first 20, but for the version."""
    conduct: tuple[str, ...] = ()
    """Where it is not what a run of its plan leaves (leaderboard.conduct): the first 20."""
    abandoned: int = 0
    """Attempts that were begun and never judged."""
    other_version: str = ""
    """Version of openagentperf that wrote result.json, where it is not this one."""
    sums: tuple[str, ...] | None
    """Where SHA256SUMS and the files differ; None where there is no such file."""
    signed_by: str = ""
    """Hex of the public key that signed SHA256SUMS; "" where none did."""
    signature_why: str = ""
    """Why the signature that is there does not hold."""
    result: Result
    """As derived from the rows."""
    plan: Plan
    plan_text: str
    model: str
    launch: str
    """launch.txt: declared, not checked."""
    environment: tuple[tuple[str, str], ...]
    """(name, value) of environment.json, as a site shows them: the first 100, each cut to its first characters."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that keeps it from being shown as a result."""
        signature = (f"signature: {self.signature_why}",) if self.signature_why else ()
        return (*self.differences, *self.conduct, *(self.sums or ()), *signature)

    @property
    def asked(self) -> tuple[str, ...]:
        """What a number is of, but for the set that was replayed: two runs were asked the same where these are equal."""
        result, work = self.result, self.plan.workload
        words = (str(work.max_output_tokens), str(work.temperature)) if result.track == "natural" else ()
        return (result.track, result.tiers_digest, digest_of(self.plan.rigor), *words)

    @property
    def fingerprint(self) -> str:
        return sshsig.fingerprint(bytes.fromhex(self.signed_by)) if self.signed_by else ""


def examine(path: Path, of: Mapping[str, str] | None = None) -> Examined:
    """StorageError, UsageError or PlanError where there is not enough to examine. `of`: the hashes of a folder's files, where known."""
    with bundle.opened(path) as (run, name):
        try:
            return _examine(run, name, bundle.hashes(run) if of is None else of)
        except OpenAgentPerfError as error:
            if run == path:
                raise
            # Of a bundle, a name inside it says more than that of a folder that is gone.
            parts = (error.where, error.found, error.needed, error.fix)
            raise type(error)(*(part.replace(str(run), name) for part in parts)) from error


def _examine(run: Path, name: str, of: Mapping[str, str]) -> Examined:
    stored = _result(run / "result.json")
    try:
        derived = verify.derive(run)
        plan = planfile.read(run / "plan.toml")
        conducted = tuple(islice(conduct.faults(run, plan, derived.phases, of), _DIFFERENCES))
    except OpenAgentPerfError:
        raise
    except Exception as error:
        # Rows of somebody else: any column may be missing, or hold what no run writes.
        raise StorageError(
            name, f"cannot be judged ({type(error).__name__}: {error})", "rows that a run wrote", "run it again"
        ) from error
    other = stored.get("version")
    found = list(verify.differing(stored, msgspec.to_builtins(derived)))
    differences = [line for line in found if not line.startswith("$.version:")]
    more = [f"and {len(differences) - _DIFFERENCES} more"] if len(differences) > _DIFFERENCES else []
    stated = _bytes(run / bundle.SUMS)
    signature = _signature(stated, _bytes(run / bundle.SIGNATURE))
    return Examined(
        name=name,
        content=bundle.content(of),
        differences=(*differences[:_DIFFERENCES], *more),
        conduct=conducted,
        abandoned=conduct.abandoned(run),
        other_version=str(other)[:100] if other != derived.version else "",
        sums=None if stated is None else tuple(bundle.disagreeing(stated, of)[:_DIFFERENCES]),
        signed_by=signature.key.hex(),
        signature_why=signature.why,
        result=derived,
        plan=plan,
        plan_text=_text(run / "plan.toml"),
        model=verify.read_run_facts(run).server.model,
        launch=_text(run / bundle.LAUNCH),
        environment=_environment(run / "environment.json"),
    )


def _signature(stated: bytes | None, armoured: bytes | None) -> sshsig.Signature:
    if armoured is None:
        return sshsig.Signature(b"")
    if stated is None:
        return sshsig.Signature(b"", f"{bundle.SUMS} is missing, which it is of")
    return sshsig.check(stated, bundle.NAMESPACE, armoured)


def _bytes(path: Path) -> bytes | None:
    """None where it is missing; never through a link."""
    try:
        return None if path.is_symlink() or not path.is_file() else path.read_bytes()
    except OSError as error:
        raise StorageError(str(path), f"cannot be read ({error.strerror})", "", "restore it") from error


def _result(path: Path) -> dict[str, Any]:
    if not path.exists():
        absent = "the run has not finished, so there is no result"
        raise StorageError(str(path), "is missing", absent, "resume it with `openagentperf run --resume`")
    return verify.read_object(path, "a result was needed", "restore it")


def _text(path: Path) -> str:
    return (_bytes(path) or b"")[: 4 * _LONGEST_TEXT].decode(errors="replace")[:_LONGEST_TEXT]


def _environment(path: Path) -> tuple[tuple[str, str], ...]:
    """Cut here, before it crosses to the process that shows it: it may be as long as somebody likes."""
    fields = islice(verify.shown_object(path).items(), _FIELDS)
    return tuple(
        (clean(name, _LONGEST_NAME), clean(value if isinstance(value, str) else msgspec.json.encode(value).decode(), _LONGEST_VALUE))
        for name, value in fields
    )  # fmt: skip


# -- in a process of its own ---------------------------------------------------------------------------------------------------


class Failed(Struct, frozen=True, kw_only=True):
    """Why a submission could not be examined."""

    why: str


def apart(path: Path, memory_bytes: int, limit_s: float) -> Examined | Failed:
    """`examine` in a child process, which may take so much memory and time."""
    command = [sys.executable, "-m", __name__, str(path), str(memory_bytes)]
    with TemporaryDirectory(prefix="openagentperf-") as own:
        # What it unpacked goes with this folder, however it ends; and a pool of threads would reserve memory that it never uses.
        environment = os.environ | {"TMPDIR": own, "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=limit_s, env=environment)
        except subprocess.TimeoutExpired:
            return Failed(why=f"took more than {limit_s:g} s to examine")
    try:
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=Examined)
        return msgspec.json.decode(done.stdout, type=Failed)
    except msgspec.DecodeError:
        return Failed(why=_died(done.returncode, done.stderr))


def _died(status: int, stderr: bytes) -> str:
    last = stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
    ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"its examination {ended}" + (f" ({last})" if last else "")


def main(path: str, memory_bytes: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    try:
        answer: Examined | Failed = examine(Path(path))
    except OpenAgentPerfError as error:
        answer = Failed(why=error.sentence())
    except MemoryError:
        answer = Failed(why=f"took more than {int(memory_bytes) / (1 << 30):g} GiB of memory to examine")
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0 if isinstance(answer, Examined) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
