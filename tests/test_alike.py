"""What several endpoints answered before the load, put together."""

from __future__ import annotations

import pytest

from openagentperf.load.alike import together
from openagentperf.records.preflight import Check, Report, ServerFacts

URLS = ("http://a/v1", "http://b/v1")
OK = Check(name="reachable", status="ok", found="answers")


def report(*checks: Check, **facts: object) -> Report:
    return Report(checks=(OK, *checks), server=ServerFacts(**({"model": "m", "context_tokens": 1000} | facts)))


def test_one_endpoint_s_report_stays_as_it_is():
    one = report()
    assert together(URLS[:1], [one]) is one


@pytest.mark.parametrize(
    ("other", "status", "found"),
    [
        ({}, "ok", "2 endpoints answer alike; agent i speaks to number i modulo 2"),
        ({"token_ratio": 1.009}, "ok", "2 endpoints answer alike; agent i speaks to number i modulo 2"),
        ({"token_ratio": 1.2}, "failed", "of one prompt http://b/v1 counts 1.20 x the tokens of http://a/v1"),
        ({"model": "n"}, "failed", "http://a/v1 serves 'm', http://b/v1 'n'"),
        (
            {"context_tokens": 0},
            "ok",
            "2 endpoints answer alike; agent i speaks to number i modulo 2",
        ),  # it does not say
        ({"context_tokens": 500}, "warning", "contexts of 500 and 1,000 tokens; the shortest is used for all"),
    ],
)
def test_are_they_one_system(other: dict[str, object], status: str, found: str):
    check = together(URLS, [report(), report(**other)]).checks[-1]
    assert (check.name, check.status, check.found) == ("endpoints", status, found)


def test_facts_hold_for_all():
    found = together(
        URLS,
        [
            report(reports_cached=True, prefix_cached=0.9, token_ratio=1.0),
            report(context_tokens=500, token_ratio=1.005),
        ],
    ).server
    assert found == ServerFacts(
        model="m", context_tokens=500, token_ratio=1.005, reports_cached=False, prefix_cached=None
    )
    known = together(URLS, [report(reports_cached=True, prefix_cached=share) for share in (0.9, 0.8)]).server
    assert known is not None
    assert (known.reports_cached, known.prefix_cached) == (True, 0.8)


def test_what_is_wrong_with_another_names_it_and_what_is_right_is_said_once():
    slow = Check(name="streaming", status="warning", found="slow")
    bad = Check(name="usage", status="failed", found="no counts", needed="counts", fix="switch it on")
    named = Check(name="reachable", status="failed", found="http://b/v1: Connection refused")
    found = together(URLS, [report(slow), Report(checks=(OK, bad, named))])
    assert [(check.name, check.found) for check in found.checks] == [
        ("reachable", "answers"),
        ("streaming", "slow"),
        ("usage", "http://b/v1: no counts"),
        ("reachable", "http://b/v1: Connection refused"),
    ]
    assert (found.server, found.ok) == (None, False)
