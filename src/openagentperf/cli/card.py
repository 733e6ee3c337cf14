"""A card as a table for a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from openagentperf.records.card import Card, Comparison

NONE = "-"
"""A figure that the set does not say, or that Artificial Analysis has not published."""


def card_text(card: Card, width: int = 80) -> str:
    """The card: a row a figure, beside the published one where there is one, then what the set is made of."""
    published = {row.figure: row for row in card.published}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("figure")
    for name in ("this set", "AgentPerf", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in _rows(card):
        for figure, text in group:
            row = published.get(figure)
            if row is None:
                table.add_row(figure, text, "", "")
            else:
                ratio = NONE if row.ratio is None else f"{row.ratio:.2f}"
                table.add_row(figure, _value(row, row.this), _value(row, row.published), ratio)
        table.add_row()
    page = io.StringIO()
    console = Console(file=page, width=width, highlight=False)
    console.print(table)
    for title, shares in _makeup(card):
        console.print(f"{title}: {shares}")
    console.print(
        "AgentPerf: what Artificial Analysis published of its set (12 languages or more; the other figures are rounded). "
        "Ratio: this set to that one."
    )
    return "\n".join(line.rstrip() for line in page.getvalue().rstrip().split("\n"))


def _rows(card: Card) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Figures in reading order; a text is only used for a figure that is not published."""
    turns, inputs, outputs = card.turns_per_trajectory, card.input_tokens, card.output_tokens
    growth, delay = card.growth_tokens, card.tool_delay_s
    return (
        (
            ("trajectories", f"{card.trajectories:,}"),
            ("turns", f"{card.turns:,}"),
            ("turns, median", f"{turns.p50:,.0f}"),
            ("turns, P95", f"{turns.p95:,.0f}"),
            ("turns, most", ""),
            *_sub_agents(card),
        ),
        (
            ("input, mean", ""),
            ("input, smallest", ""),
            ("input, P5", _tokens(inputs.p5)),
            ("input, median", _tokens(inputs.p50)),
            ("input, P95", _tokens(inputs.p95)),
            ("input, largest", ""),
            ("growth a turn, median", _tokens(growth.p50 if growth else None)),
            ("growth a turn, mean", _tokens(growth.mean if growth else None)),
            ("prefix reuse", _percent(card.prefix_reuse)),
        ),
        (
            ("output, median", ""),
            ("output, P95", ""),
            ("output, mean", _tokens(outputs.mean)),
            ("output, log-normal sigma", ""),
        ),
        (
            ("tool delay, median", ""),
            ("tool delay, P95", NONE if delay is None else _seconds(delay.p95)),
            ("tool delay, shortest", ""),
            ("tool delay, longest", ""),
            ("turns without a recorded delay", _percent(card.tool_delay_missing)),
            ("tool calls a turn", f"{card.tool_calls_per_turn:.2f}"),
            ("calling turns with two calls or more", _percent(card.parallel_share)),
        ),
        (("languages", ""),),
    )


def _sub_agents(card: Card) -> tuple[tuple[str, str], ...]:
    """Rows for a set that has some: most have none."""
    if not card.branches:
        return ()
    return (
        ("trajectories with sub-agents", f"{card.trajectories_with_branches:,}"),
        ("sub-agents", f"{card.branches:,}"),
        ("turns of sub-agents", _percent(card.branch_turns)),
    )


def _makeup(card: Card) -> tuple[tuple[str, str], ...]:
    counted = _shares(card.counted) + (
        f" (by {card.counter})" if card.counter and card.counted.keys() - {"recorded"} else ""
    )
    cuts = ", ".join(f"{kind} {count:,}" for kind, count in card.cuts.items()) or "none"
    return (
        ("languages", _shares(card.languages)),
        ("formats", _shares(card.formats)),
        ("licences", _shares(card.licences)),
        ("token counts", counted),
        ("turns that rewrite history", cuts),
    )


def _value(row: Comparison, value: float | None) -> str:
    if value is None:
        return NONE
    if row.unit == "tokens":
        return _tokens(value)
    if row.unit == "s":
        return _seconds(value)
    return f"{value:.2f}" if value != round(value) else f"{value:,.0f}"


def _tokens(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} tokens"


def _seconds(value: float) -> str:
    return f"{value:,.2f} s"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1%}"


def _shares(shares: dict[str, float]) -> str:
    whole = {name: f"{share:.0%}" for name, share in shares.items()}
    return ", ".join(f"{name} {'<1%' if percent == '0%' else percent}" for name, percent in whole.items())
