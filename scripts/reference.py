"""Write docs/reference.md: the records of `openagentperf.records` that reach disk, the ledger's line, and every format that is read.

python scripts/reference.py            write
python scripts/reference.py --check    status 1 where the page is not what the code says
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from openagentperf import records
from openagentperf.corpus.detect import GROUPED, IMPORTERS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference.md"
RECORDS = [
    # modules, title, which file holds what
    ("records.trajectory", "A trajectory", "A line of a set that `corpus import` wrote is one `Trajectory`, as JSON."),
    ("records.card", "The card of a set", "`corpus.card.json` is `Card`, and so is what `corpus card --json` prints."),
    ("records.capture", "A recording", "A line of `capture.jsonl`, as the recording proxy writes it."),
    ("records.turns", "Turns", "Columns of `turns.parquet` are `TurnRow`, of `client.parquet` `ClientSample`. Frames hold `RawTurn`."),
    ("records.phase", "Phases", "`phase.json` is `PhaseFacts`."),
    ("records.hosts", "Hosts of the load", "`phase.json` holds a `LoadHost` for each, where there are several."),
    ("rundir", "The ledger", "A line of `ledger.jsonl` is `LedgerLine`, with a `Judged` where a phase was judged."),
    ("records.power", "Power", "`power.parquet` holds `Reading`, a column a field; `meters.json` is `Meters`, `idle.json` is `IdleSpans`."),
    ("records.run", "The run", "`run.json` is `RunFacts`."),
    ("records.preflight", "Preflight", "`run.json` holds `ServerFacts` and each `Check`; `preflight --json` prints `Report`."),
    ("records.result", "The result", "`result.json` is `Result`."),
    ("records.simulated", "Of a simulated cluster", "Its `result.json` holds `Simulated`; `bands.json` holds a `Band` a tier."),
    ("records.ceiling", "The client's own ceiling", "What `selfcheck` keeps in the user's state folder is `Ceiling`."),
    ("records.seal", "Sealing", "`commitment.json` is `Commitment`; the opening of one trajectory is `Opening`."),
]  # fmt: skip
NOT_WRITTEN = {"records.progress", "records.standing"}
"""Told to a display, and derived anew each time."""


def page() -> str:
    lines = [
        "# Formats and records",
        "",
        "Made from the code by `make reference`; a test fails where the two differ. [run-folder.md](run-folder.md) says which file",
        "is written when.",
        "",
        "## Formats of recordings",
        "",
        "What `corpus import` reads, told from the content; `--format` names one. *Folder*: one session lies in several files, so name",
        "their folder.",
        "",
        "| `--format` | what | |",
        "|---|---|---|",
    ]
    for name, module in IMPORTERS.items():
        what = (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ").rstrip(":")
        lines.append(f"| `{name}` | {_cell(what)} | {'folder' if name in GROUPED else ''} |")
    there = {f"records.{found.name}" for found in pkgutil.iter_modules(records.__path__)}
    said = {name for name, _, _ in RECORDS} | NOT_WRITTEN
    if forgotten := sorted(name for name in there - said if any(_structs(f"openagentperf.{name}"))):
        raise SystemExit(
            f"scripts/reference.py: says nothing of {', '.join(forgotten)}: add it to RECORDS or NOT_WRITTEN"
        )
    for module_name, title, about in RECORDS:
        lines += ["", f"## {title}", "", about]
        for name, doc, fields in _structs(f"openagentperf.{module_name}"):
            lines += ["", f"### {name}", "", *([doc, ""] if doc else []), "| field | type | meaning |", "|---|---|---|"]
            lines += [
                f"| `{field}` | `{kind.replace('|', chr(92) + '|')}` | {_cell(text)} |" for field, kind, text in fields
            ]
        for name, values, doc in _words(f"openagentperf.{module_name}"):
            lines += ["", f"`{name}` is one of {', '.join(f'`{value}`' for value in values)}. {doc}".rstrip()]
    return "\n".join(lines) + "\n"


def _structs(module_name: str) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, docstring and fields (name, type, its docstring) of each Struct, in the order of the source."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module_name)))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or not any(
            ast.unparse(base) in ("Struct", "msgspec.Struct") for base in node.bases
        ):
            continue
        fields = []
        for at, item in enumerate(node.body):
            if isinstance(item, ast.AnnAssign):
                after = node.body[at + 1] if at + 1 < len(node.body) else None
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                fields.append((ast.unparse(item.target), ast.unparse(item.annotation), str(text)))
        yield node.name, _text(ast.get_docstring(node) or ""), fields


def _words(module_name: str) -> Iterator[tuple[str, list[str], str]]:
    """Name, values and docstring of each alias of a Literal."""
    body = ast.parse(inspect.getsource(importlib.import_module(module_name))).body
    for at, node in enumerate(body):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Subscript)):
            continue
        if ast.unparse(node.value.value) != "Literal":
            continue
        after = body[at + 1] if at + 1 < len(body) else None
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        yield (
            ast.unparse(node.target),
            [json.dumps(value) for value in ast.literal_eval(node.value.slice)],
            _text(str(text)),
        )


def _text(doc: str) -> str:
    """Markdown keeps an indented block as it is; every other line break is none."""
    return re.sub(r"(?<!\n)\n(?![\n ])", " ", doc)


def _cell(text: str) -> str:
    """Text inside one cell of a table; `<` is itself in code, and no tag outside of it."""
    parts = re.sub(r"\s+", " ", text).replace("|", "\\|").strip().split("`")
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    told = page()
    if parser.parse_args().check:
        if PAGE.exists() and PAGE.read_text() == told:
            return 0
        print(f"{PAGE.relative_to(ROOT)}: is not what the code says: run `make reference`", file=sys.stderr)
        return 1
    PAGE.write_text(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
