"""Power as it was read, and energy as it was judged.

Watts and joules of one device at one time are rows of `power.parquet`; what a meter is and what it covers stands once a run in
`meters.json`. Nothing here is ever 0 because it is missing: a reading that failed has `value` None and says why.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.units import Ns

Boundary: TypeAlias = Literal["accelerator", "node", "rack", "facility"]
"""What the watts cover (docs/methodology.md#power): the accelerator modules with their memory; the hosts; whole racks; the building."""
Basis: TypeAlias = Literal["measured", "modelled", "rated"]
"""A sensor; a simulated sensor; a declared nameplate. Never added up with one another."""
ReadBoundary: TypeAlias = Literal["accelerator", "node", "rack"]
"""Those that a meter can have: `facility` is declared."""
ReadBasis: TypeAlias = Literal["measured", "modelled"]
Quantity: TypeAlias = Literal["power", "energy", "power_cap", "clock", "throttle"]
"""W; J counted since some start (only differences mean anything); W; MHz of the compute clock; the driver's bit mask of reasons."""


MODELLED = "modelled power"
"""In the model's name of a simulated sensor, wherever its page is read: nobody may take it for a measurement."""


class Reading(Struct, frozen=True, kw_only=True):
    """One value of one device: a row of `power.parquet`."""

    meter: str
    """Name of the meter in the plan."""
    device: str
    """As the meter names it: a GPU's UUID, an outlet, a chassis."""
    quantity: Quantity
    t_ns: Ns
    """This host's monotonic clock: the middle of the request that read it; of a log's row, the row's time."""
    value: float | None
    """None: the sensor gave no value (`why`)."""
    why: str = ""
    updated_ns: Ns | None = None
    """When the value was made, on the same clock; None where the source does not say. Repeated polls of one update are one reading."""
    spread_ns: Ns = 0
    """Half of the request's duration: the stamp may be off by so much."""


class DeviceFacts(Struct, frozen=True, kw_only=True):
    """One device of a meter, as found when it was opened."""

    device: str
    name: str = ""
    """Model, where the source says it."""
    scope: str = ""
    """What the sensor covers, in the source's words: `gpu`, `module` (GH200 and GB200 report both), `chassis`, `outlet`, `package`."""
    covers: int = 1
    """How many accelerators (hosts, racks) its values are the sum of: a modelled meter reads a whole pool."""
    counter: bool = False
    """It has an energy counter."""
    counter_range_j: float | None = None
    """The counter starts again at 0 beyond this; None where it does not wrap within a run."""
    averaged_s: float | None = None
    """The power value is an average over so long before it was read; 0: instantaneous; None: not known."""
    power_cap_w: float | None = None
    driver: str = ""


class MeterFacts(Struct, frozen=True, kw_only=True):
    """One meter as it was opened: an item of `meters.json`."""

    name: str
    kind: str
    boundary: ReadBoundary
    basis: ReadBasis
    source: str
    """Where it reads, without secrets."""
    devices: tuple[DeviceFacts, ...]
    period_s: float
    """Between two polls, on average: polls are jittered, so that a load that repeats itself is not always met at the same place."""
    max_gap_s: float
    """Between two updates of a sensor; a longer silence makes the window invalid."""
    stale_s: float
    """A power value that stays bit-equal for longer than this is an old one, whatever stamps it bears: a live sensor flickers in its last
    digit, and an exporter that hangs is scraped on and on."""
    clock_error_s: float = 0.0
    """Its times may be off by so much, either way: of an external log; 0 for what this host read by its own clock."""
    notes: tuple[str, ...] = ()


FaultCode: TypeAlias = Literal[
    "no_readings",  # nothing of this device in the window
    "gap",  # no update for longer than max_gap_s
    "coverage",  # less than 99 % of the window lies between readings that are near enough
    "stale",  # the sensor repeated itself
    "not_finite",  # NaN or infinity
    "negative",  # power or an energy difference below 0
    "counter_reset",  # an energy counter went back, and not by its range; or may have gone through its range more than once
    "counter_edge",  # the counter's steps at the window's edges are more than 1 % of the energy
    "disagree",  # counter and integral differ by more than 5 %
    "undersampled",  # power varies faster than its sensor showed: two standard errors are more than 0.5 %, or fewer than 20 updates
    "clock",  # times went back, or a log's clock may be off by enough to change the energy by more than 1 %
    "missing_device",  # declared and not read
    "extra_device",  # read and not declared
    "order",  # an inner boundary shows more than an outer one, or accelerators what their nameplates rule out
    "mixed",  # sensors of different scope or basis in one sum
    "host",  # node power of a host that also runs the load generator
]
"""Why the energy of a window is not known."""


class EnergyFault(Struct, frozen=True, kw_only=True):
    """One reason, with the sensor that it is about."""

    code: FaultCode
    meter: str
    device: str = ""
    """"" where the whole meter is meant."""
    why: str
    """With the numbers, and what to do."""


class WindowEnergy(Struct, frozen=True, kw_only=True):
    """One boundary's energy over one measure window."""

    boundary: Boundary
    basis: Basis
    meter: str
    valid: bool
    faults: tuple[EnergyFault, ...] = ()
    energy_j: float | None = None
    """Sum over the devices; None where not valid."""
    mean_w: float | None = None
    """energy_j / the window's length."""
    p95_w: float | None = None
    """95th percentile over time of the sum of the devices' power; None where there are only counters that update more rarely than 1 s."""
    coverage: float | None = None
    """Least over the devices: share of the window between readings no further apart than max_gap_s."""
    largest_gap_s: float | None = None
    devices: int = 0
    method: str = ""
    """`counter`, `integral`, or both where devices differ."""
    sampling_error: float | None = None
    """Two standard errors of the mean of polled power, as a share of it; None where counters were used, or updates are too few to say."""
    notes: tuple[str, ...] = ()
    """Caps, throttling, drift: what does not spoil the number and changes how it is read."""


class Meters(Struct, frozen=True, kw_only=True):
    """`meters.json`: what the run was read by."""

    schema: str = "openagentperf/meters/1"
    meters: tuple[MeterFacts, ...]


class IdleSpan(Struct, frozen=True, kw_only=True):
    """A stretch without load, before the first phase or after the last: an item of `idle.json`."""

    when: str
    """`before` or `after`."""
    start_ns: Ns
    end_ns: Ns


class IdleSpans(Struct, frozen=True, kw_only=True):
    """`idle.json`."""

    spans: tuple[IdleSpan, ...]


class IdlePower(Struct, frozen=True, kw_only=True):
    """Power without load, inside one boundary."""

    boundary: Boundary
    basis: Basis
    when: str
    mean_w: float | None
    """None where the energy of the stretch is not valid; a sensor that repeats itself at rest is not believed then either."""
