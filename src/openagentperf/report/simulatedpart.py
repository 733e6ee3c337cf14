"""What stands beside a number that no hardware gave."""

from __future__ import annotations

from openagentperf.records.result import Result
from openagentperf.report.marked import Marked, number, percent
from openagentperf.report.page import Cell, Section, Table

SIMULATED = "Simulated"


def simulated(result: Result, marked: Marked) -> list[Section]:
    """Of what it is a prediction, how sure it is, what decided it. () for a run that sent requests."""
    told = result.simulated
    if told is None:
        return []
    counts = ", ".join(f"{mark} {count:,}" for mark, count in told.marks.items())
    rows: list[tuple[str | Cell, ...]] = []
    for k, tier in enumerate(told.tiers):
        at = f"simulated.tiers[{k}]"
        low = high = Cell(text="-")
        how = ""
        if tier.band is not None:
            low, high = marked.cell(f"{at}.band.low", number), marked.cell(f"{at}.band.high", number)
            how = tier.band.how
        hits = marked.cell(f"{at}.hit_rate", percent)
        rows.append((tier.tier, tier.binds.resource, tier.binds.why, low, high, hits, how))
    assumed = tuple(
        (
            named.name, marked.cell(f"simulated.assumed[{n}].value", number), named.unit, named.mark,
            marked.cell(f"simulated.assumed[{n}].uncertainty", percent),
        )
        for n, named in enumerate(told.assumed)
    )  # fmt: skip
    return [
        Section(
            title=f"A prediction: {told.system}",
            text="No figure of this page was measured on hardware. "
            + (f"Fitted to the measured run with plan {told.calibrated_to}. " if told.calibrated_to else "From constants alone. ")
            + f"Constants by where they come from: {counts}. Cluster {told.spec_digest}, catalogue {told.catalog_digest or 'none'}.",
            notes=told.notes,
            table=Table(
                head=("tier", "binds", "why", "band, worst", "band, best", "cache hits", "how the band was found"), rows=tuple(rows),
                words=(1, 2, 6),
            ),
            group=SIMULATED,
        ),
        Section(
            title="Constants that are assumed or calibrated",
            text="The most uncertain first.",
            table=Table(head=("constant", "value", "unit", "mark", "uncertainty"), rows=assumed, words=(2, 3)),
            folded=True,
            group=SIMULATED,
        ),
    ]  # fmt: skip
