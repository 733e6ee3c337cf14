"""`openagentperf preflight`: would a run be honest? Every check, each failure with its fix, and no load."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from openagentperf import bench, planfile
from openagentperf.cli.options import Json, PlanPath, takes_overrides
from openagentperf.cli.output import say, say_json
from openagentperf.errors import PreflightError
from openagentperf.planfile import Overrides
from openagentperf.records.preflight import Check


@takes_overrides
def preflight(plan: PlanPath = None, *, overrides: Overrides, json: Json = False) -> int:
    """Check the system under test and the plan before any load."""
    checks = bench.preflight_report(planfile.load(plan, overrides))
    passed = all(check.ok for check in checks)
    if json:
        say_json({"ok": passed, "checks": checks})
    else:
        say("\n".join(lines(checks)))
    return 0 if passed else PreflightError.exit_code


def lines(checks: Sequence[Check], width: int = 80) -> list[str]:
    """A line a check, and under one that is not ok what was needed and what to do."""
    said = []
    for check in checks:
        said += _wrap(f"{check.status:<7}  {check.name}: {check.found}", width, " " * 9)
        said += [line for what, text in (("needed", check.needed), ("fix", check.fix)) if text
                 for line in _wrap(f"{'':9}{what}: {text}", width, " " * 11)]  # fmt: skip
    failed = sum(not check.ok for check in checks)
    return [*said, f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed"]


def _wrap(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
