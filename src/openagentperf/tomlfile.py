"""TOML tables to structs of the plan, with errors that name the file, the key, the option it came from, and what is near it."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from openagentperf.errors import PlanError
from openagentperf.plan import Endpoint, Load, Plan, Rigor, Search, Simulate, System, Tier, TierSet, Workload
from openagentperf.system import Pool, Price

Table: TypeAlias = dict[str, Any]
T = TypeVar("T")

_STRUCTS: dict[str, type[Struct]] = {
    "$": Plan, "$.rigor": Rigor, "$.tiers": TierSet, "$.tiers.tier": Tier, "$.endpoint": Endpoint,
    "$.workload": Workload, "$.search": Search, "$.load": Load, "$.simulate": Simulate,
    "$.system": System, "$.system.price": Price, "$.system.pools": Pool,
}  # fmt: skip


def parse(path: Path) -> Table:
    """The file's tables, as TOML types; every number finite (TOML has inf and nan, a limit of inf would never end)."""
    try:
        table: Table = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise PlanError(
            str(path), f"cannot be read ({error.strerror})", "a TOML file was needed", "correct the path"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanError(str(path), f"is not TOML ({error})", "", "correct that line") from error
    for dotted, value in _floats("$", table):
        if not math.isfinite(value):
            raise PlanError(str(path), f"`{dotted}` is {value}", "a finite number was needed", "write a number")
    return table


def _floats(at: str, value: object) -> list[tuple[str, float]]:
    if isinstance(value, float):
        return [(at, value)]
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _floats(f"{at}.{name}", item)]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in _floats(f"{at}[{i}]", item)]
    return []


def one_of(name: str, known: list[str]) -> str:
    """`use one of: ...`: the known names near a misspelt one, all of them where none is near."""
    near = difflib.get_close_matches(name, known, 3)
    return f"use one of: {', '.join(near or known)}"


def convert(value: object, kind: type[T], where: str, root: str = "$", options: dict[str, str] | None = None) -> T:
    """`value` as `kind`; a mismatch becomes a PlanError that names the key, the option it came from, and what is near it."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        at = re.search(r" - at `\$(.*)`$", text)
        place = root + (at[1] if at else "")
        text = (text[: at.start()] if at else text) + f" - at `{place}`"
        raise PlanError((options or {}).get(place, where), text, "", _advice(text, place)) from error


def _advice(text: str, place: str) -> str:
    if missing := re.match(r"Object missing required field `(.+?)`", text):
        return f"add {missing[1]}"
    unknown = re.match(r"Object contains unknown field `(.+?)`", text)
    if not unknown:
        return "correct it (docs/plan.md lists every key)"
    here = re.sub(r"\[.*?\]", "", place)
    name, known = unknown[1], list(_STRUCTS[here].__struct_fields__) if here in _STRUCTS else []
    elsewhere = [table[2:] for table, struct in _STRUCTS.items() if name in struct.__struct_fields__ and table != here]
    if elsewhere and not difflib.get_close_matches(name, known, 1):
        return f"move it to [{elsewhere[0]}]" if elsewhere[0] else "move it to the top of the file"
    return f"remove it, or {one_of(name, known)}"
