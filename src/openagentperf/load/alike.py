"""Several endpoints of one plan are one system under test: what each of them answered before the load, put together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openagentperf.records.preflight import Check, Report, ServerFacts

_SAME_RATIO = 0.01
"""By so much may their counts of one prompt differ: more is another tokenizer or template."""


def together(urls: Sequence[str], reports: Sequence[Report]) -> Report:
    """One report: the first endpoint's, what is wrong with another, and whether they are alike. Facts are those that hold for all.

    One endpoint's report is returned as it is.
    """
    if len(urls) == 1:
        return reports[0]
    checks = list(reports[0].checks)
    for url, report in zip(urls[1:], reports[1:], strict=True):
        checks += [
            msgspec.structs.replace(check, found=check.found if url in check.found else f"{url}: {check.found}")
            for check in report.checks
            if check.status != "ok"
        ]
    servers = [report.server for report in reports if report.server is not None]
    if len(servers) < len(urls):
        return Report(checks=tuple(checks))
    checks.append(_alike(urls, servers))
    return Report(checks=tuple(checks), server=_common(servers))


def _alike(urls: Sequence[str], servers: Sequence[ServerFacts]) -> Check:
    first = servers[0]
    for url, server in zip(urls[1:], servers[1:], strict=True):
        if server.model != first.model:
            found = f"{urls[0]} serves {first.model!r}, {url} {server.model!r}"
            return Check(name="endpoints", status="failed", found=found, needed="one model", fix="name it with --model")
        if abs(server.token_ratio / first.token_ratio - 1) > _SAME_RATIO:
            found = f"of one prompt {url} counts {server.token_ratio / first.token_ratio:.2f} x the tokens of {urls[0]}"
            fix = "serve the same model, tokenizer and chat template on all"
            return Check(name="endpoints", status="failed", found=found, needed="the same count", fix=fix)
    contexts = sorted({server.context_tokens for server in servers if server.context_tokens})
    if len(contexts) > 1:
        found = f"contexts of {' and '.join(f'{tokens:,}' for tokens in contexts)} tokens; the shortest is used for all"
        return Check(name="endpoints", status="warning", found=found, fix="serve all with the same context")
    found = f"{len(urls)} endpoints answer alike; agent i speaks to number i modulo {len(urls)}"
    return Check(name="endpoints", status="ok", found=found)


def _common(servers: Sequence[ServerFacts]) -> ServerFacts:
    cached = [server.prefix_cached for server in servers]
    known = [share for share in cached if share is not None]
    return msgspec.structs.replace(
        servers[0],
        context_tokens=min((server.context_tokens for server in servers if server.context_tokens), default=0),
        token_ratio=max(server.token_ratio for server in servers),
        reports_cached=all(server.reports_cached for server in servers),
        prefix_cached=min(known) if len(known) == len(cached) else None,
    )
