"""Capacity over megawatts, racks and dollars: the published table again, and every way in which a figure must be missing."""

from __future__ import annotations

import msgspec
import pytest

from openagentperf.records.phase import Judged
from openagentperf.records.power import DeviceFacts, EnergyFault, WindowEnergy
from openagentperf.score.boundary import window_energies
from openagentperf.score.normalise import accelerators, agents_per_mw, cost, power_notes, tier_power
from openagentperf.system import Pool, Price, System
from openagentperf.units import NS_PER_S
from signals import constant, counted, flicker, meter, polled, ramp, square


def energy(watts: float | None, boundary: str = "accelerator", seconds: float = 600, **more: object) -> WindowEnergy:
    faults = (
        ()
        if watts is not None
        else (EnergyFault(code="gap", meter="m", device="d0", why="d0: it did not update for 9.0 s"),)
    )
    joules = None if watts is None else watts * seconds
    about = {"boundary": boundary, "basis": "measured", "meter": "m", "p95_w": watts} | more
    return WindowEnergy(valid=watts is not None, faults=faults, energy_j=joules, mean_w=watts, **about)  # type: ignore[arg-type]


def phase(*energies: WindowEnergy, index: int = 0, tokens_per_s: float | None = 1000.0) -> Judged:
    return Judged(
        index=index, agents=10, kind="certify", verdicts=(), measured_turns=2000, completed_trajectories=50, failed_turns=0,
        output_tokens_per_s=tokens_per_s, energy=energies,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("agents", "gpus", "kw", "per_mw", "per_gpu"),
    [
        # AA-AgentPerf, first round, DeepSeek V4 Pro, tier 1, as published
        (1_840, 32, 29.99, 61_354, 57.5),  # GB300 NVL72: 1,840 / 0.02999 = 61,353.8
        (11, 8, 4.24, 2_594, 1.4),  # HGX H200: 11 / 0.00424 = 2,594.3; 11 / 8 = 1.375
    ],
)
def test_the_article_s_table(agents: int, gpus: int, kw: float, per_mw: int, per_gpu: float) -> None:
    system = System(accelerators=gpus)
    (row,) = tier_power(agents, [phase(energy(kw * 1000), index=i) for i in range(3)], system)
    assert row.name == "agents/MW (accelerator, measured)"
    assert row.agents_per_mw is not None
    assert round(row.agents_per_mw) == per_mw
    assert round(agents / accelerators(system), 1) == per_gpu


def test_power_is_joules_over_seconds_of_all_certifying_phases() -> None:
    rows = tier_power(10, [phase(energy(100, seconds=600)), phase(energy(400, seconds=300, p95_w=900.0))], System())
    # (60,000 + 120,000) J / 900 s = 200 W; tokens 1,000/s x 900 s; turns 4,000; trajectories 100
    (row,) = rows
    assert (row.mean_w, row.p95_w) == (200, 900)
    assert row.agents_per_mw == pytest.approx(50_000)
    assert (row.j_per_output_token, row.j_per_turn, row.j_per_trajectory) == (0.2, 45, 1800)


def test_one_invalid_phase_leaves_no_figure_and_says_why() -> None:
    (row,) = tier_power(10, [phase(energy(100)), phase(energy(None), index=4)], System())
    assert row.agents_per_mw is None
    assert row.mean_w is None
    assert row.why == ("phase 4: gap: d0: it did not update for 9.0 s",)


def test_a_phase_without_the_boundary_leaves_no_figure() -> None:
    (row,) = tier_power(10, [phase(energy(100)), phase(index=2)], System())
    assert (row.agents_per_mw, row.why[0][:8]) == (None, "phase 2:")


def test_facility_power_is_of_the_same_meters_in_every_phase() -> None:
    """PUE x rack in one phase and PUE x node in the next is the power of nothing."""
    rack, node = energy(1200, "facility", meter="shelf"), energy(1000, "facility", meter="bmc")
    (row,) = tier_power(10, [phase(rack), phase(node)], System(pue=1.2))
    assert (row.agents_per_mw, row.mean_w) == (None, None)
    assert row.why[0].startswith("it is the PUE times bmc in one phase and times shelf in another")
    assert tier_power(10, [phase(rack), phase(rack)], System(pue=1.2))[0].agents_per_mw is not None


def test_tokens_that_are_not_known_are_not_none_at_all() -> None:
    (row,) = tier_power(10, [phase(energy(100)), phase(energy(100), tokens_per_s=None)], System())
    assert (row.mean_w, row.j_per_output_token) == (100, None)


def test_no_meter_no_rows_and_no_capacity_no_rows() -> None:
    assert tier_power(10, [phase()], System()) == ()
    assert tier_power(None, [phase(energy(100))], System()) == ()
    assert tier_power(10, [], System(rated_accelerator_w=700, accelerators=8)) == ()


def test_measured_modelled_and_rated_stand_beside_each_other() -> None:
    both = phase(energy(1000, "node"), energy(500), energy(400, basis="modelled"))
    rows = tier_power(
        8,
        [both],
        System(
            pools=(Pool(name="prefill", accelerators=2), Pool(name="decode", accelerators=6)), rated_accelerator_w=100
        ),
    )
    assert [(row.boundary, row.basis, round(row.agents_per_mw or 0)) for row in rows] == [
        ("accelerator", "measured", 16_000),
        ("accelerator", "modelled", 20_000),
        ("node", "measured", 8_000),
        ("accelerator", "rated", 10_000),
    ]  # fmt: skip


PRICES = {
    # price, PUE, measured watts, $/h
    "rented": (Price(usd_per_hour=98.0), None, 1000.0, 98.0),
    "rented, people extra": (Price(usd_per_hour=98.0, opex_usd_per_hour=2.0), None, None, 100.0),
    # 350,640 / (4 x 8,766) = 10; 1 kW at 0.1 = 0.1
    "owned": (Price(capex_usd=350_640.0, years=4, usd_per_kwh=0.1), None, 1000.0, 10.1),
    "owned, PUE": (Price(capex_usd=350_640.0, years=4, usd_per_kwh=0.1), 1.5, 1000.0, 10.15),
    "owned, power not counted": (Price(capex_usd=350_640.0, years=4), None, None, 10.0),
    "owned, power not known": (Price(capex_usd=350_640.0, years=4, usd_per_kwh=0.1), None, None, None),
    "half a price": (Price(capex_usd=350_640.0), None, 1000.0, None),
}


@pytest.mark.parametrize("name", PRICES)
def test_what_an_hour_costs(name: str) -> None:
    price, pue, watts, want = PRICES[name]
    system = System(price=price, pue=pue)
    phases = [phase(energy(watts))]
    found = cost(20, phases, system, tier_power(20, phases, system))
    assert found is not None
    assert found.basis
    if want is None:
        assert (found.usd_per_hour, found.usd_per_agent_hour, found.usd_per_million_output_tokens) == (None, None, None)
        return
    assert found.usd_per_hour == pytest.approx(want)
    assert found.usd_per_agent_hour == pytest.approx(want / 20)
    assert found.agents_per_usd_hour == pytest.approx(20 / want)
    assert found.usd_per_million_output_tokens == pytest.approx(want / 3.6)  # 1,000 tokens/s are 3.6 million an hour


def test_power_is_paid_for_by_the_surest_basis_then_the_widest_boundary() -> None:
    system = System(
        price=Price(capex_usd=0.0, years=1, usd_per_kwh=1.0), accelerators=1, rated_accelerator_w=5000, pue=2.0
    )
    modelled = energy(3000, "rack", basis="modelled")
    for rows, usd, words in (
        ((energy(500), energy(1000, "node"), modelled), 2.0, "power (node, measured x PUE 2)"),
        ((energy(500), energy(None, "node"), modelled), 1.0, "power (accelerator, measured x PUE 2)"),
        ((energy(1000, "node"), energy(2000, "facility")), 2.0, "power (facility, measured)"),
        ((energy(None), modelled), 6.0, "power (rack, modelled x PUE 2)"),
        ((energy(None),), 10.0, "power (accelerator, rated x PUE 2)"),
    ):
        found = cost(10, [phase(*rows)], system, tier_power(10, [phase(*rows)], system))
        assert found is not None
        assert found.usd_per_hour == pytest.approx(usd)
        assert words in found.basis


def test_no_agents_cost_something_and_nothing_by_the_agent() -> None:
    system = System(price=Price(usd_per_hour=98.0))
    found = cost(0, [phase(energy(1000))], system, ())
    assert found is not None
    assert (found.usd_per_hour, found.usd_per_agent_hour, found.agents_per_usd_hour) == (98.0, None, 0.0)
    free = cost(5, [phase(energy(1000))], System(price=Price(usd_per_hour=0.0)), ())
    assert free is not None
    assert (free.usd_per_agent_hour, free.agents_per_usd_hour) == (0.0, None)
    assert tier_power(0, [phase(energy(1000))], System())[0].agents_per_mw == 0


def test_a_part_of_a_rack_is_rated_in_part() -> None:
    rated = tier_power(1_840, [phase()], System(accelerators=32, racks=32 / 72, rated_rack_w=142_000))
    (row,) = rated
    assert (row.boundary, row.basis) == ("rack", "rated")
    assert row.mean_w == pytest.approx(63_111, rel=1e-4)  # 142 kW x 32 / 72


def test_agents_per_megawatt_of_a_whole_number() -> None:
    assert agents_per_mw(5, 1_000_000) == 5


# -- boundaries of one window ------------------------------------------------------------------------------------------------

D = [DeviceFacts(device=f"d{n}", counter=True, scope="gpu") for n in range(3)]
START, END = 10 * NS_PER_S, 70 * NS_PER_S


def devices(count: int, watts: float = 500) -> list:
    return [row for n in range(count) for row in counted(constant(watts), 5, 75, device=f"d{n}")]


def test_a_boundary_is_the_sum_of_its_devices() -> None:
    (row,) = window_energies([meter("m", *D)], devices(3), System(accelerators=3), START, END)
    assert (row.valid, row.devices, row.method) == (True, 3, "counter")
    assert row.energy_j == pytest.approx(3 * 500 * 60)
    assert row.mean_w == pytest.approx(1500)
    assert row.p95_w == pytest.approx(1500)


FAULTY = {
    # meters, rows, system, code
    "one device is silent": ([meter("m", *D)], devices(2), System(accelerators=3), "no_readings"),
    "a device is missing": ([meter("m", *D[:2])], devices(2), System(accelerators=3), "missing_device"),
    "one too many": ([meter("m", *D)], devices(3), System(accelerators=2), "extra_device"),
    "one appears": ([meter("m", *D[:2])], devices(3), System(accelerators=2), "extra_device"),
    "read twice": ([meter("m", D[0]), meter("n", D[0])], devices(1), System(), "extra_device"),
    "gpu and module": (
        [meter("m", D[0], DeviceFacts(device="d1", counter=True, scope="module"))],
        devices(2),
        System(),
        "mixed",
    ),
    "a whole rack for a part of one": (
        [meter("m", D[0], boundary="rack")],
        devices(1),
        System(racks=0.44),
        "extra_device",
    ),
    "the load's own host": ([meter("m", D[0], boundary="node")], devices(1), System(load_on_system=True), "host"),
    "10 Hz polled at 1 Hz": (
        [meter("m", DeviceFacts(device="d0"))],
        polled(flicker(square(10, 1000, 10)), 5, 75, 1.0),
        System(),
        "undersampled",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_boundary_that_is_not_whole_has_no_energy(name: str) -> None:
    meters, rows, system, code = FAULTY[name]
    (row,) = window_energies(meters, rows, system, START, END)
    assert (row.valid, row.energy_j, row.mean_w, row.p95_w) == (False, None, None, None)
    assert code in [fault.code for fault in row.faults]
    assert all(fault.why for fault in row.faults)


@pytest.mark.parametrize("seed", range(20))
def test_a_10_hz_square_polled_slowly_is_never_believed(seed: int) -> None:
    rows = polled(flicker(square(10, 1000, 10)), 5, 75, 1.0, seed=seed)
    (row,) = window_energies([meter("m", DeviceFacts(device="d0"))], rows, System(), START, END)
    assert [fault.code for fault in row.faults] == ["undersampled"]


def test_an_inner_boundary_that_shows_more_than_an_outer_one_spoils_both() -> None:
    inner, outer = meter("in", D[0]), meter("out", DeviceFacts(device="n0", counter=True), boundary="node")
    rows = [msgspec.structs.replace(r, meter="in") for r in devices(1, 500)]
    rows += [msgspec.structs.replace(r, meter="out", device="n0") for r in devices(1, 480)]
    found = window_energies([outer, inner], rows, System(pue=1.2), START, END)
    assert [(row.boundary, row.valid) for row in found] == [
        ("accelerator", False),
        ("node", False),
        ("facility", False),
    ]
    assert {fault.code for row in found for fault in row.faults} == {"order"}


@pytest.mark.parametrize(
    ("watts", "rated_w", "basis", "valid"),
    [
        (700, 700, "measured", True),
        (860, 700, "measured", True),  # 1.23 of the nameplate
        (900, 700, "measured", False),  # 1.29
        (70, 700, "measured", True),  # idle
        (0.7, 700, "measured", False),  # kW taken for W
        (7000, 700, "measured", False),  # a PDU's tenths
        (0.7, None, "measured", True),  # nothing is declared
        (0.7, 700, "modelled", True),
    ],
)
def test_accelerators_that_draw_what_no_nameplate_allows_are_not_believed(
    watts: float, rated_w: float | None, basis: str, valid: bool
) -> None:
    system = System(accelerators=3, rated_accelerator_w=rated_w)
    (row,) = window_energies([meter("m", *D, basis=basis)], devices(3, watts), system, START, END)
    assert (row.valid, row.mean_w is not None) == (valid, valid)
    assert [fault.code for fault in row.faults] == ([] if valid else ["order"])


def test_facility_is_the_outermost_times_the_declared_pue() -> None:
    rows = [msgspec.structs.replace(r, meter="n") for r in devices(1, 1000)]
    found = window_energies([meter("n", D[0], boundary="node")], rows, System(pue=1.25), START, END)
    assert [(row.boundary, row.mean_w) for row in found] == [
        ("node", pytest.approx(1000)),
        ("facility", pytest.approx(1250)),
    ]
    assert found[1].notes[0] == "declared PUE 1.25 x node"


def test_facility_follows_each_basis_by_itself() -> None:
    rows = [msgspec.structs.replace(r, meter=name) for name in ("n", "r") for r in devices(1, 1000)]
    meters = [meter("n", D[0], boundary="node"), meter("r", D[0], boundary="rack", basis="modelled")]
    found = window_energies(meters, rows, System(pue=1.25), START, END)
    assert [(row.boundary, row.basis, row.meter) for row in found] == [
        ("node", "measured", "n"),
        ("rack", "modelled", "r"),
        ("facility", "measured", "n"),
        ("facility", "modelled", "r"),
    ]


def test_devices_that_nothing_was_declared_of_are_said() -> None:
    (row,) = window_energies([meter("m", *D)], devices(3), System(), START, END)
    assert row.notes == (
        "no accelerators are declared: whether the devices read (3) are all of the system is not known",
    )
    (row,) = window_energies([meter("m", *D)], devices(3), System(accelerators=3), START, END)
    assert row.notes == ()


@pytest.mark.parametrize(
    ("boundary", "system", "scope", "note"),
    [
        (
            "node",
            System(hosts=4),
            "outlet",
            "power feeds are read (2): whether they are all those of the 4 hosts is not known",
        ),
        (
            "rack",
            System(racks=2),
            "mains",
            "power feeds are read (2): whether they are all those of the 2 racks is not known",
        ),
        ("node", System(hosts=2), "chassis", ""),
    ],
)
def test_feeds_cannot_be_counted_against_hosts_and_that_is_said(
    boundary: str, system: System, scope: str, note: str
) -> None:
    """Of two feeds for each host one alone would show twice the agents a megawatt."""
    facts = [DeviceFacts(device=f"d{n}", counter=True, scope=scope) for n in range(2)]
    (row,) = window_energies([meter("m", *facts, boundary=boundary)], devices(2), system, START, END)
    assert (row.valid, row.notes) == (True, (note,) if note else ())


def test_what_changes_how_a_measured_figure_is_read_is_a_note_of_the_result() -> None:
    throttled = "gpus: devices that throttled in the window: 1 of 8"
    noted = energy(500, notes=(throttled,))
    facility = energy(600, "facility", notes=("declared PUE 1.2 x node", throttled))
    phases = [
        phase(noted, facility, index=3),
        phase(noted, index=4),
        phase(energy(500, basis="modelled", notes=("x",)), index=5),
    ]
    assert power_notes(phases) == [f"power (accelerator, measured): {throttled} (phases 3, 4)"]
    many = [phase(energy(500, notes=tuple(f"n{k}" for k in range(9))), index=1)]
    assert len(power_notes(many)) == 7
    assert power_notes(many)[-1] == "power: 3 more notes stand in phases[].energy[].notes of result.json"


def test_the_reasons_come_in_the_same_order_every_time() -> None:
    many = [msgspec.structs.replace(r, device=f"x{n:02}") for n in range(20) for r in devices(1)[:3]]
    (row,) = window_energies([meter("m", D[0])], devices(1) + many, System(), START, END)
    assert [fault.why[1:4] for fault in row.faults] == [f"x{n:02}" for n in range(20)]


@pytest.mark.parametrize("period_s", [1.0, 0.5])
def test_a_sensor_read_once_a_second_has_a_p95(period_s: float) -> None:
    for seed in range(10):
        rows = polled(flicker(constant(500)), 5, 75, period_s, seed=seed)
        (row,) = window_energies([meter("m", DeviceFacts(device="d0"))], rows, System(), START, END)
        assert row.p95_w == pytest.approx(500, rel=0.001)


def test_drift_and_throttling_are_said() -> None:
    from signals import reading

    rows = [
        *counted(ramp(300, 1000, 80), 5, 75),
        reading(20, 4.0, "throttle"),
        reading(20, 700.0, "power_cap"),
        reading(30, 600.0, "power_cap"),
    ]
    (row,) = window_energies([meter("m", D[0])], rows, System(), START, END)
    assert row.valid
    assert any("power drifts" in note for note in row.notes)
    assert any("throttled in the window: 1 of 1" in note for note in row.notes)
    assert any("power cap of d0 changed" in note for note in row.notes)


def test_p95_is_of_the_sum_over_time() -> None:
    # 200 W for 57 of 60 s, 1,000 W in the last 3: the 95th percentile of whole seconds lies at the step.
    from signals import Signal

    step = Signal(lambda t: 1000 if t >= 67 else 200, lambda t: 200 * t + 800 * max(0, t - 67))
    (row,) = window_energies([meter("m", D[0])], counted(step, 5, 75), System(), START, END)
    # 60 seconds: rank 0.95 x 59 = 56.05, between the 57th (200 W) and the 58th (1,000 W): 200 + 0.05 x 800
    assert row.p95_w == pytest.approx(240)
    slow = counted(constant(500), 5, 605, 2.0)
    (row,) = window_energies([meter("m", D[0])], slow, System(), START, 600 * NS_PER_S)
    assert (row.valid, row.p95_w) == (True, None)
