"""A Prometheus server's query API: values together with the time of the sample that each comes from.

Both are asked in one query, because a scrape may fall between two: the new value would then carry the old one's time.

    label_replace(timestamp(Q), "openagentperf", "sampled 0", "", "") or label_replace((Q), "openagentperf", "value 0", "", "")

and so on for a second query: `timestamp` drops the metric's name, so that one query for two metrics of a device would have their times
collide.

`timestamp` of a plain selector is the time of the scrape; of anything computed it is the time of the query, which says nothing of the
age of what went in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from openagentperf.meters.web import Web, WebError

_Key: TypeAlias = tuple[tuple[str, str], ...]

_MARK = "openagentperf"


class Point(NamedTuple):
    """One series at one query."""

    name: str
    """"" where the query computes: only a plain selector keeps the metric's name."""
    labels: dict[str, str]
    value: float
    sampled_s: float | None
    """When it was scraped, by the server's clock; None: computed."""
    age_s: float
    """Of the sample, by the same clock; 0 for a computed value."""


class _Row(Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(Struct):
    kind: str = msgspec.field(name="resultType")
    result: msgspec.Raw


class _Response(Struct):
    status: str
    data: _Data | None = None
    error: str = ""


_RESPONSE = msgspec.json.Decoder(_Response)
_ROWS = msgspec.json.Decoder(list[_Row])


def ask(web: Web, headers: Mapping[str, str], queries: Sequence[str]) -> list[Point]:
    """Evaluate `queries` now, at the server whose API lies below the URL of `web`. WebError where they give no instant vector."""
    stamps: dict[tuple[str, _Key], float] = {}
    values: list[tuple[tuple[str, _Key], dict[str, str], float, float]] = []
    for row in _rows(web, headers, " or ".join(_with_stamps(i, query) for i, query in enumerate(queries))):
        at_s, text = row.value
        kind, _, query = row.metric.pop(_MARK, "").partition(" ")
        key = (query, _key(row.metric))
        if kind == "sampled":
            stamps[key] = _number(text)
        else:
            values.append((key, row.metric, at_s, _number(text)))
    points = []
    for key, metric, at_s, value in values:
        sampled = stamps.get(key, math.nan)
        computed = not math.isfinite(sampled) or sampled >= at_s
        name = metric.pop("__name__", "")
        points.append(Point(name, metric, value, None if computed else sampled, 0.0 if computed else at_s - sampled))
    return points


def _with_stamps(i: int, query: str) -> str:
    stamps = f'label_replace(timestamp({query}), "{_MARK}", "sampled {i}", "", "")'
    return f'{stamps} or label_replace(({query}), "{_MARK}", "value {i}", "", "")'


def _rows(web: Web, headers: Mapping[str, str], query: str) -> list[_Row]:
    path = f"{web.path.partition('?')[0].rstrip('/')}/api/v1/query"
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    answer = web.ask("POST", path, form, urlencode({"query": query}).encode())
    try:
        response = _RESPONSE.decode(answer.body)
        if response.status != "success" or response.data is None:
            raise WebError(f"the query was refused: {response.error[:150]}")
        if response.data.kind != "vector":
            raise WebError(f"the query gives a {response.data.kind}, an instant vector is needed")
        return _ROWS.decode(response.data.result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebError(f"status {answer.status}, and no answer of the query API ({error})") from error


def _key(metric: Mapping[str, str]) -> _Key:
    """Of a series, without its name: `timestamp` drops it."""
    return tuple(sorted((name, text) for name, text in metric.items() if name != "__name__"))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
