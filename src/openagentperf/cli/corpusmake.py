"""`openagentperf corpus from-repo | fetch`: sets made of a repository's history, and public sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf.cli.card import card_text
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.setnotes import columns, note_next, note_skipped, noted_lines, wrapped
from openagentperf.corpusjobs import fetch as fetching
from openagentperf.corpusjobs.fromrepo import from_repo as make_from_repo
from openagentperf.corpusjobs.hub import Hub, Mirror, Source
from openagentperf.corpusjobs.publicsets import SETS, set_named
from openagentperf.errors import UsageError

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

LIMIT = 500


def from_repo(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A local git repository: a working tree's root, or a bare one.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the set; made where it is not there.")],
    count: Annotated[int | None, typer.Option(metavar="N", help="Trajectories, one a commit. Default: up to 100.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The same HEAD and seed give the same bytes.")] = 1,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="Whose lengths and delays: agentperf, demo, interactive or long.")
    ] = "agentperf",
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the repository's text. Default: by its licence file, where it is known.")
    ] = "",
    json: Json = False,
) -> int:  # fmt: skip
    """Derive sessions from a repository's commits: real files, searches and edits. Nothing of the repository is run.

    Tasks, what is read and what is changed are real; the order of the steps, the lengths and the delays follow a profile, and the output of
    test runs is made up from the names of the real tests.
    """
    report = make_from_repo(path, out, count, seed, profile, licence)
    if json:
        say_json(report)
        return 0
    width = columns()
    found = f"{report.repository} at {report.head[:12]}: commits with one parent {report.commits:,}, looked at {report.looked_at:,}"
    lines = wrapped(found, width)
    if report.redrawn:
        lines += wrapped(
            f"sessions made longer than drawn, because no commit was small enough: {report.redrawn:,}", width
        )
    say("\n".join([*lines, *noted_lines(report.noted, width), "", card_text(report.card, width)]))
    note_skipped(report.skipped)
    note_next(out)
    return 0


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A set of the list; without it, the list.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the set; made where it is not there.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The first N trajectories, from as few files as hold them.")] = LIMIT,
    all_: Annotated[bool, typer.Option("--all", help="All trajectories.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the licence of the list; refused where the card names another.")] = False,
    licence: Annotated[
        str | None, typer.Option(metavar="SPDX", help="Agree to this licence; refused where the card names another.")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit. Default: the main branch.")] = None,
    files: Annotated[str | None, typer.Option(metavar="GLOB", help="Only data files whose path matches.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="A copy of the data set, instead of the hub.")] = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Fetch a public set from the Hugging Face hub, with its licence and attribution, after you have agreed to the licence."""
    if name is None:
        return _list(json)
    known = set_named(name)
    if out is None:
        raise UsageError("corpus fetch", "has no --out", "the set needs a folder", "name one")
    source: Source = Hub() if from_ is None else Mirror(from_)
    offered = fetching.offer(known, source, revision, files)
    for line in _terms(offered):
        note(line)
    _agree(offered, yes, licence)
    report = fetching.fetch(offered, source, out, None if all_ else limit)
    if json:
        say_json(report)
        return 0
    say("\n".join([*noted_lines(report.noted, columns()), card_text(report.card, columns())]))
    note_skipped(report.skipped)
    note(f"attribution: {out / fetching.NOTICE_NAME}")
    note_next(out)
    return 0


def _list(json: bool) -> int:
    if json:
        say_json(list(SETS.values()))
        return 0
    for known in SETS.values():
        size = f"{known.rows:,} trajectories" if known.rows else "size not known to this release"
        say(f"{known.name}: {known.repo}, {known.licence}, {size}")
        say("\n".join(wrapped(f"    {known.covers}", columns())))
    note("the licence that counts is the one of the data set's card; it is shown before anything is fetched")
    return 0


def _terms(offered: fetching.Offer) -> list[str]:
    known, sizes = offered.set, list(offered.files.values())
    total = sum(size or 0 for size in sizes) / 1e6
    lines = [
        f"{known.repo}, revision {offered.revision or 'not recorded'}, by {known.author}",
        f"data files {len(sizes):,}, {total:,.0f} MB{'' if all(sizes) else ' and some of unknown size'}; downloaded as they are needed",
        f"licence by its card: {offered.licence or 'none named'}",
    ]  # fmt: skip
    if not offered.as_known:
        lines.append(f"  this release knows {known.licence}: the card counts, so read its page")
    return lines


def _agree(offered: fetching.Offer, yes: bool, licence: str | None) -> None:
    if yes or licence is not None:
        fetching.check_consent(offered, licence)
        return
    place = f"licence of {offered.set.repo}"
    if not sys.stdin.isatty():
        raise UsageError(place, "was shown to nobody", "somebody must agree to it", "add --yes, or --licence SPDX")
    if not typer.confirm("Do you agree to use the set under this licence?", err=True):
        raise UsageError(place, "was not agreed to", "", "nothing was fetched")
