"""From TOML and options to a Plan: what depends on what, and each mistake's sentence."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf import planfile
from openagentperf.errors import PlanError
from openagentperf.plan import Endpoint, Load, Plan, Rigor, Search, System, Tier, TierSet, Workload
from openagentperf.planfile import Overrides

ENDPOINT = '[endpoint]\nurl = "http://127.0.0.1:8000/v1"\n'


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return _write


# --- laws -------------------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
_positive = st.floats(min_value=1e-3, max_value=1e6)
_share = st.floats(min_value=0, max_value=1)
_count = st.integers(1, 10**9)
_json = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
_tiers = st.lists(st.builds(Tier, name=_text, output_speed=_positive, ttft_s=_positive), min_size=1, max_size=4)
_plans = st.builds(
    Plan,
    tiers=st.builds(TierSet, name=_text, version=_text, source=_text, tier=_tiers.map(tuple)),
    rigor=st.builds(
        Rigor,
        preset=_text,
        preliminary=st.booleans(),
        spawn_per_s=_positive,
        settle_s=_positive,
        measure_s=_positive,
        search_turns=_count,
        trajectories=_count,
        limit_s=_positive,
        max_failure_share=_share,
    ),
    seed=st.integers(-(2**63), 2**63 - 1),
    endpoint=st.none()
    | st.builds(
        Endpoint,
        url=_text,
        model=_text,
        headers=st.dictionaries(_text, _text, max_size=3),
        extra_body=st.dictionaries(_text, _json, max_size=3),
        continuous_usage=st.booleans(),
    ),
    workload=st.builds(
        Workload,
        corpus=_text,
        track=st.sampled_from(["natural", "exact"]),
        max_output_tokens=_count,
        max_tool_delay_s=st.none() | _positive,
    ),
    search=st.builds(Search, start=_count, limit=_count, resolution=_share),
    load=st.builds(Load, workers=_count),
    system=st.builds(System, name=_text, accelerator=_text, accelerators=_count),
)


@given(plan=_plans)
def test_a_dumped_plan_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, plan: Plan):
    path = tmp_path_factory.getbasetemp() / "dumped.toml"
    path.write_bytes(planfile.dump(plan))
    again = planfile.read(path)
    assert again == plan
    assert again.digest == plan.digest


@given(
    rigor=st.sampled_from(["quick", "standard"]),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "certify_phases": st.integers(1, 9),
            "ttft_drift": st.floats(0.01, 1),
            "certify_turns": st.integers(1, 999),
        },
    ),
    tiers=st.sampled_from(sorted(planfile.tier_presets())),
    endpoint=st.booleans(),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_a_loaded_plan_loads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    rigor: str,
    changes: dict[str, object],
    tiers: str,
    endpoint: bool,
    seed: int,
):
    path = tmp_path_factory.getbasetemp() / "wish.toml"
    lines = "".join(f"{name} = {value}\n" for name, value in changes.items())
    path.write_text(
        f'tiers = "{tiers}"\nseed = {seed}\n{ENDPOINT if endpoint else ""}[rigor]\npreset = "{rigor}"\n{lines}'
    )
    plan = planfile.load(path)
    path.write_bytes(planfile.dump(plan))
    assert planfile.load(path) == planfile.read(path) == plan


# --- what is filled in ------------------------------------------------------------------------------------------------------


def test_without_anything_it_is_a_quick_exact_run_of_the_embedded_target():
    plan = planfile.load(None)
    assert (plan.endpoint, plan.workload.track, plan.rigor.preset, plan.rigor.preliminary) == (
        None,
        "exact",
        "quick",
        True,
    )
    assert plan.tiers == planfile.tier_presets()["agentperf"]


def test_with_an_endpoint_it_is_a_standard_natural_run():
    plan = planfile.load(None, Overrides(endpoint="http://127.0.0.1:8000/v1"))
    assert (plan.workload.track, plan.rigor, plan.rigor.preliminary) == ("natural", Rigor(), False)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("", 180),  # quick: (20 - 2 settle - 6 measure - 3 drain) s x 20/s
        (ENDPOINT, 2937),  # standard: (3600 - 60 - 600 - 3) s x 1/s
        (ENDPOINT + "[rigor]\nspawn_per_s = 4", 4096),  # 11,748 would fit: the default is the lid
        ('tiers = "aa-gpt-oss-120b"', 220),  # its strictest TTFT limit is 1 s: (20 - 2 - 6 - 1) x 20
        (
            'tiers = "aa-deepseek-v3.2-2026-05"',
            120,
        ),  # 15 s of TTFT, but no drain longer than a window: (20 - 2 - 6 - 6) x 20
        ("[search]\nlimit = 7", 7),
    ],
)
def test_the_search_limit_is_what_fits_in_a_phase(write, text: str, limit: int):
    assert planfile.load(write(text)).search.limit == limit


@pytest.mark.parametrize(
    ("text", "name", "preliminary"),
    [
        (ENDPOINT, "standard", False),
        (ENDPOINT + "[rigor]\nmeasure_s = 600", "standard", False),  # as in the preset: no change
        (ENDPOINT + "[rigor]\nmeasure_s = 900", "standard (changed: measure_s)", False),  # more is not weaker
        (ENDPOINT + "[rigor]\nmeasure_s = 599", "standard (changed: measure_s)", True),
        (
            ENDPOINT + "[rigor]\ncertify_phases = 1\nclient_error = 0.5",
            "standard (changed: certify_phases, client_error)",
            True,
        ),
        (
            ENDPOINT + "[rigor]\nsearch_turns = 20",
            "standard (changed: search_turns)",
            False,
        ),  # search phases certify nothing
        ('[rigor]\npreset = "quick"\ncertify_turns = 300', "quick (changed: certify_turns)", True),
        ("[rigor]\ncertify_turns = 300", "quick (changed: certify_turns)", True),  # embedded: quick is the base
    ],
)
def test_a_changed_rigor_says_so_and_a_weaker_one_is_preliminary(write, text: str, name: str, preliminary: bool):
    rigor = planfile.load(write(text)).rigor
    assert (rigor.preset, rigor.preliminary) == (name, preliminary)


def test_options_win_over_the_file(write):
    path = write('seed = 3\n[workload]\ncorpus = "agentperf"\n[search]\nlimit = 5\n' + ENDPOINT)
    plan = planfile.load(
        path, Overrides(seed=4, limit=6, corpus="demo", tiers="aa-gpt-oss-120b", rigor="quick", accelerators=8)
    )
    assert (plan.seed, plan.search.limit, plan.workload.corpus, plan.system.accelerators) == (4, 6, "demo", 8)
    assert (plan.tiers.name, plan.rigor.preset) == ("aa-gpt-oss-120b", "quick")


def test_tool_delays_are_as_recorded_unless_told(write):
    assert planfile.load(write("")).workload.max_tool_delay_s is None
    path = write("[workload]\nmax_tool_delay_s = 90\n")
    assert planfile.load(path).workload.max_tool_delay_s == 90
    assert planfile.load(path, Overrides(max_tool_delay=0.5)).workload.max_tool_delay_s == 0.5


@pytest.mark.parametrize(
    ("delay_s", "sentence"),
    [
        (0.0, "--max-tool-delay: Expected `float` > 0.0 - at `$.workload.max_tool_delay_s`: correct it"),
        (float("inf"), "--max-tool-delay: is inf, a finite number was needed: write a number"),
        (float("nan"), "--max-tool-delay: is nan, a finite number was needed: write a number"),
    ],
)
def test_a_longest_tool_delay_is_a_positive_finite_number(delay_s: float, sentence: str):
    with pytest.raises(PlanError) as caught:
        planfile.load(None, Overrides(max_tool_delay=delay_s))
    assert caught.value.sentence().startswith(sentence)


def test_paths_in_a_plan_are_relative_to_it_and_options_to_the_working_folder(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path, elsewhere):
        (folder / "recordings").mkdir(parents=True)
        (folder / "ca.pem").write_text("")
    (tmp_path / "mine.toml").write_text('name = "mine"\n[[tier]]\nname = "a"\noutput_speed = 1\nttft_s = 1\n')
    path = write(f'tiers = "mine.toml"\n[workload]\ncorpus = "recordings"\n{ENDPOINT}ca_file = "ca.pem"\n')
    monkeypatch.chdir(elsewhere)
    plan = planfile.load(path)
    assert plan.endpoint is not None
    assert plan.workload.corpus == str(tmp_path / "recordings")
    assert plan.endpoint.ca_file == str(tmp_path / "ca.pem")
    assert plan.tiers.name == "mine"
    assert planfile.load(path, Overrides(corpus="recordings")).workload.corpus == str(elsewhere / "recordings")


def test_own_tiers_stand_in_the_plan(write):
    plan = planfile.load(write('[[tiers.tier]]\nname = "x"\noutput_speed = 5\nttft_s = 9\n'))
    assert plan.tiers == TierSet(name="own", tier=(Tier(name="x", output_speed=5, ttft_s=9),))


def test_a_run_folder_s_plan_reads_without_its_surroundings(write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAGENTPERF_TEST_KEY", "secret")
    path = write(ENDPOINT + 'api_key_env = "OPENAGENTPERF_TEST_KEY"\n')
    path.write_bytes(planfile.dump(planfile.load(path)))
    assert b"secret" not in path.read_bytes()
    monkeypatch.delenv("OPENAGENTPERF_TEST_KEY")
    assert planfile.read(path).endpoint is not None
    with pytest.raises(PlanError, match="OPENAGENTPERF_TEST_KEY`, which is not set"):
        planfile.load(path)


# --- mistakes ---------------------------------------------------------------------------------------------------------------

TIER = '[[tiers.tier]]\nname = "a"\noutput_speed = 1\nttft_s = 1\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[rigor]\nsetle_s = 1",
            "Object contains unknown field `setle_s` - at `$.rigor`: remove it, or use one of: settle_s",
        ),
        ("sede = 1", "Object contains unknown field `sede` - at `$`: remove it, or use one of: seed"),
        ('corpus = "demo"', "Object contains unknown field `corpus` - at `$`: move it to [workload]"),
        (
            TIER + "ttft = 1",
            "Object contains unknown field `ttft` - at `$.tiers.tier[0]`: remove it, or use one of: ttft_s",
        ),
        ('seed = "one"', "Expected `int`, got `str` - at `$.seed`: correct it (docs/plan.md lists every key)"),
        ("[load]\nworkers = 0", "Expected `int` >= 1 - at `$.load.workers`: correct it (docs/plan.md lists every key)"),
        (
            "[search]\ninvalid_repeats = 3",  # a way to roll the dice again
            "Expected `int` <= 2 - at `$.search.invalid_repeats`: correct it (docs/plan.md lists every key)",
        ),
        (
            '[[tiers.tier]]\nname = "a"\nttft_s = 1',
            "Object missing required field `output_speed` - at `$.tiers.tier[0]`: add output_speed",
        ),
        (TIER + TIER, "two tiers are named `a`, a result is told apart by its tier's name: rename one"),
        ("seed =", "is not TOML (Invalid value (at end of document)): correct that line"),
        ("[rigor]\nlimit_s = inf", "`$.rigor.limit_s` is inf, a finite number was needed: write a number"),
        ('endpoint = "http://x/v1"', "`endpoint` is 'http://x/v1', a table was needed: write [endpoint]"),
        (
            '[endpoint]\nmodel = "m"',
            "describes an endpoint without its address, a URL was needed: add --endpoint URL, or url in [endpoint]",
        ),
        ("rigor = 3", '`rigor` is 3, a preset\'s name or a table was needed: write rigor = "quick"'),
        ('rigor = "quik"', "no rigor `quik`, a preset was needed: use one of: quick"),
        (
            '[rigor]\npreset = "quick"\npreliminary = false',
            (
                "rigor.preliminary is false, but settle_s is 2, a result is certified only with 60 as in "
                "`standard`: leave preliminary out, or use the standard's"
            ),
        ),
        (
            ENDPOINT + "[search]\nlimit = 64\n[rigor]\nlimit_s = 700",
            (
                "rigor.limit_s is 700 s, but ramp + settle + measure + drain of 64 agents need "
                "727 s: raise limit_s to 727 or more, lower search.limit to 37 or less, or shorten measure_s"
            ),
        ),
        (
            ENDPOINT + "[rigor]\nlimit_s = 300",
            (
                "rigor.limit_s is 300 s, but ramp + settle + measure + drain of 4096 agents need 4759 s: raise limit_s "
                "to 4759 or more, or shorten measure_s"
            ),
        ),
        ("[search]\nstart = 9\nlimit = 4", "search.start is 9, but search.limit is 4: lower start or raise limit"),
        (
            '[workload]\ntrack = "natural"',
            (
                "workload.track is natural and there is no endpoint, a model that stops by itself was needed, and the "
                "embedded target is a simulation: leave the track out, or add --endpoint URL"
            ),
        ),
        (
            "[workload]\nmax_context_tokens = 512\nmax_output_tokens = 513",
            ("workload.max_output_tokens is 513, but max_context_tokens is 512: lower max_output_tokens"),
        ),
        (
            '[endpoint]\nurl = "localhost:8000"',
            (
                "endpoint.url is `localhost:8000`, an http or https URL, or unix:/PATH, was needed: write it like "
                "http://127.0.0.1:8000/v1"
            ),
        ),
        (
            '[endpoint]\nurl = "http://[::1"',
            "endpoint.url is `http://[::1`, an http or https URL, or unix:/PATH, was needed: write it like http://127.0.0.1:8000/v1",
        ),
        (
            '[endpoint]\nurl = "http://me:pw@host/v1"',
            (
                "the endpoint's url or headers hold a secret, a plan is copied into the run folder: put the key "
                "into an environment variable and name it in api_key_env"
            ),
        ),
        (
            ENDPOINT + "headers = {Authorization = 'Bearer x'}",
            (
                "the endpoint's url or headers hold a secret, a plan is copied into the run folder: put "
                "the key into an environment variable and name it in api_key_env"
            ),
        ),
        (
            ENDPOINT + 'api_key_env = "sk-123"',
            (
                "endpoint.api_key_env is not a variable's name, the name, never the key, was needed: put the key into an "
                "environment variable and give its name"
            ),
        ),
    ],
)
def test_a_mistake_names_file_key_and_remedy(write, text: str, sentence: str):
    path = write(text)
    with pytest.raises(PlanError) as caught:
        planfile.load(path)
    assert caught.value.sentence() == f"{path}: {sentence}"
    assert "sk-123" not in caught.value.sentence()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"workers": 0},
            "--workers: Expected `int` >= 1 - at `$.load.workers`: correct it (docs/plan.md lists every key)",
        ),
        (
            {"model": "m"},
            "--model: describes an endpoint without its address, a URL was needed: add --endpoint URL, or url in [endpoint]",
        ),
        (
            {"tiers": "agentpref"},
            (
                "--tiers: no tiers `agentpref`, a preset or a tiers file was needed: use one of: agentperf, or the path of a "
                "TOML file with [[tier]] tables"
            ),
        ),
        (
            {"tiers": "zzz"},
            (
                "--tiers: no tiers `zzz`, a preset or a tiers file was needed: use one of: aa-deepseek-v3.2-2026-05, aa-deepseek-v4-pro, "
                "aa-gpt-oss-120b, agentperf, or the path of a TOML file with [[tier]] tables"
            ),
        ),
        (
            {"endpoint": "host"},
            "--endpoint: endpoint.url is `host`, an http or https URL, or unix:/PATH, was needed: write it like http://127.0.0.1:8000/v1",
        ),
        (
            {"limit": 10_000},
            (
                "--limit: rigor.limit_s is 20 s, but ramp + settle + measure + drain of 10000 agents need 511 s: raise limit_s to 511 or "
                "more, lower search.limit to 180 or less, or shorten measure_s"
            ),
        ),
    ],
)
def test_a_mistake_in_an_option_names_the_option(given: dict[str, str], sentence: str):
    with pytest.raises(PlanError) as caught:
        planfile.load(None, msgspec.convert(given, Overrides))
    assert caught.value.sentence() == sentence


def test_files_that_are_not_there(write, tmp_path: Path):
    with pytest.raises(PlanError, match=r"nothing.toml: cannot be read \(No such file or directory\)"):
        planfile.load(tmp_path / "nothing.toml")
    with pytest.raises(PlanError, match=r"recordings`, which does not exist, .*: use one of: agentperf, demo, .*; or"):
        planfile.load(write('[workload]\ncorpus = "recordings"'))
    with pytest.raises(PlanError, match=r"ca.pem`, which is not a file, a PEM file was needed: correct the path"):
        planfile.load(write(ENDPOINT + 'ca_file = "ca.pem"'))


def test_a_plan_that_is_not_text(tmp_path: Path):
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="is not TOML"):
        planfile.load(tmp_path / "plan.toml")


# --- several endpoints ------------------------------------------------------------------------------------------------------

A, B, C = ("http://10.0.0.1/v1", "http://[fd00::2]:8000/v1", "unix:/run/engine.sock")


@pytest.mark.parametrize(
    ("table", "options", "url", "urls"),
    [
        (f'url = "{A}"', None, A, ()),
        (f'urls = ["{A}", "{B}", "{C}"]', None, A, (A, B, C)),
        (f'url = "{A}"\nurls = ["{A}", "{B}"]', None, A, (A, B)),
        (f'urls = ["{A}"]', None, A, ()),  # one is one, however it is written
        (f'urls = ["{A}", "{B}"]', [C], C, ()),  # options win
        (f'url = "{A}"', [C, B], C, (C, B)),
        ("", [A, C], A, (A, C)),
    ],
)
def test_one_endpoint_or_several(
    tmp_path: Path, table: str, options: list[str] | None, url: str, urls: tuple[str, ...]
):
    path = tmp_path / "plan.toml"
    path.write_text(f"[endpoint]\n{table}\n")
    plan = planfile.load(path, Overrides(endpoint=options))
    assert plan.endpoint is not None
    assert (plan.endpoint.url, plan.endpoint.urls) == (url, urls)
    assert plan.endpoint.all_urls == (urls or (url,))
    path.write_bytes(planfile.dump(plan))
    assert planfile.load(path) == planfile.read(path) == plan


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            f'url = "{B}"\nurls = ["{A}", "{B}"]',
            "endpoint.urls begins with `http://10.0.0.1/v1`: leave url out: it is the first of urls",
        ),
        (f'urls = ["{A}", "{A}"]', "`http://10.0.0.1/v1` is named twice"),
        (f'urls = ["{A}", "http://user:secret@h/v1"]', "hold a secret"),
        (
            f'urls = ["{A}", "10.0.0.2:8000"]',
            "endpoint.url is `10.0.0.2:8000`, an http or https URL, or unix:/PATH, was needed",
        ),
        (
            'url = "unix:engine.sock"',
            "endpoint.url is `unix:engine.sock`, an http or https URL, or unix:/PATH, was needed",
        ),
        ("urls = []", "describes an endpoint without its address"),
        (f'urls = "{A}"', "describes an endpoint without its address"),
    ],
)
def test_what_several_endpoints_cannot_be(tmp_path: Path, table: str, said: str):
    path = tmp_path / "plan.toml"
    path.write_text(f"[endpoint]\n{table}\n")
    with pytest.raises(PlanError, match=re.escape(said)):
        planfile.load(path)
