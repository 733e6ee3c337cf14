"""Medians of runs beside each other, their ratios, and the bars: as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.peer_clients import OURS, READER, Load
from benchmarks.peer_run import Ran

VLLM, AIPERF = "vllm bench serve", "aiperf"
KEPT, NOT_KEPT, NOT_MEASURED = "kept", "**NOT KEPT**", "not measured"
INVALID = "the phase says itself that it is invalid"
BEGIN, END = "<!-- python -m benchmarks.peers --docs writes from here -->", "<!-- to here -->"


class Row(Struct, frozen=True, kw_only=True):
    """One client at one load: medians over its runs that came to a report."""

    peer: str
    version: str = ""
    runs: int = 0
    note: str = ""
    """Why there are fewer runs than were tried, or none; what the client itself says against its figures."""
    invalid: bool = False
    """In some run it called its own figures invalid."""
    us_per_token: float | None = None
    us_per_token_in_all: float | None = None
    ms_per_request: float | None = None
    ms_per_request_in_all: float | None = None
    tokens_per_s: float | None = None
    open: float | None = None
    body_bytes: float | None = None
    ttft_p50_error_ms: float | None = None
    ttft_p95_error_ms: float | None = None
    speed_error_percent: float | None = None


_MEDIANS = tuple(name for name in Row.__struct_fields__ if name not in ("peer", "version", "runs", "note", "invalid"))


def rows(runs: Sequence[Ran], load: Load) -> list[Row]:
    """One for each client, in the order in which they first ran."""
    of_load = [ran for ran in runs if ran.load == load.name]
    return [row([ran for ran in of_load if ran.peer == name]) for name in dict.fromkeys(ran.peer for ran in of_load)]


def row(runs: Sequence[Ran]) -> Row:
    """Of one client: of its runs that came to a report, or, where none did, of what those did that got to send."""
    ended = [ran for ran in runs if not ran.failure]
    good = ended or [ran for ran in runs if ran.tokens]
    reasons = [ran.failure for ran in runs if ran.failure]
    against = [reason for ran in good if ran.said is not None for reason in ran.said.invalid]
    return Row(
        peer=runs[0].peer,
        version=runs[0].version,
        runs=len(ended),
        note="; ".join(dict.fromkeys(reasons + against)),
        invalid=bool(against),
        **{name: _median(getattr(ran, name) for ran in good) for name in _MEDIANS},
    )


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


# -- bars ---------------------------------------------------------------------------------------------------------------------


class Bar(Struct, frozen=True, kw_only=True):
    """A limit of the product's own, and what was measured against it."""

    what: str
    limit: str
    measured: str
    state: str

    @property
    def missed(self) -> bool:
        return self.state == NOT_KEPT


def bar(what: str, value: float | None, limit: float, form: str) -> Bar:
    """|value| <= limit; `form` writes both."""
    if value is None:
        return Bar(what=what, limit=form.format(limit), measured="", state=NOT_MEASURED)
    kept = abs(value) <= limit
    return Bar(what=what, limit=form.format(limit), measured=form.format(value), state=KEPT if kept else NOT_KEPT)


def ratio(row: Row | None, other: Row | None) -> float | None:
    """Our CPU per token, everything counted, to what another spends under load alone; None where either is missing or came to no report."""
    if not (row and row.runs and other and other.runs) or row.us_per_token_in_all is None or not other.us_per_token:
        return None
    return row.us_per_token_in_all / other.us_per_token


def bars(runs: Sequence[Ran], loads: Sequence[Load]) -> list[Bar]:
    """Of the loads that were measured."""
    found: list[Bar] = []
    for load in loads:
        by_name = {one.peer: one for one in rows(runs, load)}
        ours = by_name.get(OURS)
        if ours is not None and not ours.runs:
            ours = None  # it broke off: its figures stand in its row, and keep no bar
        if load.name in COSTS:
            for other, limit in ((READER, 2.0), (VLLM, 1 / 3), (AIPERF, 1 / 8)):
                what = f"CPU a token to that of {other}, {load.streams:,} streams {COSTS[load.name]}"
                found.append(bar(what, ratio(ours, by_name.get(other)), limit, "{:.3g}"))
        elif load.name == "bodies":
            value = None if ours is None else ours.ms_per_request
            found.append(bar(f"CPU ms a request of {load.body_bytes // 1000} KB, under load", value, 0.3, "{:.3g}"))
        elif load.name in ERRORS:
            found += _error_bars(ours, load)
    return found


COSTS = {"together": "in step", "apart-500": "out of step"}
"""Loads at which CPU a token has bars."""
ERRORS = {"apart-1000": (3.0, 0.5), "apart-2000": (5.0, 1.0)}
"""Limits of the error of TTFT, in ms, and of speed, in per cent, by load."""


def _error_bars(ours: Row | None, load: Load) -> list[Bar]:
    ttft_ms, speed_percent = ERRORS[load.name]
    fields = (
        ("reported TTFT P50 less true, ms", "ttft_p50_error_ms", ttft_ms, "{:.2f}"),
        ("reported TTFT P95 less true, ms", "ttft_p95_error_ms", ttft_ms, "{:.2f}"),
        ("reported speed P50 against true, %", "speed_error_percent", speed_percent, "{:.3f}"),
    )
    made = [
        bar(f"{what}, {load.streams:,} streams", None if ours is None else getattr(ours, field), limit, form)
        for what, field, limit, form in fields
    ]
    if ours is not None and ours.invalid:  # a client that says so has not reported a wrong number
        return [replace(one, state=INVALID) for one in made]
    return made


# -- Markdown -----------------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    made = [head, ["---"] * len(head), *lines]
    return ["| " + " | ".join(cells) + " |" for cells in made]


def cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def of_load(runs: Sequence[Ran], load: Load) -> list[str]:
    """One load's table, under its title."""
    found = rows(runs, load)
    reader = next((one for one in found if one.peer == READER), None)
    columns = _PER_REQUEST if load.name == "bodies" else _PER_TOKEN
    head = ["client", *(title for title, _ in columns), "runs"]
    lines = [[_name(one), *(write(one, reader) for _, write in columns), f"{one.runs}"] for one in found]
    notes = [f"{one.peer}: {one.note.replace('|', '/')}." for one in found if one.note and one.open]
    return [f"### {load.title}", "", *table(head, lines), *(["", *(f"- {note}" for note in notes)] if notes else [])]


def _name(row: Row) -> str:
    name = f"**{row.peer}**" if row.peer == OURS else f"{row.peer} {row.version}".strip()
    return name if row.runs or row.open else f"{name}: {row.note}".replace("|", "/")


Write = Callable[[Row, Row | None], str]


def _to_reader(field: str) -> Write:
    def write(row: Row, reader: Row | None) -> str:
        value, least = getattr(row, field), None if reader is None else getattr(reader, field)
        return cell(value / least if value is not None and least else None, "{:.1f}")

    return write


def _of(field: str, form: str) -> Write:
    return lambda row, _reader: cell(getattr(row, field), form)


_ERROR = (
    ("TTFT P50 error, ms", _of("ttft_p50_error_ms", "{:+.1f}")),
    ("P95 error, ms", _of("ttft_p95_error_ms", "{:+.1f}")),
)
_PER_TOKEN: tuple[tuple[str, Write], ...] = (
    ("CPU us/token", _of("us_per_token", "{:.1f}")),
    ("to C", _to_reader("us_per_token")),
    ("with what follows", _of("us_per_token_in_all", "{:.1f}")),
    ("tokens/s", _of("tokens_per_s", "{:,.0f}")),
    *_ERROR,
    ("speed error, %", _of("speed_error_percent", "{:+.2f}")),
    ("streams open", _of("open", "{:,.0f}")),
)
_PER_REQUEST: tuple[tuple[str, Write], ...] = (
    ("CPU ms/request", _of("ms_per_request", "{:.2f}")),
    ("to C", _to_reader("ms_per_request")),
    ("with what follows", _of("ms_per_request_in_all", "{:.2f}")),
    ("body, bytes", _of("body_bytes", "{:,.0f}")),
    *_ERROR,
    ("streams open", _of("open", "{:,.0f}")),
)


def of_bars(found: Sequence[Bar]) -> list[str]:
    lines = [[b.what, b.limit, b.measured, b.state] for b in found]
    return ["### Bars", "", *table(["what", "at most", "measured", ""], lines)] if found else []


def page(runs: Sequence[Ran], loads: Sequence[Load], machine: str, command: str) -> str:
    """All tables, with the machine and the command that made them."""
    parts = [[f"{machine} `{command}`"], *(of_load(runs, load) for load in loads), of_bars(bars(runs, loads))]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def spliced(text: str, made: str) -> str:
    """A page with what stands between its two marks replaced. ValueError where it has none."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{head}{BEGIN}\n\n{made}\n{END}{tail}"
