"""What a third party says of a result, signed: the only way in which a site shows more than *self-reported*.

A statement is a JSON file with an OpenSSH signature beside it (`NAME.json`, `NAME.json.sig`, namespace `openagentperf-statement`). The
site's owner lists the keys that are believed; whom they belong to is the owner's business, and the name in the list is what is shown.

    reviewed   derived again from the signed bundle, by another key than the bundle's
    verified   run again by an independent party on a sealed set: names the content of that run, which must itself hold, lie beside the
               result, be comparable with it, be signed by the statement's key, and confirm what it confirms

Source: docs/methodology.md#claims, docs/leaderboard.md#provenance
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from openagentperf.errors import UsageError
from openagentperf.leaderboard import sshsig
from openagentperf.leaderboard.examine import Examined
from openagentperf.records.result import TierResult
from openagentperf.score import normalise
from openagentperf.system import System
from openagentperf.units import significant

NAMESPACE = "openagentperf-statement"
Claim: TypeAlias = Literal["reviewed", "verified"]
_Hash: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_AGREE = 0.10
"""A re-run confirms a number where its own is at least 90 % of it: two certified numbers of one system lie a few per cent apart."""


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal["openagentperf/statement/1"] = "openagentperf/statement/1"
    claim: Claim
    content: _Hash
    """Of the bundle that it is about."""
    by: Annotated[str, Meta(max_length=200)]
    """As the stating party calls itself; a site shows the name in its owner's list."""
    rerun: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    """Of `verified`: content of the run that the stating party made."""


class Label(NamedTuple):
    """What a site writes on a result."""

    provenance: Literal["self-reported", "reviewed", "verified"]
    by: str = ""
    """Name in the owner's list."""
    rerun: str = ""
    """Content of the re-run."""


def state(found: Examined, claim: Claim, by: str, rerun: Examined | None) -> Statement:
    """UsageError where a site would not believe it. `rerun`: of `verified`."""
    why = unbelievable(claim, found, rerun)
    if why:
        raise UsageError(f"--state {claim}", why, "a site would not show it", "see docs/leaderboard.md")
    return Statement(claim=claim, content=found.content, by=by, rerun=rerun.content if rerun else "")


def encode(statement: Statement) -> bytes:
    return msgspec.json.format(msgspec.json.encode(statement), indent=1) + b"\n"


def sign(data: bytes, key: Path) -> bytes:
    return sshsig.sign(data, NAMESPACE, key)


def unbelievable(claim: Claim, found: Examined, rerun: Examined | None, key: bytes = b"") -> str:
    """Why a statement about `found` proves nothing; "" where it does. `key`: who stated it; b"" before it was signed."""
    if not found.signed_by:
        return "the bundle is not signed, so nobody stands for what was reviewed"
    if key and key.hex() == found.signed_by:
        return "it was stated by the key that submitted it"
    if claim == "reviewed":
        return ""
    if rerun is None:
        return "there is no run to verify it by"
    if key and key.hex() != rerun.signed_by:
        return "the re-run is not signed by the key that stated it"
    if rerun.faults:
        return f"the re-run does not hold: {rerun.faults[0]}"
    return _not_confirmed(found, rerun)


def _not_confirmed(found: Examined, rerun: Examined) -> str:
    ours, theirs = found.result, rerun.result
    if not theirs.sealed_root:
        return "the re-run is not on a sealed set"
    if ours.target != "endpoint" or theirs.target != "endpoint":
        return "a simulated target cannot be verified"
    if found.asked != rerun.asked:
        return "the re-run has another track, tier set or rigor, or on the natural track another cap or temperature"
    if found.model != rerun.model:
        return "the re-run is of another model"
    if _hardware(found.plan.system) != _hardware(rerun.plan.system):
        return "the re-run declares other accelerators"
    theirs_by_tier = {tier.tier: tier for tier in theirs.results}
    for tier in ours.results:
        again = theirs_by_tier.get(tier.tier)
        for name, claimed, reached in _figures(tier, again):
            if claimed and (reached is None or reached < (1 - _AGREE) * claimed):
                told = "no number" if reached is None else significant(reached, 4)
                return f"the re-run found {told} at tier {tier.tier}, not {significant(claimed, 4)} {name}"
    return ""


def _hardware(system: System) -> tuple[object, ...]:
    """Accelerators by their name and number, and how they are divided into pools."""
    return system.accelerator, normalise.accelerators(system), sorted((p.name, p.accelerators) for p in system.pools)


def _figures(tier: TierResult, again: TierResult | None) -> Iterator[tuple[str, float | None, float | None]]:
    """What a label stands beside: (name, claimed, found again)."""
    yield "agents", tier.agents, again.agents if again else None
    found = {row.name: row.agents_per_mw for row in again.power} if again else {}
    for row in tier.power:
        yield row.name, row.agents_per_mw, found.get(row.name)


class Read(NamedTuple):
    """A statement file: what it says and whose key signed it, or why it counts for nothing."""

    file: str
    statement: Statement | None
    key: bytes
    name: str
    why: str = ""


def read(path: Path, keys: Mapping[bytes, str]) -> Read:
    """Never raises for what somebody put there."""
    name = path.name
    try:
        data = path.read_bytes()[: 1 << 16]
        armoured = path.with_name(name + ".sig").read_bytes()
    except OSError as error:
        return Read(name, None, b"", "", f"it or its signature cannot be read ({error.strerror})")
    signature = sshsig.check(data, NAMESPACE, armoured)
    if signature.why:
        return Read(name, None, b"", "", f"its signature does not hold: {signature.why}")
    if signature.key not in keys:
        return Read(name, None, b"", "", f"its key {signature.fingerprint} is not in the site's list")
    try:
        return Read(name, msgspec.json.decode(data, type=Statement), signature.key, keys[signature.key])
    except msgspec.DecodeError as error:
        return Read(name, None, b"", "", f"it is no statement ({error})")
