"""Docs that cannot rot: commands parse, options and keys and columns are listed, links and anchors lead somewhere, examples load."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
from typer.main import get_command

from openagentperf import __version__, plan, planfile
from openagentperf.cli.main import app
from openagentperf.cli.summary import summary
from openagentperf.errors import OpenAgentPerfError
from openagentperf.planfile import Overrides
from openagentperf.records.turns import ClientSample, TurnRow
from test_display import result, tier

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
FLOORS = ("units.py", "cli")


def commands(text: str) -> Iterator[str]:
    """Every line that begins with the program: in an indented block, a fence, or an example's comment."""
    for line in text.splitlines():
        if found := re.match(r"(?:    |#     |\t)?(?:\.venv/bin/)?openagentperf ([a-z-][^`|#]*?)(?:   .*)?$", line):
            yield found[1].strip()


def parse(line: str) -> None:
    """Parse a command line by the real command tree, and run nothing."""
    context = get_command(app).make_context("openagentperf", shlex.split(line), resilient_parsing=False)
    command, name = context.command, "openagentperf"
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def leaves(command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


DOCUMENTED = [(page.relative_to(ROOT), line) for page in [*PAGES, *EXAMPLES] for line in commands(page.read_text())]


def test_the_readme_s_and_manual_s_commands_are_found():
    assert {str(page) for page, _ in DOCUMENTED} >= {"README.md", "docs/cli.md", "examples/embedded.toml"}
    assert len(DOCUMENTED) >= 20


@pytest.mark.parametrize(("page", "line"), DOCUMENTED, ids=lambda value: str(value))
def test_every_documented_command_parses(page: Path, line: str):
    parse(line)


@pytest.mark.parametrize("target", ["endpoint", "embedded simulated node"])
@pytest.mark.parametrize("standing", ["confirmed", "unfinished"])
def test_every_command_that_a_summary_offers_parses(target: str, standing: str):
    offered = list(commands(summary(result(tier(standing=standing), target=target), "runs/x")))
    assert len(offered) >= 2
    for line in offered:
        parse(line)


NEEDS = {
    r"dashboard\b": "dash",
    r"corpus (?:keygen|seal|unseal|reveal|check)\b": "seal",
    r"(?:bundle|verify)\b.* --key\b": "seal",
    r"power probe\b": "power",
    r"(?:run|watch)\b.* --otlp\b": "otel",
    r"corpus fetch\b": "fetch",
    r"corpus build\b.* --tokenizer (?!estimate\b)": "tokenizers",
}
"""By how a command begins: the extra that it cannot do without (`power probe`: for NVIDIA's devices)."""
FIRST_PAGES = ("README.md", "docs/tutorial.md")
"""What is read before anything is installed: a command that needs an extra stands below the line that installs it."""


def named(text: str) -> Iterator[tuple[int, str]]:
    """Place and text of every command that a page names: its own lines, and those within a sentence."""
    for found in re.finditer(
        r"^    (?:\.venv/bin/)?openagentperf (.+)$|`(?:openagentperf )?([a-z][^`\n]*)`", text, re.MULTILINE
    ):
        yield found.start(), found[1] or found[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_needs_an_extra_stands_where_the_extra_is_named(page: Path):
    """The commands of pages are run in an environment that has every extra, where nobody would miss one."""
    text, name = page.read_text(), str(page.relative_to(ROOT))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed: list[tuple[int, str]] = []
    for line in re.finditer(r"^    \.venv/bin/pip install -e '\.\[([\w,]+)\]'$", text, re.MULTILINE):
        assert set(line[1].split(",")) <= extras.keys()
        installed += [(line.start(), extra) for extra in line[1].split(",")]
    if name in ("AGENTS.md", "CHANGELOG.md"):
        return
    for at, command in named(text):
        for start, extra in NEEDS.items():
            if not re.match(start, command):
                continue
            if name in FIRST_PAGES:
                assert any(place < at and it == extra for place, it in installed), f"{command}: no extra {extra} above"
            else:
                assert re.search(rf"`{extra}`|\[[\w,]*{extra}[\w,]*\]", text), (
                    f"{command}: the page names no extra {extra}"
                )


def test_a_wrong_command_does_not_parse():
    for line in ("run --endpiont http://x/v1", "scor runs/x", "run --track wild", "score"):
        with pytest.raises(typer.BadParameter.__bases__[0]):
            parse(line)


def test_every_command_and_option_stands_in_the_manual():
    manual = (ROOT / "docs/cli.md").read_text()
    for path, command in leaves(get_command(app)):
        name = " ".join(path)
        assert command.help, name
        section = re.search(rf"^## {path[0]}\n.*?(?=^## |\Z)", manual, re.MULTILINE | re.DOTALL)
        assert section, path[0]
        assert f"openagentperf {name}" in section[0]
        shared = re.search(r"^## run\n.*?(?=^## )", manual, re.MULTILINE | re.DOTALL)
        where = section[0] + (shared[0] if path == ("preflight",) and shared else "")
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in where, f"{name} {option}"


def test_the_manual_names_no_option_that_is_not_there():
    real = {option for _, command in leaves(get_command(app)) for p in command.params for option in p.opts} | {
        "--version",
        "--help",
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "docs/cli.md").read_text())) <= real


def test_every_override_is_an_option_of_run_and_has_a_plan_key():
    options = {
        name
        for path, command in leaves(get_command(app))
        if path == ("run",)
        for name in (p.name for p in command.params)
    }
    assert set(Overrides.__struct_fields__) <= options
    assert set(planfile._PLACES) == set(Overrides.__struct_fields__)


def test_every_plan_key_stands_in_the_plan_s_page():
    page = (ROOT / "docs/plan.md").read_text()
    for title, struct in [
        ("Top level", plan.Plan), ("[rigor]", plan.Rigor), ("[tiers]", plan.TierSet), ("[tiers]", plan.Tier), ("[endpoint]", plan.Endpoint),
        ("[workload]", plan.Workload), ("[search]", plan.Search), ("[load]", plan.Load), ("[system]", plan.System),
    ]:  # fmt: skip
        section = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        assert section, title
        for field in struct.__struct_fields__:
            table = msgspec.structs.fields(plan.Plan) if struct is plan.Plan else ()
            if field in {f.name for f in table} and f"## [{field}]" in page and field not in ("rigor", "tiers"):
                continue  # a table of its own
            assert f"`{field}`" in section[0] or f"[[tiers.{field}]]" in section[0], f"{title} {field}"


@pytest.mark.parametrize(("name", "row"), [("turns.parquet", TurnRow), ("client.parquet", ClientSample)])
def test_the_columns_page_lists_each_column_and_no_other(name: str, row: type[msgspec.Struct]):
    page = (ROOT / "docs/run-folder.md").read_text()
    section = re.search(rf"^## {name}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section
    assert tuple(re.findall(r"^\| (\w+) \| ", section[0], re.MULTILINE))[1:] == row.__struct_fields__


def anchors(page: Path) -> set[str]:
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_anchor_that_the_code_names_exists():
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    named = {(found[1], found[2], path.name) for path in sources
             for found in re.finditer(r"(docs/[\w./-]+\.(?:md|json))(?:#([\w-]+))?", path.read_text())}  # fmt: skip
    assert len(named) > 20
    for page, anchor, source in sorted(named, key=str):
        assert (ROOT / page).is_file(), f"{source} names {page}"
        assert not anchor or anchor in anchors(ROOT / page), f"{source} names {page}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_index_lists_every_page():
    index = (ROOT / "docs/index.md").read_text()
    for path in (ROOT / "docs").iterdir():
        if path.name != "index.md":
            assert f"({path.name}{'/' if path.is_dir() else ''})" in index, path.name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_and_explains_itself(path: Path):
    loaded = planfile.load(path)
    text = path.read_text()
    assert text.startswith("# ")
    assert f"openagentperf run examples/{path.name}" in text
    assert (loaded.endpoint is None) == ("[endpoint]" not in text.replace("no [endpoint]", ""))


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


def test_the_plan_page_s_example_loads(tmp_path: Path):
    fence = re.search(r"```toml\n(.*?)```", (ROOT / "docs/plan.md").read_text(), re.DOTALL)
    assert fence
    (tmp_path / "plan.toml").write_text(fence[1])
    assert planfile.load(tmp_path / "plan.toml").rigor.preset == "quick"


def test_the_presets_of_the_methodology_are_those_shipped():
    page = (ROOT / "docs/methodology.md").read_text()
    for name, tiers in planfile.tier_presets().items():
        limits = ", ".join(f"{t.output_speed:g}/{t.ttft_s:g}" for t in tiers.tier)
        assert re.search(rf"^\| `{re.escape(name)}`[^|]*\| {re.escape(limits)} \|$", page, re.MULTILINE), name


def test_the_exit_codes_of_the_manual_are_those_of_the_errors():
    manual = (ROOT / "docs/cli.md").read_text().split("## Exit codes")[1]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", manual, re.MULTILINE)}
    kinds = [OpenAgentPerfError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert {kind.exit_code for kind in kinds} <= listed
    assert {0, 3, 130} <= listed


def test_the_changelog_knows_this_version_or_what_is_to_come():
    assert re.search(
        rf"^## \[(Unreleased|{re.escape(__version__)})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def test_agents_md_is_one_page():
    assert len((ROOT / "AGENTS.md").read_text().split()) <= 700
