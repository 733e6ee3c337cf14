"""What the driver takes in of the workers' rows in one go."""

from __future__ import annotations

from pathlib import Path

from openagentperf.load.collect import Collector
from openagentperf.rundir import FrameWriter, frames_path
from phases import facts
from watched import ns, sample


def test_with_a_budget_it_comes_back_however_many_rows_wait_and_no_worker_starves_another(tmp_path: Path):
    for worker in range(2):
        writer = FrameWriter(frames_path(tmp_path, worker))
        writer.put_all([sample(second, 1, 1, worker) for second in range(3)])
        writer.close()
    collector = Collector(facts().order, tmp_path, workers=2)
    taken = []
    while not collector.poll(budget_ns=0):  # past it at once: one frame a call
        taken.append([(s.worker, s.t_ns) for s in collector.samples][len(taken) :])
    assert [len(new) for new in taken] == [1] * 6
    assert {new[0][0] for new in taken[:2]} == {0, 1}
    assert sorted(new[0] for new in taken) == [(worker, ns(second)) for worker in range(2) for second in range(3)]


def test_without_one_it_takes_all_that_is_there(tmp_path: Path):
    writer = FrameWriter(frames_path(tmp_path, 0))
    writer.put_all([sample(second, 1, 1) for second in range(50)])
    collector = Collector(facts().order, tmp_path, workers=1)
    assert collector.poll()
    writer.put(sample(50, 1, 1))
    writer.close()
    assert collector.poll()
    assert [s.t_ns for s in collector.samples] == [ns(second) for second in range(51)]
