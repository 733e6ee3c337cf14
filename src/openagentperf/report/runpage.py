"""The report of one run as a page: the answer and whether it can be used first, then what it rests on."""

from __future__ import annotations

from openagentperf.report import background, headline, resources, sections
from openagentperf.report.figures import Figures
from openagentperf.report.marked import Marked
from openagentperf.report.opened import Opened
from openagentperf.report.page import Section, html
from openagentperf.report.simulatedpart import simulated


def run_html(run: Opened, found: Figures) -> bytes:
    """One self-contained file: the same folder gives the same bytes. UsageError where the `report` extra is missing."""
    return html(headline.title(run), headline.lead(run, found), run_sections(run, found), _foot(run))


def run_sections(run: Opened, found: Figures) -> list[Section]:
    """In reading order. A part whose rows are missing is left out; that it is missing stands at the top."""
    result = run.result
    marked = None if result is None else Marked(result)
    made: list[Section] = []
    if result is not None and marked is not None:
        made.append(headline.headline_section(result, marked))
    made.append(headline.validity_section(run, found))
    if result is not None and marked is not None:
        made += simulated(result, marked)
        made += sections.search(result, marked)
    made += sections.speeds(found, result, marked)
    made += sections.time(found)
    made += sections.cache(found)
    if result is not None and marked is not None:
        made += resources.power(result, marked)
    made += resources.failures(found)
    made += resources.client(found, result, marked)
    made += background.workload(run, marked)
    made += background.environment(run)
    made += background.attempts(run, marked)
    made += background.again(run, result, marked)
    return made


def _foot(run: Opened) -> tuple[str, ...]:
    version = run.result.version if run.result is not None else ""
    return (f"Run {run.folder.resolve().name}" + (f", openagentperf {version}." if version else "."),)
