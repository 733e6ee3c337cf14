"""A real Prometheus server between the embedded node's exporter page and the meter: the energies of both ways agree."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engines.prometheus_server import prometheus_server
from openagentperf.client.clock import now_ns
from openagentperf.errors import MeterError
from openagentperf.meters.prometheus import Prometheus
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.score.energy import device_energy
from openagentperf.sim.power import DEVICE
from openagentperf.sim.spawn import spawned
from openagentperf.system import Prometheus as Spec
from openagentperf.units import NS_PER_S

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

ENERGY, POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"
WINDOW_S = 10
START_S = 30.0


def meter(url: str, **more: object) -> Prometheus:
    return Prometheus(Spec(name="m", boundary="accelerator", basis="modelled", url=url, **more))  # type: ignore[arg-type]


@contextmanager
def opened(reader: Prometheus) -> Iterator[MeterFacts]:
    """Opened as soon as its source has a value: the first scrape is on its way."""
    until = time.monotonic() + START_S
    try:
        while True:
            try:
                facts = reader.open()
                break
            except MeterError:
                reader.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield facts
    finally:
        reader.close()


@contextmanager
def load(base: str) -> Iterator[None]:
    """Two clients that ask for one answer after the other: prefill and decode, 350 to 700 W."""
    parts, stop = urlsplit(base), threading.Event()
    body = json.dumps(
        {"model": "openagentperf-sim", "max_tokens": 64, "messages": [{"role": "user", "content": "go on " * 200}]}
    )

    def ask() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        while not stop.is_set():
            connection.request("POST", f"{parts.path}/chat/completions", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def judged(rows: Sequence[Reading], facts: MeterFacts, window: tuple[int, int]) -> float:
    found = device_energy(rows, facts, facts.devices[0], *window)
    assert found.faults == ()
    assert found.energy_j is not None
    return found.energy_j


def test_a_server_gives_the_energy_of_the_page_it_scrapes(tmp_path: Path) -> None:
    """Scrapes of 50 ms: an update at each edge of 10 s must hold less than 1 % of the energy."""
    with spawned("openagentperf.sim.serve", "--config", "demo") as base:
        page = base.removesuffix("/v1") + "/metrics"
        with prometheus_server(urlsplit(base).netloc, tmp_path, interval_ms=50) as server:
            readers = {
                "page": meter(page),
                "both": meter(server, query=(ENERGY, f'{POWER}{{UUID="{DEVICE}"}}')),
                "computed": meter(server, query=f"sum by (UUID) ({ENERGY}) / 1000", quantity="energy"),
            }
            rows: dict[str, list[Reading]] = {name: [] for name in readers}
            with ExitStack() as open_ones:
                facts = {name: open_ones.enter_context(opened(reader)) for name, reader in readers.items()}
                open_ones.enter_context(load(base))
                window = (now_ns() + NS_PER_S, now_ns() + (1 + WINDOW_S) * NS_PER_S)
                while now_ns() < window[1] + NS_PER_S:
                    for name, reader in readers.items():
                        rows[name] += reader.read()
    assert facts["both"].devices == facts["page"].devices
    assert facts["both"].notes == ()
    assert facts["computed"].notes == ("the query computes: the age of what it computes from is not known",)
    truth = judged(rows["page"], facts["page"], window)
    assert 70 * WINDOW_S < truth < 700 * WINDOW_S  # between idle and prefill
    assert judged(rows["both"], facts["both"], window) == pytest.approx(truth, rel=0.02)
    # The times of its updates are those of the polls, and there is no power beside it: its edges are not known to 1 % in 10 s.
    computed = device_energy(rows["computed"], facts["computed"], facts["computed"].devices[0], *window)
    assert {fault.code for fault in computed.faults} <= {"counter_edge"}
    for quantity in ("energy", "power"):
        read = [row for row in rows["both"] if row.quantity == quantity and row.updated_ns is not None]
        # Every scrape is one update with one value and one time, however often it was polled, and lies before its poll.
        assert len({row.updated_ns for row in read}) == len({(row.updated_ns, row.value) for row in read})
        assert all(row.updated_ns <= row.t_ns for row in read if row.updated_ns is not None)
        # But for a scrape in the very ms of a query (one of 50): its time cannot be told from that of a computed value.
        assert len(read) > 0.8 * sum(row.quantity == quantity for row in rows["both"])


@pytest.mark.beside
def test_a_node_that_ends_is_missing_at_once(tmp_path: Path) -> None:
    """The server marks the series stale at its next scrape, instead of repeating the last value for 5 minutes."""
    with ExitStack() as both:
        node = ExitStack()
        base = node.enter_context(spawned("openagentperf.sim.serve", "--config", "demo"))
        both.push(node)
        reader = meter(
            both.enter_context(prometheus_server(urlsplit(base).netloc, tmp_path, interval_ms=100)), query=POWER
        )
        both.enter_context(opened(reader))
        assert reader.read()[0].value is not None
        node.close()
        until = time.monotonic() + START_S
        while (row := reader.read()[0]).value is not None and time.monotonic() < until:
            pass
    assert (row.device, row.value, row.why) == (DEVICE, None, "no such series any more")


@pytest.mark.beside
def test_what_a_server_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    names = "DCGM_FI_DEV_(POWER_USAGE|TOTAL_ENERGY_CONSUMPTION)"
    with (
        spawned("openagentperf.sim.serve", "--config", "demo") as base,
        prometheus_server(urlsplit(base).netloc, tmp_path, interval_ms=100) as server,
    ):
        with opened(meter(server, query=POWER)):
            pass
        for query, words in (
            ("sum(", "parse error"),
            ("no_such_metric", "devices seen: none"),
            ("time()", "expected type instant vector"),
            (f'{{__name__=~"{names}"}}', "same labelset"),
        ):
            reader = meter(server, query=query)
            with pytest.raises(MeterError, match=words):
                reader.open()
            reader.close()
