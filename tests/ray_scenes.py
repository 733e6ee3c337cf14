"""Phases on a Ray cluster, in a process of their own: Ray leaves threads and open files where it was. Prints a list of Told.

python tests/ray_scenes.py ADDRESS URL CORPUS FOLDER SKEW_NS RATE PHASES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet, Quota
from openagentperf.load.link import Hosts
from openagentperf.load.ray import RayCluster
from openagentperf.load.remote import Remote
from openagentperf.records.phase import PhaseFacts
from test_fleet import a_phase as one
from test_fleet import setup

Turn: TypeAlias = tuple[int, int, int, int, int, int | None, int | None, int, str]
AGENTS, WORKERS = 5, 2


class Told(Struct):
    facts: PhaseFacts
    turns: list[Turn]
    """In the order of each agent's life: worker, agent, replay, trajectory, turn, tokens in and out, request bytes, failure."""
    due_ns: list[int]
    samples_ns: list[int]
    stages: list[str]


def a_phase(hosts: Hosts | None, url: str, corpus: str, folder: Path, phases: int = 1) -> Iterator[Told]:
    folder.mkdir()
    with Fleet(setup(url, Path(corpus), workers=WORKERS), folder, hosts) as fleet:
        for index in range(phases):
            stages: list[str] = []

            def tick(_collector: Collector, _order: object, stage: str, stages: list[str] = stages) -> None:
                stages.append(stage)
                if len(stages) == 1:
                    print("begun", file=sys.stderr, flush=True)

            facts, found = one(
                fleet, folder, Quota(20, 0), tick, agents=AGENTS, index=index, settle_s=0.5, measure_s=1.0
            )
            yield told(facts, found, stages)


def told(facts: PhaseFacts, found: Collector, stages: list[str]) -> Told:
    rows = sorted(found.rows, key=lambda row: (row.agent, row.due_ns))
    return Told(
        facts=facts,
        turns=[
            (r.worker, r.agent, r.replay, r.trajectory, r.turn, r.prompt_tokens, r.output_tokens, r.request_bytes, r.failure)
            for r in rows
        ],
        due_ns=[row.due_ns for row in rows],
        samples_ns=[sample.t_ns for sample in found.samples],
        stages=stages,
    )  # fmt: skip


@contextmanager
def remote(address: str, skew_ns: int, rate: float) -> Iterator[Remote]:
    with closing(Remote(RayCluster(address, skew_ns, rate), WORKERS)) as hosts:
        yield hosts


def main() -> None:
    address, url, corpus, folder, skew_ns, rate, phases = sys.argv[1:]
    with remote(address, int(skew_ns), float(rate)) as hosts:
        found = list(a_phase(hosts, url, corpus, Path(folder), int(phases)))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
