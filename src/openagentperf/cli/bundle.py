"""`openagentperf bundle`: a run to give away. `openagentperf verify`: one that was given, held against its own rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from openagentperf import rundir
from openagentperf.cli.options import Json, RunFolder
from openagentperf.cli.output import note, printable, say, say_json
from openagentperf.errors import UsageError
from openagentperf.leaderboard import bundle as bundles
from openagentperf.leaderboard import statements
from openagentperf.leaderboard.examine import Examined, examine
from openagentperf.report.marked import agents

DIFFERS = 1
Key = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Sign with this OpenSSH Ed25519 private key; needs the `seal` extra."),
]


def bundle(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="NAME.tar.zst (default) or NAME.zip.")] = None,
    key: Key = None,
    reads: Annotated[
        bool, typer.Option("--reads", help="With the time and length of every read: not needed to derive.")
    ] = False,
    json: Json = False,
) -> int:
    """Pack what a finished run's result follows from into one archive, with hashes.

    Refused, with status 1, where the result does not follow from the rows, or the ledger from the search.
    """
    if not run.is_dir():
        raise UsageError(str(run), "is no folder", "a run folder was needed", "name one that `openagentperf run` made")
    target = out or Path(f"{run.resolve().name}.tar.zst")
    bundles.check_packable(run, target, reads)
    of = bundles.hashes(run, reads)
    found = examine(run, of)
    if found.differences or found.conduct:
        _tell(found)
        return DIFFERS
    content = bundles.write(run, target, key, reads, of)
    if json:
        say_json({"bundle": str(target), "content": content, "bytes": target.stat().st_size, "signed": key is not None})
    else:
        say(str(target))
        note(
            f"content {content}{', signed' if key else ''}; it holds the plan, with the endpoint's URL, and the host's kernel and versions"
        )
    return 0


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A run folder, or an archive of one.")],
    claim: Annotated[
        statements.Claim | None,
        typer.Option("--state", help="Write a signed statement about it: docs/leaderboard.md."),
    ] = None,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who states it.")] = "",
    rerun: Annotated[
        Path | None, typer.Option(metavar="RUN|BUNDLE", help="Of `verified`: your own run on a sealed set.")
    ] = None,
    key: Key = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the statement goes.")] = None,
    json: Json = False,
) -> int:
    """Derive a result again from its rows, check the attempts, hashes and signature, and say what differs.

    Exit 0 where everything holds, 1 where anything differs.
    """
    stated = _stated(claim, by, rerun, key, out)
    found = examine(run)
    if json:
        say_json({
            "name": found.name, "content": found.content, "holds": not found.faults, "differences": found.differences,
            "conduct": found.conduct, "abandoned": found.abandoned,
            "other_version": found.other_version, "sums": found.sums, "signed_by": found.fingerprint,
            "signature": found.signature_why, "result": msgspec.to_builtins(found.result),
        })  # fmt: skip
    else:
        for tier in found.result.results:
            found_there = "no number" if tier.agents is None else agents(tier.agents)
            say(printable(f"tier {tier.tier}: {found_there}, {found.result.standing_words(tier)}"))
    _tell(found)
    if found.faults:
        return DIFFERS
    if stated is not None:
        _state(found, stated, examine(rerun) if rerun else None)
    return 0


def _tell(found: Examined) -> None:
    if found.differences:
        note(f"DIFFERENT: result.json is not what the rows of {found.name} give")
    else:
        note(f"identical: result.json is what the rows of {found.name} give")
    for line in found.differences:
        note(f"  {line}")
    if found.conduct:
        note("NOT CONDUCTED as its plan says, or attempts are missing")
    for line in found.conduct:
        note(f"  {line}")
    if found.abandoned:
        note(f"attempts that were broken off before they were judged: {found.abandoned}")
    if found.other_version:
        note(f"written by openagentperf {found.other_version}, derived by {found.result.version}")
    if found.sums is None:
        note(f"no {bundles.SUMS}: a folder that was never packed has none")
    else:
        note("hashes agree" if not found.sums else "HASHES DIFFER")
        for line in found.sums:
            note(f"  {line}")
    if found.signature_why:
        note(f"SIGNATURE DOES NOT HOLD: {found.signature_why}")
    elif found.signed_by:
        note(f"signed by {found.fingerprint}: whose key that is, is for you to know")
    else:
        note("not signed")
    note(f"content {found.content}")


class _Stated(NamedTuple):
    """What --state and the options beside it ask for."""

    claim: statements.Claim
    by: str
    key: Path
    out: Path


def _stated(
    claim: statements.Claim | None, by: str, rerun: Path | None, key: Path | None, out: Path | None
) -> _Stated | None:
    """None without --state. Checked before anything is derived: that takes minutes."""
    if claim is None:
        given = {"--by": by, "--rerun": rerun, "--key": key, "--out": out}
        stray = ", ".join(name for name, value in given.items() if value)
        if stray:
            raise UsageError(
                "verify", f"has {stray} without --state", "they are of a statement", "add --state, or leave them out"
            )
        return None
    if key is None or out is None or not by:
        raise UsageError(
            "verify --state", "lacks --by, --key or --out", "a statement has a name, a key and a folder", "give them"
        )
    if (rerun is None) != (claim == "reviewed"):
        found = "lacks --rerun" if rerun is None else "has --rerun"
        raise UsageError(
            f"verify --state {claim}",
            found,
            "of the two `verified` alone names a run of its own",
            "see docs/leaderboard.md",
        )
    return _Stated(claim, by, key, out)


def _state(found: Examined, stated: _Stated, rerun: Examined | None) -> None:
    made = statements.state(found, stated.claim, stated.by, rerun)
    data = statements.encode(made)
    path = stated.out / f"{stated.claim}-{found.content[:12]}.json"
    rundir.write(path, data)
    rundir.write(path.with_name(path.name + ".sig"), statements.sign(data, stated.key))
    note(f"stated in {path}")
