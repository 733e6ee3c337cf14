"""One report or comparison to standard output, for the dashboard (see `documents`).

    python -m openagentperf.dash.drawing report RUN
    python -m openagentperf.dash.drawing compare A B...

Status 2 and a sentence on standard error where it cannot be made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from openagentperf.errors import OpenAgentPerfError, UsageError
from openagentperf.report.compare import compare
from openagentperf.report.comparepage import comparison_html
from openagentperf.report.make import report


def main(what: str, names: Sequence[str]) -> int:
    runs = [Path(name) for name in names]
    try:
        page = report(runs[0])["report.html"] if what == "report" else comparison_html(compare(runs))
    except OpenAgentPerfError as error:
        sys.stderr.buffer.write(error.sentence().encode("utf-8", "replace"))
        return UsageError.exit_code
    sys.stdout.buffer.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
