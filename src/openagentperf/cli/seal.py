"""`openagentperf corpus keygen | seal | unseal | reveal | check`: a private test set that can be proven later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf.cli.output import note, say, say_json
from openagentperf.corpusjobs import sealed
from openagentperf.corpusjobs.keys import write_key

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def keygen(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The secret key; only you may read it. Never overwritten.")],
    json: Json = False,
) -> int:  # fmt: skip
    """Make a key pair: the secret key to a file, the recipient to stdout."""
    recipient = write_key(out)
    if json:
        say_json({"recipient": recipient, "key": str(out)})
        return 0
    say(recipient)
    note(f"the secret key is in {out}: whoever has it can open what is sealed to this recipient")
    return 0


def seal(
    path: Annotated[Path, typer.Argument(metavar="SET", help="A native set (`corpus import` or `corpus build` makes one).")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to be published.")],
    to: Annotated[list[str], typer.Option(metavar="RECIPIENT", help="age1..., an ssh public key, or a file of them. Repeatable.")],
    public: Annotated[float, typer.Option(metavar="SHARE", help="Of the trajectories, kept open for tuning, in whole tasks.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Which tasks become public.")] = 1,
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the set, in its commitment. Default: the folder's.")] = "",
    json: Json = False,
) -> int:  # fmt: skip
    """Encrypt a set to its recipients, and publish only its card and a commitment.

    Whoever can send the prompts can read them: the host of the load generator and the endpoint see the whole set during a run.
    """
    made = sealed.seal(path, out, to, public_share=public, seed=seed, name=name)
    if json:
        say_json(made)
        return 0
    say(f"sealed trajectories {made.sealed:,}, public {made.public:,}, tasks {made.tasks:,} (none on both sides)")
    say(f"root {made.root}")
    if made.public:
        say(
            f"prompts and tool results of 200 bytes or more that stand word for word in the public part too: {made.shared_messages:,} of "
            f"{made.messages:,} of the sealed part"
        )
    if made.skipped:
        note(f"skipped: {len(made.skipped):,} (the first: {made.skipped[0].where}: {made.skipped[0].why})")
    note(f"written to {out}: commitment.json and sealed.age may be published; the set itself must not be")
    return 0


def unseal(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with sealed.age and commitment.json.")],
    identity: Annotated[Path, typer.Option(metavar="FILE", help="Secret key of one of the recipients.")],
    out: Annotated[Path, typer.Option("--out", metavar="SET", help="Folder of the native set.")],
    json: Json = False,
) -> int:
    """Decrypt a sealed set, checked line by line against its commitment."""
    return _checked(sealed.unseal(folder, identity, out), json)


def reveal(
    path: Annotated[Path, typer.Argument(metavar="SET", help="An unsealed set.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to be published.")],
    only: Annotated[list[str] | None, typer.Option(metavar="ID", help="One trajectory. Repeatable. Default: all.")] = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Write a set, or some of its trajectories, with the salts that let anyone check it against its commitment."""
    count = sealed.reveal(path, out, only or ())
    if json:
        say_json({"revealed": count})
        return 0
    say(f"trajectories revealed: {count:,}")
    note(f"written to {out}; anyone can check it: openagentperf corpus check {out} --commitment commitment.json")
    return 0


def check(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A revealed set.")],
    commitment: Annotated[Path, typer.Option(metavar="FILE", help="commitment.json, as it was published before.")],
    json: Json = False,
) -> int:
    """Check that a revealed set is the one that was committed to."""
    return _checked(sealed.check(path, commitment), json)


def _checked(found: sealed.Checked, json: bool) -> int:
    if json:
        say_json(found)
    else:
        say(f"{found.name}: trajectories as committed to: {found.revealed:,} of {found.of:,}")
        say(f"root {found.root}")
    return 0


COMMANDS = (keygen, seal, unseal, reveal, check)
