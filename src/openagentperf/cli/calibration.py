"""A calibration in words: constants with their errors, then measured levels beside what the constants give."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from openagentperf.simulation.calibrate import Calibration
from openagentperf.simulation.calibrate_check import Figures, Held
from openagentperf.simulation.calibrated import Prediction, Report
from openagentperf.units import significant

_WORDS = {
    "step_base_s": "decode step",
    "step_sequence_s": "  + a sequence in it",
    "kv_token_s": "  + a token of context",
    "prefill_start_s": "prefill of a prompt",
    "prefill_token_s": "  + a new token",
    "prefill_context_s": "  + a new token and token of context",
    "front_s": "before the engine has a request",
}
_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps"))


def calibration_lines(told: Report, width: int) -> list[str]:
    calibration = told.calibration
    levels = ", ".join(map(str, dict.fromkeys(calibration.levels)))
    phases = len(calibration.levels)
    lines = [f"Calibrated to {phases} phase{'s' * (phases > 1)} of {calibration.run}, at {levels} agents"]
    for constant in calibration.fitted:
        value = (
            f"{_seconds(constant.value):>10}  +-{2 * constant.error / constant.value:.0%}"
            if constant.error is not None and constant.value
            else "    not told from 0"
        )
        lines.append(f"  {_WORDS[constant.name]:<38}{value}")
    lines += [f"  {line}" for line in _cache(calibration)]
    lines += [
        "",
        "Residuals, (measured - fitted) / fitted: median and middle half of the spans",
        *_residuals(calibration),
        "",
    ]
    for note in calibration.notes:
        lines += textwrap.wrap(note, width, initial_indent="  ", subsequent_indent="    ")
    if told.held:
        lines += ["", "Measured > simulated, by level; left out: constants fitted to the others"]
        lines += _table(told.held)
    return lines


def _cache(calibration: Calibration) -> list[str]:
    cache, batch = calibration.cache, calibration.batch
    worker = calibration.spec.workers[0]
    if cache is None:
        told = "not known: not reported"
    elif cache.kind == "slots":
        span = "" if cache.low == cache.high else f" ({cache.low:.0f} to {cache.high:.0f} would fit too)"
        told = f"{cache.size:.0f} slots{span}"
    elif cache.kind == "pool":
        told = f"{cache.size:,.0f} tokens ({cache.low:,.0f} to {cache.high:,.0f})"
    else:
        told = f"more than {cache.size:,.0f} tokens; no end met"
    limit = f"{worker.max_batch}" if batch.reached or worker.slots else f"more than {batch.most}; no limit met"
    return [f"{'prefix cache':<38}{told}", f"{'answers at once':<38}{limit}"]


def _residuals(calibration: Calibration) -> list[str]:
    lines = [f"  {'agents':>6}  {'decode':<24}first output"]
    for agents in dict.fromkeys(calibration.levels):
        told = {row.span: row for row in calibration.residuals if row.agents == agents}
        cells = [
            f"{row.median:+.0%} ({row.low:+.0%} to {row.high:+.0%})" if (row := told.get(span)) else "-"
            for span in ("decode", "ttft")
        ]
        lines.append(f"  {agents:>6}  {cells[0]:<24}{cells[1]}")
    return lines


def _table(held: Sequence[Held]) -> list[str]:
    lines = [f"  {'agents':>6}  {'TTFT P50 s':<16}{'TTFT P95 s':<16}{'speed P25':<14}cached"]
    for row in held:
        first, last = row.measured, row.predicted
        cells = (
            f"{_pair(first.ttft_p50_s, last.ttft_p50_s):<16}{_pair(first.ttft_p95_s, last.ttft_p95_s):<16}"
            f"{_pair(first.speed_p25, last.speed_p25):<14}{_pair(first.cached_fraction, last.cached_fraction)}"
        )
        lines.append(f"  {row.agents:>6}  {cells}{'  left out' if row.left_out else ''}")
    return lines


def prediction_lines(rows: Sequence[Prediction]) -> list[str]:
    lines = [
        "Simulated, not measured: one search phase a level",
        f"  {'agents':>6}  {'TTFT P50 s':<12}{'TTFT P95 s':<12}{'speed P25 /s':<14}{'cached':<8}{'tokens/s'}",
    ]
    for row in rows:
        f: Figures = row.figures
        lines.append(
            f"  {row.agents:>6}  {_short(f.ttft_p50_s):<12}{_short(f.ttft_p95_s):<12}{_short(f.speed_p25):<14}"
            f"{_short(f.cached_fraction):<8}{_short(f.output_tokens_per_s)}"
        )
    return lines


def _pair(measured: float | None, predicted: float | None) -> str:
    return f"{_short(measured)} > {_short(predicted)}"


def _short(value: float | None) -> str:
    return "-" if value is None else significant(value)


def _seconds(value: float) -> str:
    for scale, unit in _SCALES:
        if value >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{value:.1e} s"
