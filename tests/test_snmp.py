"""The SNMP meter against a scripted agent, and against a real one (Debian's snmpd)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openagentperf.errors import MeterError
from openagentperf.meters.registry import meter_of
from openagentperf.meters.snmp import Snmp
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.score.energy import device_energy
from openagentperf.system import Snmp as Spec
from openagentperf.units import NS_PER_S, s_to_ns
from snmp_agent import (
    COUNTER32,
    COUNTER64,
    GAUGE32,
    INTEGER,
    NO_SUCH_INSTANCE,
    NULL,
    OPAQUE,
    STRING,
    Agent,
    Ask,
    Values,
    response,
    snmpd,
    snmpd_missing,
)  # fmt: skip

pytest.importorskip("snmp", reason="the package snmp is not installed: pip install 'openagentperf[power]'")

BASE = "1.3.6.1.4.1.99999.1"
A, B = f"{BASE}.1", f"{BASE}.2"
DESCRIPTION = "1.3.6.1.2.1.1.1.0"


def answering(values: Values) -> Callable[[Ask], list[bytes]]:
    return lambda ask: [response(ask, {DESCRIPTION: (STRING, b"Contoso PDU\n 32 A"), **values})]


def spec(host: str, *oids: str, **more: Any) -> Spec:
    return Spec(name="m", boundary="rack", host=host, oids=oids or (A, B), **more)


@contextmanager
def opened(script: Callable[[Ask], list[bytes]], *oids: str, **more: Any) -> Iterator[tuple[Agent, Snmp, MeterFacts]]:
    with Agent(script) as agent:
        meter = Snmp(spec(agent.host, *oids, **more), timeout_s=0.2)
        try:
            yield agent, meter, meter.open()
        finally:
            meter.close()
            meter.close()


def short(device: str) -> str:
    """Without the agent's address, which has another port in every test; a name of the plan's has none."""
    return device.rpartition("/")[2]


def rows(meter: Snmp) -> dict[str, float | str]:
    return {short(row.device): row.why if row.value is None else row.value for row in meter.read()}


def refused(script: Callable[[Ask], list[bytes]], *oids: str, **more: Any) -> MeterError:
    with Agent(script) as agent:
        meter = Snmp(spec(more.pop("host", agent.host), *oids, **more), timeout_s=0.1)
        with pytest.raises(MeterError) as caught:
            meter.open()
        meter.close()
    assert caught.value.fix
    return caught.value


BOTH = answering({A: (GAUGE32, 1200), B: (INTEGER, 1300)})


# -- values ------------------------------------------------------------------------------------------------------------------------------


def test_several_outlets_in_one_request() -> None:
    with opened(BOTH) as (agent, meter, facts):
        before = len(agent.asks)
        assert rows(meter) == {A: 1200, B: 1300}
        (first, _) = meter.read()
    assert agent.asks[before].oids == [A, B]
    assert agent.asks[before].community == b"public"
    assert (first.meter, first.quantity, first.updated_ns) == ("m", "power", None)
    assert 0 < first.spread_ns < NS_PER_S
    # Two PDUs of one kind have the same OIDs: the address tells their outlets apart.
    assert [(d.device, d.name, d.scope, d.counter) for d in facts.devices] == [
        (f"{agent.host}/{A}", "Contoso PDU 32 A", "outlet", False), (f"{agent.host}/{B}", "Contoso PDU 32 A", "outlet", False),
    ]  # fmt: skip
    assert (facts.kind, facts.period_s, facts.max_gap_s, facts.stale_s) == ("snmp", 1.0, 15.0, 30.0)
    assert "gaps of 15 s are allowed" in facts.notes[0]


def test_many_outlets_in_as_few_requests_as_fit() -> None:
    oids = [f"{BASE}.{i}" for i in range(48)]
    with opened(answering({oid: (GAUGE32, i) for i, oid in enumerate(oids)}), *oids) as (agent, meter, _):
        before = len(agent.asks)
        assert rows(meter) == {oid: i for i, oid in enumerate(oids)}
        assert [len(ask.oids) for ask in agent.asks[before:]] == [16, 16, 16]


@pytest.mark.parametrize(
    ("tag", "value", "wanted"),
    [
        (INTEGER, -5, -5), (GAUGE32, 2**32 - 1, 2**32 - 1), (COUNTER32, 2**32 - 1, 2**32 - 1), (COUNTER64, 2**64 - 1, 2**64 - 1),
        (STRING, b" 12.5\n", 12.5), (STRING, b"off", "OctetString"), (STRING, b"", "OctetString"), (NULL, b"", "NULL"),
        (NO_SUCH_INSTANCE, b"", "NoSuchInstance"), (OPAQUE, b"\x9f\x78\x04\x41\x48\x00\x00", "Opaque"),
    ],
)  # fmt: skip
def test_types(tag: int, value: int | bytes, wanted: float | str) -> None:
    with opened(BOTH) as (agent, meter, _):
        agent.script = answering({A: (tag, value), B: (INTEGER, 1)})
        assert rows(meter) == {A: pytest.approx(wanted) if not isinstance(wanted, str) else f"{A}: {wanted}", B: 1}


def test_names_scales_and_the_devices_of_the_plan() -> None:
    with opened(BOTH, f".{A}=left", f" {B} = right ", scale=10) as (_, meter, facts):
        assert rows(meter) == {"left": 12_000, "right": 13_000}
        assert [device.device for device in facts.devices] == ["left", "right"]
    with opened(BOTH, f"{A}=left", f"{B}=right", devices=("right",)) as (_, meter, _facts):
        assert rows(meter) == {"right": 1300}


@pytest.mark.parametrize(
    ("tag", "wraps_j"), [(COUNTER32, 2**32 * 0.1), (COUNTER64, None), (GAUGE32, None), (INTEGER, None), (STRING, None)]
)
def test_only_a_counter_of_32_bits_wraps(tag: int, wraps_j: float | None) -> None:
    value: int | bytes = b"5" if tag == STRING else 5
    with opened(answering({A: (tag, value)}), A, quantity="energy", scale=0.1) as (_, meter, facts):
        assert rows(meter) == {A: pytest.approx(0.5)}
    assert facts.devices[0].counter
    assert facts.devices[0].counter_range_j == (None if wraps_j is None else pytest.approx(wraps_j))


def test_the_energy_across_a_wrap_is_right_and_across_a_reset_is_refused() -> None:
    """700 W in units of 0.1 J: 7,000 units a second, 2^32 passed in the window; then a PDU that starts again at 0."""

    def measured(units: Callable[[int], int]) -> tuple[list[Reading], MeterFacts]:
        second = 0
        found: list[Reading] = []
        with opened(lambda ask: answering({A: (COUNTER32, units(second))})(ask), A, quantity="energy", scale=0.1) as (
            _,
            meter,
            facts,
        ):
            for second in range(301):
                found += [msgspec.structs.replace(row, t_ns=s_to_ns(second)) for row in meter.read()]
        return found, facts

    found, facts = measured(lambda second: (2**32 - 1_000_000 + 7000 * second) % 2**32)
    energy = device_energy(found, facts, facts.devices[0], 10 * NS_PER_S, 290 * NS_PER_S)
    assert energy.faults == ()
    assert energy.energy_j == pytest.approx(700 * 280)
    found, facts = measured(lambda second: 5_000_000 + 7000 * second if second < 150 else 7000 * (second - 150))
    energy = device_energy(found, facts, facts.devices[0], 10 * NS_PER_S, 290 * NS_PER_S)
    assert [fault.code for fault in energy.faults] == ["counter_reset"]


# -- what fails --------------------------------------------------------------------------------------------------------------------------


def test_an_error_status_is_a_row_with_its_name() -> None:
    with opened(BOTH) as (agent, meter, _):
        agent.script = lambda ask: [response(ask, {}, status=5)]
        assert rows(meter) == {A: "error status genErr", B: "error status genErr"}
        agent.script = BOTH
        assert rows(meter) == {A: 1200, B: 1300}


def test_a_lost_datagram_is_asked_for_once_more_and_the_stamp_is_that_of_the_answer() -> None:
    lost = []

    def once(ask: Ask) -> list[bytes]:
        lost.append(ask)
        return [] if len(lost) == 1 else BOTH(ask)

    with opened(BOTH) as (agent, meter, _):
        agent.script = once
        found = meter.read()
    assert [row.value for row in found] == [1200, 1300]
    assert len(lost) == 2
    assert lost[0].request_id != lost[1].request_id
    assert found[0].spread_ns < NS_PER_S // 10  # not the 0.2 s that the lost one was waited for


def test_silence_is_a_row_and_asked_for_twice_not_more() -> None:
    oids = [f"{BASE}.{i}" for i in range(40)]
    with opened(answering(dict.fromkeys(oids, (GAUGE32, 7))), *oids) as (agent, meter, _):
        before = len(agent.asks)
        agent.script = lambda ask: []
        assert set(rows(meter).values()) == {"no answer in time"}
        assert len(agent.asks) - before == 2


def test_an_answer_to_an_earlier_request_is_not_taken_for_this_one() -> None:
    late: list[Ask] = []

    def behind(ask: Ask) -> list[bytes]:
        """Nothing at first; then the old question's answer before the new one's."""
        late.append(ask)
        if len(late) == 1:
            return []
        return [*answering({A: (GAUGE32, 1), B: (GAUGE32, 1)})(late[0]), *BOTH(ask)]

    with opened(BOTH) as (agent, meter, _):
        agent.script = behind
        assert rows(meter) == {A: 1200, B: 1300}


def test_datagrams_that_are_no_answer_are_passed_over() -> None:
    with opened(BOTH) as (agent, meter, _):
        agent.script = lambda ask: [b"hello", b"\x30", b"\x30\x82\xff\xff\x02", *BOTH(ask)]
        assert rows(meter) == {A: 1200, B: 1300}
        agent.script = lambda ask: BOTH(ask._replace(community=b"other"))
        assert rows(meter) == {A: "no answer in time", B: "no answer in time"}


def test_spoilt_answers_never_raise() -> None:
    """Bytes of a good answer changed, or its end cut off: 200 of them, by a fixed seed."""
    draw = random.Random(5)

    def spoilt(ask: Ask) -> list[bytes]:
        data = bytearray(BOTH(ask)[0])
        if draw.random() < 0.3:
            del data[draw.randrange(1, len(data)) :]
        else:
            data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0x84, 0xFF))
        return [bytes(data)]

    with Agent(BOTH) as agent:
        meter = Snmp(spec(agent.host), timeout_s=0.01)
        until = time.monotonic() + 10
        while True:  # a busy machine may need longer than 0.01 s for the good answers
            try:
                meter.open()
                break
            except MeterError:
                assert time.monotonic() < until
        agent.script = spoilt
        for _ in range(200):
            assert [short(row.device) for row in meter.read()] == [A, B]
        meter.close()


REFUSED: dict[str, tuple[Callable[[Ask], list[bytes]], tuple[str, ...], dict[str, Any], str]] = {
    "silence": (lambda ask: [], (A,), {}, "gives no reading (no answer in time)"),
    "a missing object": (answering({}), (A,), {}, f"/{A} ({A}: NoSuchObject)"),
    "text": (answering({A: (STRING, b"on")}), (f"{A}=left",), {}, f"gives no reading of left ({A}: OctetString)"),
    "an error": (lambda ask: [response(ask, {}, status=16)], (A,), {}, "error status authorizationError"),
    "a name instead of an OID": (BOTH, ("PDU-MIB::outlet.1",), {}, "is no OID"),
    "an OID twice": (BOTH, (A, f".{A}"), {}, "stands twice"),
    "a name twice": (BOTH, (f"{A}=x", f"{B}=x"), {}, "stands twice"),
    "a device without an OID": (BOTH, (A,), {"devices": ("right",)}, "no OID is named `right`"),
    "a host that is not known": (BOTH, (A,), {"host": "no-such-host.invalid"}, "gives no reading (gaierror"),
    "a community that is not set": (BOTH, (A,), {"community_env": "NO_SUCH"}, "the variable NO_SUCH is not set"),
    "a pass phrase without a user": (BOTH, (A,), {"auth_env": "HOME"}, "auth_env without user_env"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_opened_says_what_to_do(name: str) -> None:
    script, oids, more, words = REFUSED[name]
    assert words in str(refused(script, *oids, **more))


# -- a real agent ------------------------------------------------------------------------------------------------------------------------

PASS = """\
#!/bin/sh
[ "$1" = -g ] || exit 0
case "$2" in
    .{base}.1) echo "$2"; echo gauge; cat {folder}/watts;;
    .{base}.2) echo "$2"; echo counter; echo 4294967290;;
    .{base}.3) echo "$2"; echo counter64; echo 123456789012345;;
    .{base}.4) echo "$2"; echo string; echo 12.5;;
esac
"""
CONFIG = """\
sysDescr Contoso PDU
rocommunity s3cret-community 127.0.0.1
createUser bench SHA-256 s3cret-auth AES s3cret-privacy
createUser plain
rouser bench priv
rouser plain noauth
pass .{base} {folder}/pdu.sh
"""


@pytest.fixture(scope="module")
def pdu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Host and port of a real agent, and the folder whose file `watts` its first outlet shows."""
    if why := snmpd_missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("snmpd")
    (folder / "pdu.sh").write_text(PASS.format(base=BASE, folder=folder))
    (folder / "pdu.sh").chmod(0o755)
    (folder / "watts").write_text("1234\n")
    with snmpd(folder, CONFIG.format(base=BASE, folder=folder)) as port:
        yield f"127.0.0.1:{port}", folder


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in (("COMMUNITY", "s3cret-community"), ("USER3", "bench"), ("PLAIN3", "plain"), ("AUTH3", "s3cret-auth"),
                         ("PRIVACY3", "s3cret-privacy"), ("WRONG3", "s3cret-wrong"), ("NOBODY3", "nobody")):  # fmt: skip
        monkeypatch.setenv(name, secret)


V2C: dict[str, Any] = {"community_env": "COMMUNITY"}
V3: dict[str, Any] = {"user_env": "USER3", "auth_env": "AUTH3", "auth": "sha256", "privacy_env": "PRIVACY3"}


def started(meter: Snmp) -> MeterFacts:
    """Opened as soon as the agent listens."""
    until = time.monotonic() + 20
    while True:
        try:
            return meter.open()
        except MeterError as error:
            meter.close()
            if "no answer" not in str(error) or time.monotonic() > until:
                raise


@pytest.mark.parametrize("how", [V2C, V3, {"user_env": "PLAIN3"}], ids=["v2c", "v3 with privacy", "v3 without"])
def test_a_real_agent_by_version_2c_and_3(pdu: tuple[str, Path], how: dict[str, Any]) -> None:
    host, folder = pdu
    meter = Snmp(spec(host, f"{A}=left", f"{BASE}.4=right", **how))
    facts = started(meter)
    assert rows(meter) == {"left": 1234, "right": 12.5}
    (folder / "watts").write_text("777\n")
    assert rows(meter)["left"] == 777
    (folder / "watts").write_text("1234\n")
    meter.close()
    assert facts.devices[0].name == "Contoso PDU"
    assert b"s3cret" not in msgspec.json.encode(facts)


def test_a_real_agents_counters(pdu: tuple[str, Path]) -> None:
    meter = meter_of(spec(pdu[0], f"{BASE}.2", f"{BASE}.3", quantity="energy", scale=0.1, **V2C))
    assert isinstance(meter, Snmp)
    facts = started(meter)
    assert rows(meter) == {f"{BASE}.2": pytest.approx(429496729.0), f"{BASE}.3": pytest.approx(12345678901234.5)}
    assert [device.counter_range_j for device in facts.devices] == [pytest.approx(2**32 * 0.1), None]
    meter.close()


@pytest.mark.parametrize(
    ("oid", "how", "words"),
    [
        (f"{BASE}.9", V2C, "NoSuchInstance"),
        (A, {"community_env": "WRONG3"}, "no answer in time"),
        (A, V3 | {"auth_env": "WRONG3"}, "gives no reading ("),
        (A, V3 | {"privacy_env": "WRONG3"}, "gives no reading ("),
        (A, {"user_env": "NOBODY3"}, "gives no reading ("),
    ],
    ids=["object", "community", "authentication", "privacy", "user"],
)
def test_what_a_real_agent_refuses(pdu: tuple[str, Path], oid: str, how: dict[str, Any], words: str) -> None:
    right = Snmp(spec(pdu[0], A, **V2C))
    started(right)
    right.close()
    meter = Snmp(spec(pdu[0], oid, **how), timeout_s=0.5)
    with pytest.raises(MeterError) as caught:
        meter.open()
    meter.close()
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_real_agent_that_was_restarted_is_read_again(tmp_path: Path) -> None:
    """Version 3 counts the agent's boots and seconds: the meter has to learn them anew."""
    if why := snmpd_missing():
        pytest.skip(why)
    (tmp_path / "pdu.sh").write_text(PASS.format(base=BASE, folder=tmp_path))
    (tmp_path / "pdu.sh").chmod(0o755)
    (tmp_path / "watts").write_text("5\n")
    config = CONFIG.format(base=BASE, folder=tmp_path)
    meters: list[Snmp] = []
    with snmpd(tmp_path, config) as port:
        for how in (V2C, V3):
            meters.append(Snmp(spec(f"127.0.0.1:{port}", A, **how), timeout_s=0.5))
            started(meters[-1])
    for meter in meters:
        assert rows(meter) != {A: 5}
    with snmpd(tmp_path, config, port):
        for meter in meters:
            until = time.monotonic() + 20
            while (found := rows(meter)) != {A: 5} and time.monotonic() < until:
                pass
            assert found == {A: 5}
            meter.close()
