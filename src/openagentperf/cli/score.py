"""`openagentperf score`: the result once more from a run folder's rows. `openagentperf schema`: what a result looks like."""

from __future__ import annotations

import msgspec

from openagentperf import bench, planfile, verify
from openagentperf.cli.options import Json, RunFolder, Tiers
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.summary import summary
from openagentperf.score.schema import result_schema


def score(run: RunFolder, tiers: Tiers = None, json: Json = False) -> int:
    """Derive the result again from a run folder's rows, and compare it with its result.json.

    Exit 0 where they are identical, 1 where they differ. With --tiers, or where the run has not finished, there is nothing to compare
    with: the exit status is then that of the derived result.
    """
    chosen = planfile.tiers(tiers) if tiers is not None else None
    derived = bench.score(run, chosen)
    stored = run / "result.json"
    comparable = chosen is None and stored.exists()
    differences: list[str] = []
    if comparable:
        found = verify.read_object(stored, "a result was needed", "restore the run folder")
        differences = list(verify.differing(found, msgspec.to_builtins(derived)))
    if json:
        compared = {"identical": not differences, "differences": differences} if comparable else {}
        say_json({"folder": str(run)} | compared | msgspec.to_builtins(derived))
    else:
        say(summary(derived, str(run)))
    if not comparable:
        note("not compared: " + ("other tiers than the run's own" if chosen else "the run has no result.json yet"))
        return derived.exit_code
    if differences:
        note(f"DIFFERENT from {stored} in {len(differences)} places:")
        for difference in differences[:20]:
            note(f"  {difference}")
        return 1
    note(f"identical to {stored}")
    return 0


def schema() -> int:
    """Print the JSON Schema of result.json."""
    say(result_schema().decode().rstrip())
    return 0
