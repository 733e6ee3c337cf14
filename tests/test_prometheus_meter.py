"""The Prometheus meter against scripted pages and a scripted query API, over real HTTP."""

from __future__ import annotations

import json
import math
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import pytest
import trustme

from openagentperf.errors import MeterError
from openagentperf.meters.prometheus import Prometheus
from openagentperf.meters.registry import meter_of
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.score.energy import device_energy
from openagentperf.system import Prometheus as Spec
from openagentperf.units import NS_PER_S, s_to_ns
from webserver import Reply, Request, WebServer

ENERGY, POWER, INSTANT = (
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_POWER_USAGE_INSTANT",
)


def dcgm(*lines: str) -> str:
    """A page as DCGM's exporter writes it: one line for `METRIC GPU VALUE`."""
    page = (
        f"# HELP {ENERGY} Total energy consumption since boot (in mJ).\n# TYPE {ENERGY} counter\n# TYPE {POWER} gauge\n"
    )
    for line in lines:
        metric, gpu, value = line.split()
        labels = f'gpu="{gpu}",UUID="GPU-{gpu}",pci_bus_id="00000000:0{gpu}:00.0",device="nvidia{gpu}",modelName="NVIDIA H200",Hostname="n"'
        page += f"{metric}{{{labels}}} {value}\nDCGM_FI_DEV_GPU_TEMP{{{labels}}} 55\n"
    return page


BOTH = (f"{ENERGY} 0 5000000", f"{ENERGY} 1 7000000", f"{POWER} 0 451.5", f"{POWER} 1 452.5")


def page(text: str) -> Callable[[Request], Reply]:
    return lambda request: Reply(200, text.encode(), {"Content-Type": "text/plain; version=0.0.4"})


@contextmanager
def opened(
    script: Callable[[Request], Reply | None], *, path: str = "/metrics", **more: object
) -> Iterator[tuple[WebServer, Prometheus, MeterFacts]]:
    with WebServer(script) as server:
        meter = Prometheus(Spec(name="m", boundary="accelerator", url=server.url + path, **more))  # type: ignore[arg-type]
        try:
            yield server, meter, meter.open()
        finally:
            meter.close()
            meter.close()


def rows(meter: Prometheus) -> dict[tuple[str, str], float | str | None]:
    """The value of each device's quantity, or why there is none. Without the page's host, which has another port in every test."""
    return {(r.device.rpartition("/")[2], r.quantity): r.why if r.value is None else r.value for r in meter.read()}


# -- an exporter's page --------------------------------------------------------------------------------------------------------------


def test_dcgm_gives_energy_and_power_of_every_gpu() -> None:
    with opened(page(dcgm(*BOTH))) as (server, meter, facts):
        assert rows(meter) == {
            ("GPU-0", "energy"): 5000.0, ("GPU-1", "energy"): 7000.0,  # mJ
            ("GPU-0", "power"): 451.5, ("GPU-1", "power"): 452.5,
        }  # fmt: skip
        (first, *_) = meter.read()
    assert first.meter == "m"
    assert first.updated_ns is None
    assert 0 < first.spread_ns < NS_PER_S
    assert (facts.kind, facts.source) == ("prometheus", server.url + "/metrics")
    assert [(d.device, d.name, d.scope, d.counter, d.averaged_s) for d in facts.devices] == [
        ("GPU-0", "NVIDIA H200", "gpu", True, None), ("GPU-1", "NVIDIA H200", "gpu", True, None),
    ]  # fmt: skip


def test_instantaneous_power_is_preferred_device_by_device() -> None:
    """The second GPU has only the average: its power must not vanish because the first one has both."""
    with opened(page(dcgm(f"{POWER} 0 400", f"{INSTANT} 0 410", f"{POWER} 1 420"))) as (_, meter, facts):
        assert rows(meter) == {("GPU-0", "power"): 410, ("GPU-1", "power"): 420}
    assert [device.averaged_s for device in facts.devices] == [0.0, None]


def test_only_the_series_of_the_labels_and_the_devices_of_the_plan() -> None:
    with opened(page(dcgm(*BOTH)), labels={"gpu": "1"}) as (_, meter, facts):
        assert {device for device, _ in rows(meter)} == {"GPU-1"} == {device.device for device in facts.devices}
    with opened(page(dcgm(*BOTH)), devices=("GPU-0",)) as (_, meter, facts):
        assert {device for device, _ in rows(meter)} == {"GPU-0"}


def test_another_exporters_metric_by_name() -> None:
    text = '# TYPE pdu_outlet_watts gauge\npdu_outlet_watts{outlet="A1"} 1200\npdu_outlet_watts{outlet="A2"} 1300\nother 5\n'
    with opened(page(text), metric="pdu_outlet_watts") as (_, meter, facts):
        assert rows(meter) == {("A1", "power"): 1200, ("A2", "power"): 1300}
    assert not facts.devices[0].counter
    # An outlet A1 is on every PDU: the host tells them apart, and a plan may list either name.
    host = facts.source.removeprefix("http://").removesuffix("/metrics")
    assert [device.device for device in facts.devices] == [f"{host}/A1", f"{host}/A2"]
    with opened(page(text), metric="pdu_outlet_watts", devices=("A2",)) as (server, meter, facts):
        assert (
            {row.device for row in meter.read()}
            == {f"{server.url.removeprefix('http://')}/A2"}
            == {facts.devices[0].device}
        )
    text = "# TYPE scaph_host_energy_microjoules counter\nscaph_host_energy_microjoules 5e9\n"
    with opened(page(text), metric="scaph_host_energy_microjoules", scale=1e-6) as (server, meter, _facts):
        assert rows(meter) == {(server.url.removeprefix("http://"), "energy"): pytest.approx(5000)}
    text = '# TYPE load gauge\nload{port="3"} 7\n'
    with opened(page(text), metric="load", quantity="power", scale=10, device_label="port") as (_, meter, _facts):
        assert rows(meter) == {("3", "power"): 70}


def test_a_stamp_of_the_page_is_an_update() -> None:
    """The same value under a new stamp is a new reading; under the old stamp it is the old one."""
    with opened(page("watts 700 1000"), metric="watts") as (server, meter, _):
        first, again = meter.read()[0], meter.read()[0]
        server.script = page("watts 700 2000")
        later = meter.read()[0]
    assert first.updated_ns == again.updated_ns == first.t_ns
    assert again.t_ns > first.t_ns
    assert later.updated_ns == later.t_ns


def test_what_is_no_number_reaches_the_judge_as_it_is() -> None:
    with opened(page(dcgm(f"{POWER} 0 450"))) as (server, meter, _):
        server.script = page(dcgm(f"{POWER} 0 NaN"))
        (row,) = meter.read()
    assert row.value is not None
    assert math.isnan(row.value)


MID_RUN: dict[str, tuple[Callable[[Request], Reply | None], dict[tuple[str, str], float | str]]] = {
    # what the server does after the meter was opened on GPU-0 and GPU-1 with power -> rows
    "a device vanishes": (
        page(dcgm(f"{POWER} 0 1")), {("GPU-0", "power"): 1, ("GPU-1", "power"): "no such series any more"},
    ),
    "a device appears": (
        page(dcgm(f"{POWER} 0 1", f"{POWER} 1 2", f"{POWER} 2 3")),
        {("GPU-0", "power"): 1, ("GPU-1", "power"): 2, ("GPU-2", "power"): 3},
    ),
    "a device twice": (
        page(dcgm(f"{POWER} 0 1", f"{POWER} 0 2", f"{POWER} 1 3")),
        {("GPU-0", "power"): "more than one series gives it now (2)", ("GPU-1", "power"): 3},
    ),
    "an error": (lambda r: Reply(500, b"boom"), {("GPU-0", "power"): "status 500", ("GPU-1", "power"): "status 500"}),
    "another page": (
        page("<html>Login</html>"),
        {("GPU-0", "power"): "no such series any more", ("GPU-1", "power"): "no such series any more"},
    ),
    "no text": (
        lambda r: Reply(200, bytes(range(256))),
        {("GPU-0", "power"): "no such series any more", ("GPU-1", "power"): "no such series any more"},
    ),
    "nothing": (
        lambda r: None,
        {("GPU-0", "power"): "the server closed the connection", ("GPU-1", "power"): "the server closed the connection"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MID_RUN)
def test_what_fails_in_a_run_is_a_row(name: str) -> None:
    script, wanted = MID_RUN[name]
    good = page(dcgm(f"{POWER} 0 450", f"{POWER} 1 460"))
    with opened(good) as (server, meter, _):
        server.script = script
        assert rows(meter) == wanted
        server.script = good
        assert rows(meter) == {("GPU-0", "power"): 450, ("GPU-1", "power"): 460}


def test_a_server_that_is_gone_is_a_row() -> None:
    with opened(page(dcgm(f"{POWER} 0 450"))) as (server, meter, _):
        server.stop()
        assert rows(meter) == {("GPU-0", "power"): "Connection refused"}


def test_a_slow_server_makes_a_wide_stamp() -> None:
    def slow(request: Request) -> Reply:
        time.sleep(0.2)  # the server's slowness, not a wait for something to happen
        return page(dcgm(f"{POWER} 0 450"))(request)

    with opened(page(dcgm(f"{POWER} 0 450"))) as (server, meter, _):
        server.script = slow
        (row,) = meter.read()
    assert row.spread_ns >= NS_PER_S // 10


NOT_OPENED: dict[str, tuple[Callable[[Request], Reply | None], dict[str, object], str]] = {
    "an error": (lambda r: Reply(503), {}, "gives no reading (status 503)"),
    "no power": (page("up 1\n"), {}, "devices seen: none"),
    "no such metric": (page("up 1\n"), {"metric": "watts"}, "asked for: watts; devices seen: none"),
    "a metric of unknown quantity": (page("load 7\n"), {"metric": "load"}, "series of unknown quantity: 1"),
    "a device of the plan is not there": (
        page(dcgm(*BOTH)), {"devices": ("GPU-7",)}, "no series of GPU-7 (asked for: DCGM's power and energy; devices seen: GPU-0, GPU-1)",
    ),
    "labels that nothing has": (page(dcgm(*BOTH)), {"labels": {"gpu": "9"}}, "devices seen: none"),
    "two series of one device": (
        page('pdu_watts{outlet="A1",phase="1"} 5\npdu_watts{outlet="A1",phase="2"} 6\n'), {"metric": "pdu_watts"},
        "/A1 (pdu_watts and pdu_watts; labels that differ: phase)",
    ),
    "a unit that the scale forgets": (
        page("scaph_host_power_microwatts 5e8\n"), {"metric": "scaph_host_power_microwatts"}, "set scale = 1e-06",
    ),
    "kilowatt hours": (page("pdu_energy_kwh 5\n"), {"metric": "pdu_energy_kwh"}, "set scale = 3.6e+06"),
    "kilowatts in two letters": (page("pdu_power_kw 5\n"), {"metric": "pdu_power_kw"}, "set scale = 1000"),
    "thousandths or millions": (
        page("pdu_power_mw 5\n"), {"metric": "pdu_power_mw"}, "set scale to the watts of one mw",
    ),
    "energy by its unit, power by its name": (
        page("pdu_power_kwh 5\n"), {"metric": "pdu_power_kwh", "scale": 3.6e6}, 'set quantity = "energy"',
    ),
    "modelled power as measured": (
        page(dcgm(*BOTH).replace("NVIDIA H200", "simulated accelerator (modelled power)")), {}, 'set basis = "modelled"',
    ),
    "a scale for all of DCGM": (page(dcgm(*BOTH)), {"scale": 0.001}, "scale is 0.001, and metrics named: 0"),
    "a token that is not there": (page(""), {"token_env": "NO_SUCH_TOKEN"}, "the variable NO_SUCH_TOKEN is not set"),
    "a URL with a password": (page(""), {"url": "http://u:hunter2@127.0.0.1/"}, "secrets are named by variables"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_OPENED)
def test_what_cannot_be_opened_says_what_to_do(name: str) -> None:
    script, more, words = NOT_OPENED[name]
    with WebServer(script) as server:
        meter = Prometheus(Spec(**{"name": "m", "boundary": "accelerator", "url": server.url + "/metrics"} | more))
        with pytest.raises(MeterError) as caught:
            meter.open()
        meter.close()
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.fix


def test_a_bearer_token_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    monkeypatch.setenv("EXPORTER_TOKEN", "s3cret")

    def guarded(request: Request) -> Reply:
        right = request.headers.get("authorization") == "Bearer s3cret"
        return Reply(200, dcgm(f"{POWER} 0 450").encode()) if right else Reply(401)

    with WebServer(guarded, context) as server:
        spec = Spec(
            name="m", boundary="accelerator", url=server.url + "/metrics", token_env="EXPORTER_TOKEN", ca_file=str(tmp_path / "ca.pem")
        )  # fmt: skip
        meter = meter_of(spec)
        facts = meter.open()
        assert meter.read()[0].value == 450
        meter.close()
        untrusted = Prometheus(msgspec.structs.replace(spec, ca_file=""))
        with pytest.raises(MeterError, match="certificate is not trusted"):
            untrusted.open()
        untrusted.close()
    assert b"s3cret" not in msgspec.json.encode(facts)


# -- what the judge makes of it ------------------------------------------------------------------------------------------------------


def polled(meter: Prometheus, server: WebServer, text: Callable[[float], str], seconds: int) -> list[Reading]:
    """Two polls a second of a page that is `text(t)`; the rows carry t instead of this machine's time."""
    found = []
    for k in range(2 * seconds + 1):
        server.script = page(text(k / 2))
        found += [msgspec.structs.replace(row, t_ns=s_to_ns(k / 2)) for row in meter.read()]
    return found


def test_dcgm_at_its_default_of_30_s_is_refused() -> None:
    """The counter moves every 30 s: a gap. The power repeats itself: stale. Neither may become a number."""

    def thirty(t: float) -> str:
        at = t // 30 * 30
        return dcgm(f"{ENERGY} 0 {700_000 * at:.0f}", f"{POWER} 0 {700 + at / 1000}")

    with opened(page(thirty(0))) as (server, meter, facts):
        found = polled(meter, server, thirty, 130)
    energy = device_energy(found, facts, facts.devices[0], 5 * NS_PER_S, 125 * NS_PER_S)
    assert energy.energy_j is None
    assert {fault.code for fault in energy.faults} >= {"gap", "stale"}


def test_dcgm_at_1_s_is_right() -> None:
    def second(t: float) -> str:
        at = t // 1
        return dcgm(f"{ENERGY} 0 {700_000 * at:.0f}", f"{POWER} 0 {700 + at / 1000}")

    with opened(page(second(0))) as (server, meter, facts):
        found = polled(meter, server, second, 130)
    energy = device_energy(found, facts, facts.devices[0], 5 * NS_PER_S, 125 * NS_PER_S)
    assert energy.faults == ()
    assert energy.energy_j == pytest.approx(700 * 120, rel=0.005)


# -- a server's query API ------------------------------------------------------------------------------------------------------------


def answer(*points: tuple[dict[str, str], float, str, float | None]) -> Callable[[Request], Reply]:
    """Metric, time of the query, value, time of the sample: as the wrapped query gives them."""
    result = []
    for metric, at, value, sampled in points:
        labels = {name: text for name, text in metric.items() if name != "__name__"}
        if sampled is not None:
            result.append({"metric": {**labels, "openagentperf": "sampled 0"}, "value": [at, str(sampled)]})
        result.append({"metric": {**metric, "openagentperf": "value 0"}, "value": [at, value]})
    return vector(result)


def vector(result: object, kind: str = "vector") -> Callable[[Request], Reply]:
    body = {"status": "success", "data": {"resultType": kind, "result": result}}
    return lambda request: Reply(200, json.dumps(body).encode())


GPU = {"__name__": ENERGY, "UUID": "GPU-0", "modelName": "NVIDIA H200"}


def test_a_query_gives_the_value_and_the_time_of_its_scrape() -> None:
    with opened(answer((GPU, 1000.5, "5000000", 990.25)), path="/", query="E") as (server, meter, facts):
        first = meter.read()[0]
        server.script = answer((GPU, 1001.5, "5000000", 990.25))
        again = meter.read()[0]
        server.script = answer((GPU, 1005.5, "5100000", 1005.25))
        later = meter.read()[0]
    asked = server.requests[0]
    assert (asked.method, asked.path) == ("POST", "/api/v1/query")
    assert parse_qs(asked.body.decode())["query"] == [
        'label_replace(timestamp(E), "openagentperf", "sampled 0", "", "") or label_replace((E), "openagentperf", "value 0", "", "")'
    ]
    assert first.value == again.value == 5000
    assert first.updated_ns == again.updated_ns == first.t_ns - round(10.25 * NS_PER_S)
    assert later.updated_ns == later.t_ns - NS_PER_S // 4
    assert again.t_ns > first.t_ns
    assert (facts.devices[0].name, facts.devices[0].counter, facts.notes) == ("NVIDIA H200", True, ())


def test_a_computed_value_has_no_age_and_says_so() -> None:
    script = answer(({"UUID": "GPU-0"}, 1000.5, "700", 1000.5))
    with opened(script, path="/", query="sum by (UUID) (p)", quantity="power") as (_, meter, facts):
        (row,) = meter.read()
    assert (row.value, row.updated_ns) == (700, None)
    assert facts.notes == ("the query computes: the age of what it computes from is not known",)


@pytest.mark.parametrize(
    ("query", "more", "words"),
    [
        (f"sum by (UUID) ({ENERGY})", {"quantity": "energy"}, "set scale = 0.001"),
        (f"sum by (UUID) (rate({ENERGY}[30s]))", {"quantity": "power"}, "set scale = 0.001"),
        ("sum(pdu_power_kw)", {"quantity": "power"}, "set scale = 1000"),
        (f"sum by (UUID) (rate({ENERGY}[30s])) / 1000", {"quantity": "power"}, ""),
        ('sum(pdu_power_kw{feed="a"}) * 1e3', {"quantity": "power"}, ""),
        (f"sum by (UUID) ({ENERGY})", {"quantity": "energy", "scale": 0.001}, ""),
        ('sum(power{room="kW hall"})', {"quantity": "power"}, ""),
    ],
)
def test_a_query_that_computes_from_another_unit_says_its_scale(
    query: str, more: dict[str, object], words: str
) -> None:
    """What a query makes of a counter in mJ has no name of its own: a thousand times too much, and nothing shows it."""
    script = answer(({"UUID": "GPU-0"}, 1000.5, "700000", 1000.5))
    if not words:
        with opened(script, path="/", query=query, **more):
            return
    with pytest.raises(MeterError, match=words), opened(script, path="/", query=query, **more):
        pass


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answer(({"UUID": "GPU-0"}, 1000.5, "700", 1000.5)), "series of unknown quantity: 1"),
        (vector([]), "devices seen: none"),
        (vector([1000.5, "7"], "scalar"), "the query gives a scalar, an instant vector is needed"),
        (vector({}), "no answer of the query API"),
        (lambda r: Reply(400, b'{"status":"error","error":"parse error: x"}'), "the query was refused: parse error: x"),
        (lambda r: Reply(404, b"<html>"), "status 404, and no answer of the query API"),
        (lambda r: Reply(200, b"[" * 100_000), "no answer of the query API"),
        (lambda r: Reply(200, b'{"status":"\xff"}'), "no answer of the query API"),
    ],
)  # fmt: skip
def test_a_query_that_gives_no_reading(script: Callable[[Request], Reply], words: str) -> None:
    with WebServer(script) as server:
        meter = Prometheus(Spec(name="m", boundary="accelerator", url=server.url, query="E"))
        with pytest.raises(MeterError) as caught:
            meter.open()
        meter.close()
    assert words in str(caught.value)
