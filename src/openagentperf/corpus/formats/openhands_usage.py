"""Token counts as OpenHands keeps them, V0 and V1: a list beside the events, one entry a response, found by the response's id."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.usage import UNKNOWN, Counts


class _Entry(Struct, gc=False):
    response_id: object = None
    prompt_tokens: object = None
    completion_tokens: object = None
    cache_read_tokens: object = None
    cache_write_tokens: object = None


class _Metrics(Struct):
    token_usages: list[_Entry] | None = None


class _Stats(Struct):
    usage_to_metrics: dict[str, _Metrics] = {}


_METRICS = msgspec.json.Decoder(_Metrics | None)
_STATS = msgspec.json.Decoder(_Stats)


class Usages:
    """The counts of a session's responses, in the order in which they were made."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._counts: dict[str, Counts] = {}

    def of(self, response: str) -> Counts:
        return self._counts.get(response, UNKNOWN)

    def add(self, response: str, counted: Counts) -> None:
        """The first entry of a response counts; one without an id is not kept."""
        if response and response not in self._counts:
            self._ids.append(response)
            self._counts[response] = counted

    def add_metrics(self, raw: Raw) -> None:
        """The `metrics` of an evaluation row; anything else adds nothing."""
        try:
            metrics = _METRICS.decode(raw)
        except BAD:
            return
        self._add_entries(metrics)

    def add_stats(self, raw: Raw) -> None:
        """The `stats` of a V1 conversation: metrics of each model that it used."""
        try:
            stats = _STATS.decode(raw)
        except BAD:
            return
        for metrics in stats.usage_to_metrics.values():
            self._add_entries(metrics)

    def aligned(self, responses: Sequence[str]) -> list[Counts]:
        """The counts of the answers, in order, "" where an answer's response id was not recorded.

        Answers without an id between two with one get the entries that stand between those two, where these are as many.
        """
        found = [self.of(response) for response in responses]
        place = {response: index for index, response in enumerate(self._ids)}
        open_from, last = 0, -1
        for index in range(len(responses) + 1):
            response = responses[index] if index < len(responses) else ""
            if index < len(responses) and response not in place:
                continue
            here = place[response] if index < len(responses) else len(self._ids)
            between = self._ids[last + 1 : here]
            if len(between) == index - open_from and not any(responses[open_from:index]):
                found[open_from:index] = map(self.of, between)
            open_from, last = index + 1, here
        return found

    def _add_entries(self, metrics: _Metrics | None) -> None:
        for entry in (metrics and metrics.token_usages) or ():
            self.add(entry.response_id if isinstance(entry.response_id, str) else "", _counts(entry))


def _counts(entry: _Entry) -> Counts:
    prompt = counts.tokens(entry.prompt_tokens)
    cached = counts.tokens(entry.cache_read_tokens)
    if prompt is not None and cached is not None and cached > prompt:
        # LiteLLM counts what the cache served inside the prompt; agents behind ACP report it beside.
        prompt += cached + (counts.tokens(entry.cache_write_tokens) or 0)
    return Counts(prompt, counts.tokens(entry.completion_tokens), cached)
