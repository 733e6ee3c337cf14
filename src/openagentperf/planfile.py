"""Plan files: TOML and command-line options in, one complete frozen Plan out; and back.

- `load` reads what a person wrote: presets, paths relative to the file, defaults that depend on one another.
- `read` reads what `dump` wrote into a run folder: every field spelled out, nothing looked up, so that a run can be scored on a
  machine that has neither the corpus nor the key. Law: `read(dump(plan)) == plan` for every plan.
- `check_surroundings` is the part of the checking that depends on this machine (files, environment variables); `load` ends with it.

Every mistake is a PlanError before the first byte is sent: *where: what is, what was needed: what to do*.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from msgspec import Struct

from openagentperf import endpointfile, systemfile
from openagentperf.corpus.profiles import PROFILES
from openagentperf.errors import PlanError
from openagentperf.plan import Plan, Rigor, Search, TierSet, Workload
from openagentperf.tomlfile import Table, convert, one_of, parse

_PLACES: dict[str, tuple[str, ...]] = {
    "endpoint": ("endpoint", "url"),
    "model": ("endpoint", "model"),
    "api_key_env": ("endpoint", "api_key_env"),
    "ca_file": ("endpoint", "ca_file"),
    "corpus": ("workload", "corpus"),
    "track": ("workload", "track"),
    "max_context": ("workload", "max_context_tokens"),
    "max_tool_delay": ("workload", "max_tool_delay_s"),
    "allow_rewritten_history": ("workload", "allow_rewritten_history"),
    "rigor": ("rigor",),
    "tiers": ("tiers",),
    "seed": ("seed",),
    "workers": ("load", "workers"),
    "start": ("search", "start"),
    "limit": ("search", "limit"),
    "system": ("system",),
    "accelerators": ("system", "accelerators"),
    "accelerator": ("system", "accelerator"),
}
"""Where each option of the command line stands in a plan."""

_PATHS = {("endpoint", "ca_file"), ("workload", "corpus")}

_WEAKER_IF_LESS = ("settle_s", "measure_s", "certify_turns", "trajectories", "trajectories_per_agent", "certify_phases")
_WEAKER_IF_MORE = ("spawn_per_s", "max_failure_share", "ttft_drift", "client_error")
_VIRTUAL_LIMIT_S = 14_400
"""Longest phase of a simulated cluster, whose hours take seconds: ten minutes of measuring behind a ramp of 13,000 agents."""


class Overrides(Struct, frozen=True, kw_only=True):
    """Options of the command line, which win over the file. None: not given."""

    endpoint: list[str] | str | None = None
    """One URL or several."""
    model: str | None = None
    api_key_env: str | None = None
    ca_file: str | None = None
    corpus: str | None = None
    track: str | None = None
    max_context: int | None = None
    max_tool_delay: float | None = None
    allow_rewritten_history: bool | None = None
    rigor: str | None = None
    tiers: str | None = None
    seed: int | None = None
    workers: int | None = None
    start: int | None = None
    limit: int | None = None
    system: str | None = None
    accelerators: int | None = None
    accelerator: str | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) not in (None, [])}


def load(path: Path | None, overrides: Overrides = Overrides(), simulate: Table | None = None) -> Plan:  # noqa: B008 - frozen
    """The plan that a file (None: an empty one) and options ask for, complete and checked; `simulate` has options for the table of that
    name. Raises PlanError.

    What depends on other fields, where it is not given:
    - without an endpoint the track is `exact` (a simulated node has no words of its own) and the rigor `quick`, on a simulated cluster,
      whose hours are seconds, `standard`;
    - `search.limit` is the largest level that fits in `rigor.limit_s`, at most 4096;
    - `workload.max_output_tokens` is at most `max_context_tokens`.
    """
    where = str(path) if path is not None else "plan"
    base = path.parent if path is not None else Path()
    wish = parse(path) if path is not None else {}
    options = {_dotted(_PLACES[name]): f"--{name.replace('_', '-')}" for name in overrides.given()}
    if isinstance(wish.get("system"), str):
        wish["system"] = systemfile.table(wish["system"], base, where)
    if overrides.system is not None:
        wish["system"] = systemfile.table(overrides.system)
    for section in ("endpoint", "workload", "search", "load", "system", "simulate"):
        if not isinstance(wish.get(section, {}), dict):
            raise PlanError(where, f"`{section}` is {wish[section]!r}", "a table was needed", f"write [{section}]")
    for place in _PATHS:
        _resolve(wish, place, base)
    _resolve_simulate(wish.get("simulate", {}), base)
    if simulate is not None:
        table = dict(simulate)
        _resolve_simulate(table, Path())
        wish["simulate"] = wish.get("simulate", {}) | table
    for name, value in overrides.given().items():
        if name in ("system", "endpoint"):
            continue
        if isinstance(value, float) and not math.isfinite(value):  # of a file, tomlfile.parse says it
            raise PlanError(
                options[_dotted(_PLACES[name])], f"is {value}", "a finite number was needed", "write a number"
            )
        _put(wish, _PLACES[name], value)
        _resolve(wish, _PLACES[name], Path())
    urls = [overrides.endpoint] if isinstance(overrides.endpoint, str) else overrides.endpoint or []
    if urls or "endpoint" in wish:
        endpointfile.normalise(wish.setdefault("endpoint", {}), urls)
    wish["tiers"] = tiers(wish.get("tiers", "agentperf"), Path() if overrides.tiers else base,
                          options.get("$.tiers", where))  # fmt: skip
    if "simulate" in wish and isinstance(asked := wish.get("rigor", {}), str | dict):
        wish["rigor"] = {"limit_s": _VIRTUAL_LIMIT_S} | ({"preset": asked} if isinstance(asked, str) else asked)
    wish["rigor"] = _rigor(
        wish.get("rigor"),
        "standard" if "endpoint" in wish or "simulate" in wish else "quick",
        options.get("$.rigor", where),
    )
    if "endpoint" not in wish:
        _put(wish, ("workload", "track"), wish.get("workload", {}).get("track", "exact"))
    fits = min(Search().limit, _levels_that_fit(wish["rigor"], wish["tiers"]))
    if fits >= 1 and "limit" not in wish.get("search", {}):
        _put(wish, ("search", "limit"), fits)
    _cap_output(wish)
    if "endpoint" in wish and "url" not in wish["endpoint"]:
        asked = [option for dotted, option in options.items() if dotted.startswith("$.endpoint.")]
        raise PlanError(asked[0] if asked else where, "describes an endpoint without its address", "a URL was needed",
                        "add --endpoint URL, or url in [endpoint]")  # fmt: skip
    plan = convert(wish, Plan, where, options=options)
    systemfile.check(plan.system, options.get("$.system", where))
    _check(plan, lambda key: options.get(f"$.{key}", where))
    check_surroundings(plan, where)
    return plan


def read(path: Path) -> Plan:
    """The plan of a run folder (`plan.toml`, as `dump` wrote it), field by field. Raises PlanError."""
    return convert(parse(path), Plan, str(path))


def dump(plan: Plan) -> bytes:
    """TOML with every field spelled out; `read` gives the equal plan back, and so does `load` for a plan that `load` made."""
    wish = _without_none(msgspec.to_builtins(plan))
    return ("# Every field of the plan as it was carried out, defaults included.\n" + tomli_w.dumps(wish)).encode()


def check_surroundings(plan: Plan, where: str = "plan") -> None:
    """Raise PlanError where a file or an environment variable that the plan names is not there."""
    corpus = plan.workload.corpus
    if corpus not in PROFILES and not Path(corpus).exists():
        raise PlanError(where, f"workload.corpus is `{corpus}`, which does not exist", "a generator profile or a path was needed",
                        f"use one of: {', '.join(sorted(PROFILES))}; or a file or folder that is there")  # fmt: skip
    if plan.endpoint is None:
        return
    key, ca_file = plan.endpoint.api_key_env, plan.endpoint.ca_file
    if key and not key.isidentifier():
        # Most likely the key itself: do not print it.
        raise PlanError(where, "endpoint.api_key_env is not a variable's name", "the name, never the key, was needed",
                        "put the key into an environment variable and give its name")  # fmt: skip
    if key and not os.environ.get(key):
        raise PlanError(where, f"endpoint.api_key_env names `{key}`, which is not set", "the key was needed",
                        f"export {key}=..., or leave api_key_env out")  # fmt: skip
    if ca_file and not Path(ca_file).is_file():
        raise PlanError(where, f"endpoint.ca_file is `{ca_file}`, which is not a file", "a PEM file was needed",
                        "correct the path")  # fmt: skip


# --- presets ----------------------------------------------------------------------------------------------------------------


def tier_presets() -> dict[str, TierSet]:
    """The shipped tier sets by name (docs/methodology.md#tiers)."""
    return {name: convert(table, TierSet, name, "$.tiers") for name, table in _presets("tiers").items()}


def rigor_presets() -> dict[str, Rigor]:
    """The shipped rigors by name (docs/methodology.md#rigor)."""
    return {name: convert(table, Rigor, name, "$.rigor") for name, table in _presets("rigor").items()}


def tiers(value: object, base: Path = Path(), where: str = "--tiers") -> TierSet:
    """A tier set from a preset's name, a file's path (relative to `base`) or an inline table. Raises PlanError."""
    if isinstance(value, str):
        presets = tier_presets()
        if value in presets:
            return presets[value]
        if not (base / value).is_file():
            raise PlanError(where, f"no tiers `{value}`", "a preset or a tiers file was needed",
                            one_of(value, list(presets)) + ", or the path of a TOML file with [[tier]] tables")  # fmt: skip
        where, value = str(base / value), parse(base / value)
    elif isinstance(value, dict):
        value = {"name": "own"} | value
    found = convert(value, TierSet, where, "$.tiers")
    names = [tier.name for tier in found.tier]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PlanError(where, f"two tiers are named `{twice[0]}`", "a result is told apart by its tier's name",
                        "rename one")  # fmt: skip
    return found


def _presets(kind: str) -> dict[str, Table]:
    folder = resources.files("openagentperf") / "presets" / kind
    found = {file.name.removesuffix(".toml"): msgspec.toml.decode(file.read_bytes()) for file in folder.iterdir()}
    return dict(sorted(found.items()))


def _rigor(value: object, default: str, where: str) -> Rigor:
    """A preset, or a preset with fields changed: the change stands in its name; what asks for less than `standard` is preliminary."""
    wish = {"preset": value} if isinstance(value, str) else {} if value is None else value
    if not isinstance(wish, dict):
        raise PlanError(
            where, f"`rigor` is {value!r}", "a preset's name or a table was needed", 'write rigor = "quick"'
        )
    presets = rigor_presets()
    asked = str(wish.get("preset", default))
    preset = presets.get(asked.split(" ")[0])  # "quick (changed: measure_s)" is how a dumped plan names it
    if preset is None:
        raise PlanError(where, f"no rigor `{asked}`", "a preset was needed", one_of(asked, list(presets)))
    changes = {name: value for name, value in wish.items() if name != "preset"}
    rigor = convert(msgspec.to_builtins(preset) | changes, Rigor, where, "$.rigor")
    standard = presets["standard"]
    weaker = [n for n in _WEAKER_IF_LESS if getattr(rigor, n) < getattr(standard, n)]
    weaker += [n for n in _WEAKER_IF_MORE if getattr(rigor, n) > getattr(standard, n)]
    if weaker and changes.get("preliminary") is False:
        raise PlanError(where, f"rigor.preliminary is false, but {weaker[0]} is {getattr(rigor, weaker[0]):g}",
                        f"a result is certified only with {getattr(standard, weaker[0]):g} as in `standard`",
                        "leave preliminary out, or use the standard's")  # fmt: skip
    changed = [n for n in changes if getattr(rigor, n) != getattr(preset, n) and n != "preliminary"]
    name = f"{preset.preset} (changed: {', '.join(sorted(changed))})" if changed else preset.preset
    return msgspec.structs.replace(rigor, preset=name, preliminary=rigor.preliminary or bool(weaker))


def named(rigor: Rigor) -> Rigor:
    """These values under the name, and with the standing, that a plan with them has. PlanError where no preset has such a name."""
    wish = msgspec.to_builtins(rigor)
    del wish["preliminary"]
    return _rigor(wish, "standard", "plan.toml")


# --- checks that need only the plan -------------------------------------------------------------------------------------------


def _drain_s(rigor: Rigor, tiers: TierSet) -> float:
    """Time that a phase must leave for its last measured turns: the strictest TTFT limit, at most a measure window."""
    return min(rigor.measure_s, *(tier.ttft_s for tier in tiers.tier))


def _levels_that_fit(rigor: Rigor, tiers: TierSet) -> int:
    """Largest N whose ramp, settling, shortest window and drain fit in the phase limit; below 1 where none does."""
    left_s = rigor.limit_s - rigor.settle_s - max(rigor.measure_s, rigor.search_measure_s) - _drain_s(rigor, tiers)
    return math.floor(left_s * rigor.spawn_per_s)


def _check(plan: Plan, named: Callable[[str], str]) -> None:
    """Raise PlanError where fields contradict one another; `named` gives the file or option that a key came from."""
    rigor, search, endpoint = plan.rigor, plan.search, plan.endpoint
    if search.start > search.limit:
        raise PlanError(named("search.start"), f"search.start is {search.start}, but search.limit is {search.limit}", "",
                        "lower start or raise limit")  # fmt: skip
    if search.limit > (fits := _levels_that_fit(rigor, plan.tiers)):
        window_s = max(rigor.measure_s, rigor.search_measure_s)
        needed_s = math.ceil(search.limit / rigor.spawn_per_s + rigor.settle_s + window_s + _drain_s(rigor, plan.tiers))
        raise PlanError(
            named("search.limit"), f"rigor.limit_s is {rigor.limit_s:g} s",
            f"but ramp + settle + measure + drain of {search.limit} agents need {needed_s} s",
            f"raise limit_s to {needed_s} or more"
            + (f", lower search.limit to {fits} or less" if fits >= search.start else "") + ", or shorten measure_s",
        )  # fmt: skip
    if plan.workload.max_output_tokens > plan.workload.max_context_tokens:
        raise PlanError(named("workload.max_output_tokens"), f"workload.max_output_tokens is {plan.workload.max_output_tokens}",
                        f"but max_context_tokens is {plan.workload.max_context_tokens}", "lower max_output_tokens")  # fmt: skip
    if endpoint is not None and plan.simulate is not None:
        raise PlanError(named("endpoint.url"), "the plan has an [endpoint] and a [simulate] table",
                        "requests are sent, or they are simulated", "leave one out")  # fmt: skip
    if endpoint is None:
        if plan.workload.track == "natural":
            raise PlanError(named("workload.track"), "workload.track is natural and there is no endpoint",
                            "a model that stops by itself was needed, and the embedded target is a simulation",
                            "leave the track out, or add --endpoint URL")  # fmt: skip
        return
    endpointfile.check(endpoint, named)


# --- tables -------------------------------------------------------------------------------------------------------------------


def _without_none(table: Table) -> Table:
    """TOML has no null: an absent key means None, as an absent table means the embedded target."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _dotted(place: tuple[str, ...]) -> str:
    return ".".join(("$", *place))


def _put(wish: Table, place: tuple[str, ...], value: object) -> None:
    for name in place[:-1]:
        wish = wish.setdefault(name, {})
    wish[place[-1]] = value


def _resolve(wish: Table, place: tuple[str, ...], base: Path) -> None:
    """Make a path absolute, so that the plan means the same from the run folder (a profile's name is not a path)."""
    value = wish.get(place[0], {}).get(place[-1]) if place in _PATHS else None
    if isinstance(value, str) and value and value not in PROFILES:
        _put(wish, place, str((base / value).absolute()))


def _resolve_simulate(wish: Table, base: Path) -> None:
    """The same for the files that a [simulate] table names."""
    for name, value in wish.items():
        is_folder = name == "calibrate" or (name == "silicon" and value != "aiconfigurator")
        if isinstance(value, str) and (value.endswith(".toml") or (value and is_folder)):
            wish[name] = str((base / value).absolute())
    if isinstance(wish.get("catalog"), list):
        wish["catalog"] = [str((base / str(file)).absolute()) for file in wish["catalog"]]


def _cap_output(wish: Table) -> None:
    workload = wish.get("workload", {})
    context = workload.get("max_context_tokens")
    if isinstance(context, int) and 1 <= context < Workload().max_output_tokens:
        workload.setdefault("max_output_tokens", context)
