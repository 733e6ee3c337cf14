"""Public sets of coding-agent trajectories on the Hugging Face hub that an importer reads."""

from __future__ import annotations

from msgspec import Struct

from openagentperf.errors import UsageError


class PublicSet(Struct, frozen=True, kw_only=True):
    """What is known of a set before it is asked for. The licence that counts is the one that its card names when it is fetched."""

    name: str
    repo: str
    licence: str
    """SPDX id, as known to this release."""
    format: str
    """Importer of its rows (corpus.detect.IMPORTERS)."""
    rows: int | None = None
    """About so many trajectories; None where this release does not know."""
    author: str
    covers: str
    prefer: str = "*"
    """Where data files match this pattern, only those are read: the others hold the same sessions in another spelling."""


_SETS = (
    PublicSet(
        name="swe-agent",
        repo="nebius/SWE-agent-trajectories",
        licence="CC-BY-4.0",
        format="nebius-swe-agent",
        rows=80_036,
        author="Nebius",
        covers="SWE-agent with open models on GitHub issues of Python projects; text commands, no tool calls, no times",
    ),
    PublicSet(
        name="swe-smith",
        repo="SWE-bench/SWE-smith-trajectories",
        licence="MIT",
        format="swe-rows",
        author="the SWE-smith authors (SWE-bench)",
        covers="SWE-agent on synthetic bugs of Python projects; with tool calls where the set has such files; no times",
        prefer="*tool*",
    ),
    PublicSet(
        name="swe-rebench-openhands",
        repo="nebius/SWE-rebench-openhands-trajectories",
        licence="CC-BY-4.0",
        format="swe-rows",
        rows=67_074,
        author="Nebius",
        covers="OpenHands with an open model on GitHub issues of Python projects; tool calls and tool definitions, no times",
    ),
    PublicSet(
        name="swe-zero-openhands",
        repo="nvidia/SWE-Zero-openhands",
        licence="CC-BY-4.0",
        format="swe-rows",
        author="NVIDIA",
        covers="OpenHands with an open model; tool calls, no times",
    ),
)
SETS: dict[str, PublicSet] = {known.name: known for known in _SETS}
_SPDX = {
    known.lower(): known
    for known in (
        "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-3.0", "MIT", "ODbL-1.0",
    )
} | {"odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0"}  # fmt: skip


def set_named(name: str) -> PublicSet:
    """The set of that name, or of that repository on the hub; UsageError lists those that exist."""
    for known in SETS.values():
        if name.lower() in (known.name, known.repo.lower()):
            return known
    raise UsageError(
        "set", f"{name!r} is not known", f"one of {', '.join(SETS)}", "`openagentperf corpus fetch` alone lists them"
    )


def spdx(card_licence: str) -> str:
    """The SPDX id of a licence as cards of the hub spell it; others as they are."""
    return _SPDX.get(card_licence.lower(), card_licence)
