"""The Redfish meter against a small service over real HTTP and HTTPS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.errors import MeterError
from openagentperf.meters.redfish import Redfish
from openagentperf.meters.redfish_values import number, pointed, seconds, series_of
from openagentperf.meters.registry import meter_of
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.score.energy import device_energy
from openagentperf.system import Redfish as Spec
from openagentperf.units import NS_PER_S, s_to_ns
from redfish_server import PASSWORD, USER, RedfishServer, Tree, collection, hgx, pdu, ref, root, server
from webserver import Reply

SUPPLIES = "/redfish/v1/Chassis/1/PowerSubsystem/PowerSupplies"
POWER = "/redfish/v1/Chassis/1/Power"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_USER", USER)
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)


def spec(url: str, boundary: str, **more: Any) -> Spec:
    about = {
        "name": "m",
        "boundary": boundary,
        "url": url,
        "user_env": "BMC_USER",
        "password_env": "BMC_PASSWORD",
    } | more
    return Spec(**about)


@contextmanager
def opened(service: RedfishServer, boundary: str, **more: Any) -> Iterator[tuple[Redfish, MeterFacts]]:
    with service:
        meter = Redfish(spec(more.pop("url", service.url), boundary, **more))
        try:
            yield meter, meter.open()
        finally:
            meter.close()
            meter.close()


def short(device: str) -> str:
    """Without the service's host, which has another port in every test."""
    host, _, name = device.partition("/")
    assert host.startswith(("127.0.0.1:", "localhost:"))
    return name


def rows(meter: Redfish) -> dict[tuple[str, str], float | str | None]:
    return {(short(r.device), r.quantity): r.why if r.value is None else r.value for r in meter.read()}


def devices(facts: MeterFacts) -> list[str]:
    return [short(device.device) for device in facts.devices]


def refused(service: RedfishServer, boundary: str, **more: Any) -> MeterError:
    with service:
        meter = Redfish(spec(service.url, boundary, **more))
        with pytest.raises(MeterError) as caught:
            meter.open()
        meter.close()
    assert PASSWORD not in str(caught.value)
    assert caught.value.fix
    return caught.value


# -- what is found ---------------------------------------------------------------------------------------------------------------------


def test_accelerators_are_the_gpus_of_every_system() -> None:
    with opened(RedfishServer(hgx(lambda i: 650.0 + i)), "accelerator") as (meter, facts):
        found = rows(meter)
    assert devices(facts) == [f"GPU_SXM_{i}" for i in range(1, 9)]
    assert found["GPU_SXM_1", "power"] == 650
    assert found["GPU_SXM_8", "power"] == 657
    assert found["GPU_SXM_8", "energy"] == 8000
    assert len(found) == 16
    first = facts.devices[0]
    assert (first.name, first.scope, first.counter, first.averaged_s) == ("NVIDIA H200 SXM", "processor", True, 1.0)
    assert "GPU_SXM_1: its sensor is read every 0.1 s by the service" in facts.notes


def test_the_plans_list_chooses_among_accelerators() -> None:
    with opened(RedfishServer(hgx(lambda i: 650.0)), "accelerator", devices=("GPU_SXM_3",)) as (meter, facts):
        assert {device for device, _ in rows(meter)} == {"GPU_SXM_3"} == set(devices(facts))


def test_the_same_names_of_two_services_are_told_apart_and_either_name_may_be_listed() -> None:
    """Two hosts of one kind: were both called `1`, they would look like one that is read twice."""
    with (
        RedfishServer(server(lambda: 310.0, supplies=False)) as left,
        RedfishServer(server(lambda: 320.0, supplies=False)) as right,
    ):
        host = right.url.removeprefix("http://")
        found = set()
        for url, names in ((left.url, ("1",)), (right.url, (f"{host}/1",))):
            meter = Redfish(spec(url, "node", devices=names))
            facts = meter.open()
            (row,) = meter.read()
            assert row.device == facts.devices[0].device
            found.add(row.device)
            meter.close()
    assert found == {f"{left.url.removeprefix('http://')}/1", f"{host}/1"}


def test_two_boards_with_the_same_names_are_told_apart() -> None:
    tree = hgx(lambda i: 650.0, gpus=1)
    other = "/redfish/v1/Systems/HGX_Baseboard_1"
    tree |= collection("/redfish/v1/Systems", "HGX_Baseboard_0", "HGX_Baseboard_1")
    tree |= collection(f"{other}/Processors", "GPU_SXM_1")
    tree[other] = {"Processors": ref(f"{other}/Processors")}
    tree[f"{other}/Processors/GPU_SXM_1"] = {"ProcessorType": "GPU", "EnvironmentMetrics": ref(f"{other}/E")}
    tree[f"{other}/E"] = {"PowerWatts": {"Reading": 5}}
    with opened(RedfishServer(tree), "accelerator") as (_, facts):
        assert devices(facts) == ["HGX_Baseboard_0/GPU_SXM_1", "HGX_Baseboard_1/GPU_SXM_1"]


def test_a_node_is_the_outermost_chassis_and_not_the_sum_of_those_inside() -> None:
    """9,000 W; the GPU board inside of it shows 5,600 W, and each GPU's chassis inside of that 700 W."""
    with opened(RedfishServer(hgx(lambda i: 700.0)), "node") as (meter, facts):
        assert rows(meter) == {("DGX", "power"): 9000, ("DGX", "energy"): pytest.approx(12.34 * 3.6e6)}
    assert (facts.devices[0].name, facts.devices[0].scope, facts.devices[0].counter) == (
        "NVIDIA DGX H200",
        "chassis",
        True,
    )


def test_containment_may_be_written_at_either_end() -> None:
    tree = hgx(lambda i: 700.0, gpus=1)
    del tree["/redfish/v1/Chassis/HGX_Chassis_0"]["Links"]
    tree["/redfish/v1/Chassis/HGX_Chassis_0"]["ChassisType"] = "RackMount"
    with opened(RedfishServer(tree), "node") as (_, facts):
        assert devices(facts) == ["DGX"]


def unlinked() -> Tree:
    """As many services have it: nothing says that the board is inside of the host."""
    tree = hgx(lambda i: 700.0, gpus=1)
    for name in ("DGX", "HGX_Chassis_0"):
        del tree[f"/redfish/v1/Chassis/{name}"]["Links"]
        tree[f"/redfish/v1/Chassis/{name}"]["ChassisType"] = "RackMount"
    return tree


def test_what_may_be_two_hosts_or_one_and_its_part_is_never_added_up_by_itself() -> None:
    error = refused(RedfishServer(unlinked()), "node")
    assert "has 2 units that could be the node (readable: DGX, HGX_Chassis_0, HGX_GPU_SXM_1)" in str(error)
    assert "`devices`" in error.fix
    with opened(RedfishServer(unlinked()), "node", devices=("DGX",)) as (meter, _):
        assert rows(meter)["DGX", "power"] == 9000


def test_a_host_without_a_total_is_not_replaced_by_its_parts() -> None:
    tree = hgx(lambda i: 700.0)
    tree["/redfish/v1/Chassis/DGX/EnvironmentMetrics"]["PowerWatts"] = {"Reading": None}
    del tree["/redfish/v1/Chassis/DGX/EnvironmentMetrics"]["EnergykWh"]
    assert "has no total for the boundary node, only parts (HGX_Chassis_0, HGX_GPU_SXM_1, " in str(
        refused(RedfishServer(tree), "node")
    )


def test_a_device_and_what_is_inside_of_it_are_not_added_up() -> None:
    error = refused(RedfishServer(hgx(lambda i: 700.0)), "node", devices=("DGX", "HGX_GPU_SXM_1"))
    assert "`HGX_GPU_SXM_1` is inside `DGX`" in str(error)


def test_power_supplies_are_summed_where_the_chassis_has_no_total_and_budgets_are_never_read() -> None:
    """Two supplies of 310 W; the third bay is empty; 1,200 W are allocated and 2,000 W are the capacity."""
    with opened(RedfishServer(server(lambda: 310.0, supplies=True)), "node") as (meter, facts):
        assert rows(meter) == {("1", "power"): 620}
        (row,) = meter.read()
    assert facts.devices[0].name == "HPE ProLiant"
    assert "1: the sum of the inputs of its 2 power supplies" in facts.notes
    assert row.spread_ns > 0


def test_a_supply_without_a_reading_leaves_no_total() -> None:
    tree = server(lambda: 310.0, supplies=True)
    with opened(RedfishServer(tree), "node") as (meter, _):
        tree[f"{SUPPLIES}/Bay2/Metrics"]["InputPowerWatts"] = {"Reading": None}
        assert rows(meter) == {("1", "power"): "InputPowerWatts.Reading is null or missing"}
        del tree[f"{SUPPLIES}/Bay2/Metrics"]
        assert rows(meter) == {("1", "power"): "status 404"}
    assert "has no power reading for the boundary node" in str(refused(RedfishServer(tree), "node"))


def test_the_old_power_resource() -> None:
    with opened(RedfishServer(server(lambda: 480, supplies=False)), "node") as (meter, _):
        assert rows(meter) == {("1", "power"): 480}


@pytest.mark.parametrize(
    ("controls", "watts"),
    [
        ([{"Name": "Server Power Control"}, {"Name": "CPU Sub-system Power"}], 100.0),
        ([{"Name": "CPU", "RelatedItem": [ref("/redfish/v1/Systems/1")]}, {"RelatedItem": [ref("/redfish/v1/Chassis/1")]}], 101.0),
        ([{"Name": "CPU"}, {"Name": "Memory"}], None),
        ([{"Name": "System"}, {"Name": "Chassis"}], None),
    ],
)  # fmt: skip
def test_of_several_power_controls_only_the_whole(controls: list[dict[str, Any]], watts: float | None) -> None:
    resource = {"PowerControl": [control | {"PowerConsumedWatts": 100 + i} for i, control in enumerate(controls)]}
    found = series_of("/p", resource)
    assert [number(resource, each.terms[0].pointer) for each in found] == ([] if watts is None else [watts])


def test_a_pdu_gives_its_total() -> None:
    with opened(RedfishServer(pdu()), "rack") as (meter, facts):
        assert rows(meter) == {("1", "power"): 6300, ("1", "energy"): pytest.approx(325675.5 * 3.6e6)}
    assert (facts.devices[0].name, facts.devices[0].scope) == ("Contoso ZAP4000", "pdu")


def test_a_pdu_without_a_total_gives_all_its_mains_and_one_without_mains_all_its_outlets() -> None:
    with opened(RedfishServer(pdu(total=False)), "rack") as (meter, facts):
        assert {name: value for (name, quantity), value in rows(meter).items() if quantity == "power"} == {
            "1/AC1": 3100,
            "1/AC2": 3200,
        }
    assert {device.scope for device in facts.devices} == {"mains"}
    with opened(RedfishServer(pdu(total=False, mains=False)), "rack") as (meter, facts):
        found = rows(meter)
    assert sum(value for value in found.values() if isinstance(value, float)) == 5015
    assert found["1/B3", "power"] == 5  # an outlet of nearly nothing


def test_outlets_of_the_plan() -> None:
    with opened(RedfishServer(pdu()), "rack", devices=("1/A1", "1/B3")) as (meter, _):
        assert rows(meter) == {("1/A1", "power"): 1000, ("1/B3", "power"): 5}
    assert "`1/A1` is inside `1`" in str(refused(RedfishServer(pdu()), "rack", devices=("1", "1/A1")))
    assert "has no reading of `1/C9` (readable: 1, 1/A1" in str(
        refused(RedfishServer(pdu()), "rack", devices=("1/C9",))
    )


def test_an_empty_outlet_is_zero_and_a_host_never_is() -> None:
    tree = pdu(total=False, mains=False)
    tree["/redfish/v1/PowerEquipment/RackPDUs/1/Outlets/B3"]["PowerWatts"] = {"Reading": 0}
    with opened(RedfishServer(tree), "rack", devices=("1/B3",)) as (meter, _):
        assert rows(meter) == {("1/B3", "power"): 0}
    with opened(RedfishServer(server(lambda: 0, supplies=False)), "node") as (meter, _):
        assert rows(meter) == {("1", "power"): "it shows 0 W"}


def test_what_is_there_and_dumb_is_not_left_out_of_a_sum() -> None:
    tree = hgx(lambda i: None if i == 2 else 650.0)
    del tree["/redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_5"]["EnvironmentMetrics"]
    assert "`GPU_SXM_3` is there and gives no reading" in str(refused(RedfishServer(tree), "accelerator"))
    for i in (3, 5):
        tree[f"/redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_{i}"]["Status"] = {"State": "Absent"}
    with opened(RedfishServer(tree), "accelerator") as (_, facts):
        assert len(devices(facts)) == 6
    tree = pdu(total=False)
    tree["/redfish/v1/PowerEquipment/RackPDUs/1/Mains/AC2"] = {"Name": "Mains 2", "PowerWatts": {"Reading": None}}
    assert "`1/AC2` is there and gives no reading" in str(refused(RedfishServer(tree), "rack"))
    tree["/redfish/v1/PowerEquipment/RackPDUs/1/Mains/AC1"] = {"Name": "unmetered"}
    with opened(RedfishServer(tree), "rack") as (_, facts):
        assert len(devices(facts)) == 6


def test_several_pdus_are_added_up_only_where_the_plan_names_them() -> None:
    assert "has 2 units that could be the rack" in str(refused(RedfishServer(pdu(units=("A", "B"))), "rack"))
    with opened(RedfishServer(pdu(units=("A", "B"))), "rack", devices=("A", "B")) as (meter, _):
        assert rows(meter)["B", "power"] == 6300


def test_a_rack_manager_without_power_equipment_gives_its_chassis() -> None:
    tree = server(lambda: 310.0, supplies=True)
    tree["/redfish/v1/Chassis/1"]["ChassisType"] = "Shelf"
    with opened(RedfishServer(tree), "rack") as (_, facts):
        assert devices(facts) == ["1"]


PATHS: dict[str, tuple[str, float]] = {
    # path -> watts
    "an old resource": (POWER, 480),
    "a number in it": (f"{POWER}#/PowerControl/0/PowerMetrics/AverageConsumedWatts", 99),
    "a chassis": ("/redfish/v1/Chassis/1", 480),
    "a sensor": ("/redfish/v1/Chassis/1/Sensors/W", 477),
    "a sensor in kW": ("/redfish/v1/Chassis/1/Sensors/kW", 477),
    "a bare number": ("/redfish/v1/Chassis/1/Bare", 478),
}


@pytest.mark.parametrize("name", PATHS)
def test_resources_of_the_plan(name: str) -> None:
    path, watts = PATHS[name]
    tree = server(lambda: 480, supplies=False)
    sensors = "/redfish/v1/Chassis/1/Sensors"
    tree[f"{sensors}/W"] = {"Reading": 477, "ReadingType": "Power", "ReadingUnits": "W", "AveragingInterval": "PT30S"}
    tree[f"{sensors}/kW"] = {"Reading": 0.477, "ReadingType": "Power", "ReadingUnits": "kW"}
    tree["/redfish/v1/Chassis/1/Bare"] = {"PowerWatts": 478}
    with opened(RedfishServer(tree), "node", paths=(path,)) as (meter, facts):
        assert rows(meter) == {(path.removeprefix("/"), "power"): pytest.approx(watts)}
    assert facts.devices[0].averaged_s == (30.0 if name == "a sensor" else None)


def test_a_path_that_leads_nowhere_is_refused() -> None:
    tree = server(lambda: 480, supplies=False)
    assert "status 404" in str(refused(RedfishServer(tree), "node", paths=("/redfish/v1/Chassis/9",)))
    assert "holds no power" in str(refused(RedfishServer(tree), "node", paths=("/redfish/v1/Chassis/DE00C000",)))
    assert "holds no power" in str(
        refused(RedfishServer(tree), "node", paths=(f"{POWER}#/PowerControl/1/PowerConsumedWatts",))
    )


def test_collections_come_in_pages() -> None:
    tree = hgx(lambda i: 700.0)
    path = "/redfish/v1/Systems/HGX_Baseboard_0/Processors"
    members = tree[path]["Members"]
    tree[path] = {"Members": members[:5], "Members@odata.nextLink": f"{path}?$skip=5"}
    tree[f"{path}?$skip=5"] = {
        "Members": members[5:],
        "Members@odata.nextLink": path,
    }  # a service that turns in circles
    with opened(RedfishServer(tree), "accelerator") as (_, facts):
        assert len(devices(facts)) == 8


# -- signing in ------------------------------------------------------------------------------------------------------------------------


def node() -> Tree:
    return server(lambda: 480, supplies=False)


def test_a_session_is_opened_used_and_deleted() -> None:
    service = RedfishServer(node())
    service.basic = False
    with service:
        meter = meter_of(spec(service.url, "node"))
        facts = meter.open()
        assert list(service.tokens.values()) == ["token-1"]
        assert meter.read()[0].value == 480
        meter.close()
        assert service.tokens == {}
        meter.close()
    assert [request.method for request in service.requests].count("POST") == 1
    text = msgspec.json.encode(facts).decode()
    assert PASSWORD not in text
    assert "token" not in text
    assert "user and password went over the network in clear text (http)" in facts.notes


def test_a_session_that_ended_is_opened_once_more() -> None:
    service = RedfishServer(node())
    service.basic = False
    with opened(service, "node") as (meter, _):
        service.tokens.clear()
        assert rows(meter) == {("1", "power"): 480}
        assert list(service.tokens.values()) == ["token-2"]
        service.tokens.clear()
        service.sessions = 0
        assert rows(meter) == {("1", "power"): "user or password are refused"}
        service.sessions, service.basic = 4, True
        assert rows(meter) == {("1", "power"): 480}


@pytest.mark.parametrize("sessions", [0, -1])
def test_basic_where_there_are_no_sessions_or_all_are_taken(sessions: int) -> None:
    with opened(RedfishServer(node(), sessions=sessions), "node") as (meter, facts):
        assert rows(meter) == {("1", "power"): 480}
    assert any("(Basic)" in note for note in facts.notes)


def test_a_service_without_a_door() -> None:
    service = RedfishServer(node(), guarded=False)
    with opened(service, "node", user_env="", password_env="") as (meter, facts):
        assert rows(meter) == {("1", "power"): 480}
    assert {request.method for request in service.requests} == {"GET"}
    assert len(facts.notes) == 1


def test_a_wrong_password_is_refused_with_and_without_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "wrong")
    for sessions in (4, 0):
        assert "user or password are refused" in str(refused(RedfishServer(node(), sessions=sessions), "node"))
    monkeypatch.delenv("BMC_PASSWORD")
    assert "the variable BMC_PASSWORD is not set" in str(refused(RedfishServer(node()), "node"))


def test_tls_with_a_private_authority_or_unchecked_and_said(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with opened(RedfishServer(node(), context), "node", ca_file=str(tmp_path / "ca.pem")) as (meter, facts):
        assert rows(meter) == {("1", "power"): 480}
    assert len(facts.notes) == 1
    with opened(RedfishServer(node(), context), "node", insecure=True) as (meter, facts):
        assert rows(meter) == {("1", "power"): 480}
    assert "the service's certificate was not checked (insecure)" in facts.notes
    assert "certificate is not trusted" in str(refused(RedfishServer(node(), context), "node"))


def test_a_proxy_may_put_the_service_below_a_path() -> None:
    service = RedfishServer({f"/bmc7{path}": resource for path, resource in node().items()} | root())
    plain = service.script

    def below(request: Any) -> Any:
        return (
            plain(request._replace(path=request.path.removeprefix("/bmc7")))
            if request.path.startswith("/bmc7")
            else Reply(404)
        )

    service.script, service.tree = below, node()
    with opened(service, "node", url=service.url + "/bmc7/") as (meter, _):
        assert rows(meter) == {("bmc7/1", "power"): 480}
    assert service.tokens == {}


# -- what fails in a run ---------------------------------------------------------------------------------------------------------------


def test_null_readings_and_missing_resources_are_rows() -> None:
    values: dict[int, float | None] = {0: 700.0, 1: 701.0}
    tree = hgx(lambda i: values[i], gpus=2)
    with opened(RedfishServer(tree), "accelerator") as (meter, _):
        values[0] = None
        found = rows(meter)
        assert found["GPU_SXM_1", "power"] == "PowerWatts.Reading is null or missing"
        assert found["GPU_SXM_1", "energy"] == "EnergyJoules.Reading is null or missing"
        assert found["GPU_SXM_2", "power"] == 701
        del tree["/redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_2/EnvironmentMetrics"]
        assert rows(meter)["GPU_SXM_2", "power"] == "status 404"


def test_both_quantities_of_a_resource_take_one_request() -> None:
    service = RedfishServer(hgx(lambda i: 700.0, gpus=1))
    with opened(service, "accelerator") as (meter, _):
        before = len(service.requests)
        meter.read()
        assert len(service.requests) == before + 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda r: Reply(500), "status 500"),
        (lambda r: Reply(200, b"<html>"), "its answer is no JSON"),
        (lambda r: Reply(200, b"[1]"), "its answer is no JSON object"),
        (lambda r: Reply(200, b"{}"), "is null or missing"),
        (lambda r: Reply(200, b'{"PowerWatts":{"Reading":"700"}}'), "is null or missing"),
        (lambda r: None, "the server closed the connection"),
    ],
)
def test_an_answer_that_is_none_is_a_row(reply: Callable[[Any], Reply | None], words: str) -> None:
    service = RedfishServer(hgx(lambda i: 700.0))
    with opened(service, "accelerator") as (meter, _):
        good, service.script = service.script, reply
        found = meter.read()
        assert len(found) == 16
        assert all(row.value is None and words in row.why for row in found)
        service.script = good
        assert rows(meter)["GPU_SXM_8", "power"] == 700


def test_a_service_that_is_gone_is_asked_once_a_poll() -> None:
    """Eight GPUs must not mean eight times the wait for an answer."""
    service = RedfishServer(hgx(lambda i: 700.0))
    with opened(service, "accelerator") as (meter, _):
        before = len(service.requests)
        service.script = lambda request: None
        assert {row.why for row in meter.read()} == {"the server closed the connection"}
        assert len(service.requests) - before <= 2  # the kept connection, and one dialled anew
        service.stop()
        assert {row.why for row in meter.read()} == {"Connection refused"}


def test_odd_services_are_refused_and_do_not_raise_anything_else() -> None:
    for resource in ({"Chassis": 7}, {"Chassis": ref("/nowhere")}, {"Chassis": []}, {}):
        assert "has no power reading" in str(refused(RedfishServer({"/redfish/v1/": resource}), "node"))
    tree = root(Chassis="/c", Systems="/s", PowerEquipment="/p")
    tree |= {"/c": {"Members": [7, None, ref("/c/1"), ref("/c/1")]}, "/s": {"Members": {}}, "/p": {"RackPDUs": "x"}}
    tree["/c/1"] = {"Links": [], "PowerSubsystem": ref("/c/2"), "Status": "on", "Power": {"@odata.id": 5}}
    tree["/c/2"] = {"PowerSupplies": {"@odata.id": "/c"}}
    for boundary in ("node", "rack", "accelerator"):
        assert "has no power reading" in str(refused(RedfishServer(tree), boundary))


# -- times and judgement ---------------------------------------------------------------------------------------------------------------


def test_polls_are_slow_and_what_is_allowed_is_said() -> None:
    with opened(RedfishServer(node()), "node", period_s=0.1) as (_, facts):
        assert (facts.period_s, facts.max_gap_s, facts.stale_s) == (1.0, 15.0, 30.0)
        assert any("gaps of 15 s are allowed" in note for note in facts.notes)
    with opened(RedfishServer(node()), "node", period_s=5, max_gap_s=20, stale_s=60) as (_, facts):
        assert (facts.period_s, facts.max_gap_s, facts.stale_s) == (5.0, 20.0, 60.0)


def test_a_counter_of_10_wh_steps_gives_way_to_power_that_is_finer() -> None:
    """At 600 W a step of 36 kJ takes 60 s: too long for a gap of 15 s. The power, in whole watts every 3 s, is good to 0.5 %."""
    now = 0.0
    tree = hgx(lambda i: 1.0, gpus=1)
    metrics = tree["/redfish/v1/Chassis/DGX/EnvironmentMetrics"]
    metrics["PowerWatts"] = {"Reading": lambda: 600 + (now // 3 * 7919) % 5}
    metrics["EnergykWh"] = {"Reading": lambda: 5 + (now * 602 / 3.6e6) // 0.01 * 0.01}
    found: list[Reading] = []
    with opened(RedfishServer(tree), "node") as (meter, facts):
        for second in range(331):
            now = float(second)
            found += [msgspec.structs.replace(row, t_ns=s_to_ns(now)) for row in meter.read()]
    energy = device_energy(found, facts, facts.devices[0], 15 * NS_PER_S, 315 * NS_PER_S)
    assert energy.faults == ()
    assert energy.method == "integral"
    assert energy.energy_j == pytest.approx(602 * 300, rel=0.005)
    assert "its energy counter was not used" in energy.notes[0]


# -- values ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("PT1S", 1), ("PT0.1S", 0.1), ("PT5M", 300), ("P1DT1H", 90_000), ("P", None), ("PT", None), ("1 s", None), (5, None), (None, None)],
)  # fmt: skip
def test_durations(text: object, wanted: float | None) -> None:
    assert seconds(text) == wanted


def test_a_pointer_tells_power_from_energy() -> None:
    resource = {"EnergykWh": {"Reading": 2}, "a/b": [{"c~d": 5}]}
    energy, power = pointed("/x#/EnergykWh/Reading", resource), pointed("/x#/a~1b/0/c~0d", resource)
    assert energy is not None
    assert power is not None
    assert (energy.quantity, energy.scale, power.quantity, power.scale) == ("energy", 3.6e6, "power", 1)
    assert pointed("/x#/a~1b/1", resource) is None


@pytest.mark.parametrize(
    ("resource", "pointer", "wanted"),
    [
        ({"Reading": 2, "ReadingType": "EnergykWh"}, "Reading", ("energy", 3.6e6)),
        ({"Reading": 2, "ReadingType": "EnergyJoules", "ReadingUnits": "kJ"}, "Reading", ("energy", 1000)),
        ({"Reading": 0.477, "ReadingType": "Power", "ReadingUnits": "kW"}, "Reading", ("power", 1000)),
        ({"List": [{"Reading": 2, "ReadingType": "EnergyWh"}]}, "List/0/Reading", ("energy", 3600)),
        ({"Oem": {"LifetimekWh": 2}}, "Oem/LifetimekWh", ("energy", 3.6e6)),
        ({"Oem": {"EnergyWh": 2}}, "Oem/EnergyWh", ("energy", 3600)),
        ({"Oem": {"PowerkW": 2}}, "Oem/PowerkW", ("power", 1000)),
        ({"Oem": {"power_mw": 2}}, "Oem/power_mw", None),  # thousandths or millions
        ({"Oem": {"InputMilliwatts": 2}}, "Oem/InputMilliwatts", ("power", 0.001)),
        ({"Reading": 55, "ReadingType": "Temperature", "ReadingUnits": "Cel"}, "Reading", None),
    ],
)
def test_a_pointer_into_a_sensor_has_the_sensor_s_unit(
    resource: dict[str, object], pointer: str, wanted: tuple[str, float] | None
) -> None:
    """2 kWh read as 2 W, or 55 degrees as 55 W, are numbers like any other."""
    found = pointed(f"/x#/{pointer}", resource)
    assert (found and (found.quantity, found.scale)) == wanted


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["PowerWatts", "InputPowerWatts", "EnergyJoules", "EnergykWh", "Reading", "ReadingType", "PowerControl", "PowerConsumedWatts",
         "RelatedItem", "Name", "@odata.id"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["PowerWatts", "EnergykWh", "Reading", "ReadingType", "PowerControl"]), JSON, max_size=4
    )
)
def test_any_resource_is_read_without_an_error_and_gives_numbers(resource: dict[str, Any]) -> None:
    found = series_of("/x", resource)
    assert len({each.quantity for each in found}) == len(found) <= 2
    assert all(isinstance(number(resource, term.pointer), float) for each in found for term in each.terms)
