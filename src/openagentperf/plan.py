"""The wish: everything a run was asked to do, as frozen data. Nothing here reads a file (planfile.py does).

A plan file is TOML with these tables; every key has a default except where said, unknown keys are refused:

    rigor = "standard"            # or "quick"; a [rigor] table overrides single fields of the preset named in it
    tiers = "agentperf"           # a preset, a path to a tiers file, or a [[tiers.tier]] table of your own
    seed = 1
    [endpoint]  url, model, ...   # leave the table out for the embedded target
    [simulate]  system, model, deployment   # or for a simulated cluster (openagentperf simulate)
    [workload]  corpus, track, ...
    [search]    start, limit, resolution
    [load]      workers
    [system]    name, accelerator, accelerators, power, prices, meters (system.py)
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from openagentperf.system import System as System
from openagentperf.units import Count, CountOrZero, Fraction, PositiveSeconds, Seconds, TokensPerS

Track: TypeAlias = Literal["natural", "exact"]
Ratio: TypeAlias = Annotated[float, Meta(gt=0, le=100)]


class Tier(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One service level: both limits hold, inclusive, over all measured turns of a phase (docs/methodology.md#verdict)."""

    name: str
    output_speed: TokensPerS
    """P25 of output speed must be at least this (tokens/s)."""
    ttft_s: PositiveSeconds
    """P95 of time to first token must be at most this."""


class TierSet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named, versioned set of tiers; `digest` identifies its content."""

    name: str
    version: str = "1"
    source: str = ""
    tier: Annotated[tuple[Tier, ...], Meta(min_length=1, max_length=16)]

    @property
    def digest(self) -> str:
        return digest_of(self)

    @property
    def loosest(self) -> Tier:
        """The tier that is easiest on speed; ties go to the longer TTFT."""
        return min(self.tier, key=lambda t: (t.output_speed, -t.ttft_s))


class Rigor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long and how often to measure. The two presets are `standard` and `quick` (presets/rigor/*.toml)."""

    preset: str = "standard"
    preliminary: bool = False
    """A preliminary result is called *confirmed*, never *certified*."""
    spawn_per_s: Annotated[float, Meta(gt=0)] = 1.0
    """Agents started per second in the ramp, so that first prefills do not collide."""
    settle_s: Seconds = 60.0
    """After the ramp: load is on, turns are recorded and not scored."""
    search_measure_s: PositiveSeconds = 60.0
    """Shortest measure window of a search phase."""
    measure_s: PositiveSeconds = 600.0
    """Shortest measure window of a certifying phase: AgentPerf asks for ten minutes."""
    search_turns: Count = 200
    """Measured turns that a search phase needs; the window stays open for them, up to `limit_s`."""
    certify_turns: Count = 200
    """Measured turns that the certifying phases of one level need in total."""
    trajectories: CountOrZero = 30
    """Completed trajectories that the certifying phases of one level need in total, at least..."""
    trajectories_per_agent: CountOrZero = 3
    """... and per agent of the level: max(trajectories, trajectories_per_agent x N)."""
    certify_phases: Count = 3
    """Further phases that must all pass for a level to be certified."""
    limit_s: PositiveSeconds = 3600.0
    """A phase ends here whatever is still open; open measured turns count as failed."""
    max_failure_share: Fraction = 0.01
    ttft_drift: Ratio = 0.10
    """TTFT (P50) may rise by this share from the window's first third to its last before it counts as a growing queue."""
    client_error: Ratio = 0.01
    """The client's own error may be this share of a tier's limits; above it the phase is invalid for that tier."""


class Endpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the system under test listens, and how to speak to it."""

    url: str
    """Base URL up to and with `/v1`: http, https, or `unix:/PATH[:/v1]` for a unix socket."""
    urls: Annotated[tuple[str, ...], Meta(max_length=4096)] = ()
    """Where there are several: all of them, `url` first. Agent i speaks to number i modulo how many there are."""
    model: str = ""
    """Served model name; "" takes the only one that /v1/models lists."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key: a key never stands in a plan."""
    ca_file: str = ""
    """PEM file of a private certificate authority."""
    dialect: Literal["chat"] = "chat"
    headers: dict[str, str] = {}
    """Sent with every request; recorded in the result."""
    idle_reuse_s: Seconds = 4.0
    """A connection idle for longer is dialled anew before its next request: common servers close at 5 s."""
    extra_body: dict[str, object] = {}
    """Fields added to every request body, for engines that need one; recorded in the result."""
    continuous_usage: bool = False
    """Ask for usage in every event (vLLM, SGLang): tells how many tokens the first event carries."""

    @property
    def all_urls(self) -> tuple[str, ...]:
        return self.urls or (self.url,)


class Workload(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the agents do."""

    corpus: str = "demo"
    """A generator profile (`demo`, `agentperf`, ...: corpus.profiles), a compiled corpus, a folder of `corpus import`, or recordings."""
    trajectories: Count = 100
    """How many the generator makes, where `corpus` is a profile."""
    track: Track = "natural"
    """`natural`: the model stops by itself; `exact`: ignore_eos with the recorded length. Never mixed."""
    max_context_tokens: Annotated[int, Meta(ge=256, le=4_194_304)] = 131_072
    """A trajectory is cut before the first turn whose input + output is longer (by the corpus's own counts)."""
    max_output_tokens: Count = 16_384
    """`max_tokens` on the natural track."""
    max_tool_delay_s: PositiveSeconds | None = None
    """Longer tool delays are cut to this when the corpus is prepared, and counted in the result's notes. None: as recorded, up to hours
    where a person had to approve a call (docs/methodology.md#workload)."""
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    allow_rewritten_history: bool = False
    """Take trajectories whose history is not append-only without a declared compaction; they are marked in the card."""


class Search(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which levels to try."""

    start: Count = 1
    """First level of the ramp."""
    limit: Count = 4096
    """Never more agents than this; a tier still passing here is reported as `at least`."""
    resolution: Fraction = 0.02
    """Bisect until the bracket is max(1, resolution x N) wide; also the step down after a failed certification."""
    invalid_repeats: Annotated[int, Meta(ge=0, le=2)] = 2
    """How often an invalid phase is repeated before the run ends as invalid. At most 2: more would be a way to re-roll."""


class Load(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    workers: Count = 1
    """Load processes on this host, or on all load hosts together. One drives 20,000 streamed tokens/s or more; see benchmarks/."""
    cores: tuple[CountOrZero, ...] = ()
    """CPU cores for the load processes, shared out in turn; none: any core."""
    dials_per_s: Annotated[float, Meta(gt=0)] = 2000.0
    """New connections a second, of all load processes together. Normal load asks for fewer; after a reset of thousands it is a bound."""


class Simulate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to simulate instead of sending requests (docs/simulate.md): entries of the catalogue, or a run that constants are fitted to."""

    system: str = ""
    model: str = ""
    deployment: str = "default"
    """A deployment that the catalogue knows for the two, or a TOML file."""
    catalog: tuple[str, ...] = ()
    """Files with entries of your own; theirs win."""
    silicon: str = ""
    """Folder with tables of measured kernels, or `aiconfigurator` where it is installed: steps are then sums of these; "": computed."""
    fail_worker: tuple[str, ...] = ()
    """Workers that fail in the middle of every phase: POOL:NUMBER@SECONDS, counted from when its measure window opens."""
    calibrate: str = ""
    """Folder of a measured run: system and model are then what it was measured on."""


class Plan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run was asked to do."""

    tiers: TierSet
    rigor: Rigor = Rigor()
    seed: int = 1
    endpoint: Endpoint | None = None
    """None: the embedded target, a small simulated node on loopback."""
    simulate: Simulate | None = None
    """None: requests are really sent."""
    workload: Workload = Workload()
    search: Search = Search()
    load: Load = Load()
    system: System = System()

    @property
    def digest(self) -> str:
        """64 hex characters that change with any field of the plan."""
        return digest_of(self)

    def slowest_answer_s(self, max_tokens: int) -> float:
        """The longest an honest answer of `max_tokens` may take: TTFT limit + max_tokens / tier speed, over all tiers.

        The turn timeout must not be shorter (docs/methodology.md#failures), or honest long answers fail.
        """
        return max(t.ttft_s + max_tokens / t.output_speed for t in self.tiers.tier)


def digest_of(value: object) -> str:
    """sha256 over canonical JSON (sorted keys): equal content, equal digest, whatever the file looked like."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
