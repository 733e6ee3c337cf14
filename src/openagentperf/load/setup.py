"""What a worker is told once, from the plan and what preflight learnt. Preflight's own probes are asked with the same."""

from __future__ import annotations

from openagentperf.load.protocol import Setup
from openagentperf.plan import Endpoint, Plan
from openagentperf.records.preflight import ServerFacts
from openagentperf.wire.chatrequest import fixed_head


def setup(plan: Plan, endpoint: Endpoint, headers: dict[str, str], facts: ServerFacts, corpus: str = "") -> Setup:
    """`endpoint` stands beside the plan because the embedded target's is known only once it listens. Raises PlanError (fixed_head)."""
    workload = plan.workload
    exact = workload.track == "exact"
    return Setup(
        worker=0,
        workers=plan.load.workers,
        urls=endpoint.all_urls,
        ca_file=endpoint.ca_file,
        headers=headers,
        fixed_head=fixed_head(
            model=facts.model,
            exact=exact,
            temperature=workload.temperature,
            continuous_usage=endpoint.continuous_usage,
            extra=endpoint.extra_body,
        ),
        exact=exact,
        max_output_tokens=workload.max_output_tokens,
        context_tokens=facts.context_tokens,
        token_ratio=facts.token_ratio,
        corpus=corpus,
        idle_reuse_s=endpoint.idle_reuse_s,
        dials_per_s=plan.load.dials_per_s,
        cores=plan.load.cores,
    )
