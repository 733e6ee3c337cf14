"""The words that names, comments and messages are made of, and the ways to join them."""

from __future__ import annotations

from openagentperf.seeds import Stream

DOMAIN = ("ledger", "shard", "ticket", "widget", "courier")
"""Nouns that stand for what a repository is about. Each session renames them (repo.Repo): no two share long texts."""

DOMAINS = (
    "account", "airport", "album", "auction", "badge", "ballot", "basket", "beacon", "booking", "branch", "bridge", "budget", "camera",
    "canvas", "cargo", "carrier", "catalog", "channel", "chapter", "cluster", "contract", "coupon", "course", "crate", "dataset",
    "delivery", "deposit", "device", "donor", "engine", "exhibit", "factory", "festival", "flight", "forecast", "fragment", "freight",
    "gallery", "garden", "glossary", "harvest", "hospital", "invoice", "island", "journal", "junction", "kernel", "kitchen", "lecture",
    "lesson", "library", "locker", "machine", "market", "meeting", "menu", "meter", "mirror", "mission", "museum", "notebook", "orbit",
    "parcel", "passenger", "patient", "payment", "pipeline", "planet", "player", "playlist", "policy", "portfolio", "premium", "printer",
    "profile", "quarter", "radar", "recipe", "refund", "reservoir", "rocket", "route", "satellite", "schedule", "season", "sensor",
    "shipment", "signal", "stadium", "station", "storage", "supplier", "survey", "tenant", "terminal", "theatre", "tower", "tractor",
    "transit", "tunnel", "turbine", "vehicle", "vendor", "venue", "vessel", "village", "voucher", "warehouse", "weather", "workshop",
)  # fmt: skip

NOUNS = (
    *DOMAIN * 3, "batch", "buffer", "cache", "chunk", "client", "config", "context", "counter", "cursor", "deadline", "edge", "entry",
    "error", "event", "field", "filter", "flag", "frame", "group", "handle", "handler", "header", "index", "input", "interval", "item",
    "key", "label", "layer", "lease", "limit", "line", "lock", "mask", "message", "metric", "mode", "node", "offset", "option", "order",
    "output", "owner", "page", "parser", "patch", "path", "peer", "pool", "prefix", "query", "queue", "range", "reader", "record",
    "region", "request", "response", "result", "retry", "row", "rule", "schema", "scope", "segment", "session", "slot", "snapshot",
    "source", "span", "stage", "state", "status", "step", "stream", "suffix", "table", "target", "task", "timer", "token", "total",
    "trace", "tree", "unit", "user", "value", "vector", "version", "view", "weight", "window", "worker", "writer",
)  # fmt: skip

VERBS = (
    "add", "apply", "append", "assign", "attach", "build", "check", "claim", "clear", "close", "collect", "commit", "compare", "copy",
    "count", "create", "decode", "delete", "detach", "drain", "encode", "enqueue", "ensure", "expand", "expire", "export", "fetch",
    "filter", "find", "flush", "format", "get", "group", "handle", "has", "import", "insert", "is", "join", "list", "load", "lookup",
    "make", "map", "mark", "match", "merge", "move", "normalize", "open", "parse", "pop", "prune", "publish", "push", "read", "rebuild",
    "reduce", "refresh", "register", "release", "remove", "rename", "render", "replace", "report", "reset", "resolve", "restore", "retry",
    "rotate", "run", "save", "scan", "schedule", "send", "set", "sort", "split", "start", "stop", "store", "submit", "sync", "take",
    "trim", "update", "validate", "verify", "visit", "wait", "walk", "wrap", "write",
)  # fmt: skip

ADJECTIVES = (
    "active", "cached", "current", "default", "dirty", "empty", "expected", "final", "first", "idle", "initial", "last", "local",
    "max", "min", "new", "next", "old", "open", "parent", "pending", "previous", "primary", "raw", "ready", "remote", "safe", "shared",
    "stale", "total", "unique", "valid",
)  # fmt: skip

TROUBLES = (
    "is missing", "was already closed", "must not be empty", "does not match", "is out of range", "has expired", "could not be read",
    "timed out", "is not supported", "was not found", "is locked by another worker", "has the wrong type", "appears twice",
    "is larger than the limit", "changed while it was read", "belongs to another owner",
)  # fmt: skip


def joined(parts: tuple[str, ...], case: str) -> str:
    """The words as one name: snake, camel, pascal, kebab or upper."""
    if case == "camel":
        return parts[0] + "".join(part.title() for part in parts[1:])
    if case == "pascal":
        return "".join(part.title() for part in parts)
    if case == "kebab":
        return "-".join(parts)
    return "_".join(parts).upper() if case == "upper" else "_".join(parts)


def pick(words: tuple[str, ...] | list[str], stream: Stream) -> str:
    return words[stream.below(len(words))]


def function_name(stream: Stream, case: str) -> str:
    """A verb, sometimes an adjective, a noun."""
    middle = (pick(ADJECTIVES, stream),) if stream.below(3) == 0 else ()
    return joined((pick(VERBS, stream), *middle, pick(NOUNS, stream)), case)


def variable_name(stream: Stream, case: str) -> str:
    """A noun, or two words."""
    if stream.below(3) == 0:
        return joined((pick(NOUNS, stream),), case)
    return joined((pick(ADJECTIVES if stream.below(2) else NOUNS, stream), pick(NOUNS, stream)), case)


def type_name(stream: Stream) -> str:
    return joined((pick(NOUNS, stream), pick(NOUNS, stream)), "pascal")


def message(stream: Stream) -> str:
    """What an error or a log line says."""
    return f"{pick(ADJECTIVES, stream)} {pick(NOUNS, stream)} {pick(TROUBLES, stream)}"


def remark(stream: Stream) -> str:
    """What a comment says."""
    noun, other = pick(NOUNS, stream), pick(NOUNS, stream)
    return pick(_REMARKS, stream).format(
        a=noun, b=other, v=pick(VERBS, stream), w=pick(VERBS, stream), t=pick(TROUBLES, stream)
    )


_REMARKS = (
    "{v} the {a} before the {b} is touched",
    "The {a} may be empty here: callers {v} it first",
    "Keep in step with the {b} on the other side",
    "A {a} that {t} is not an error",
    "We {v} once per {a}, not once per {b}",
    "Order matters: {v}, then {w}",
    "TODO: {v} the {a} without a copy",
    "NOTE: the {b} owns this {a}",
    "Without this, a slow {a} would hold up every {b}",
    "The {a} {t} when two of them race for one {b}",
    "Falls back to the {b} where there is no {a}",
    "Cheap enough: at most one {a} for each {b}",
)
