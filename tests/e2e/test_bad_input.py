"""What a person or a server does wrong before any load: one sentence, an exit status, nothing begun and nothing lost."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from openagentperf import preflight
from openagentperf.sim.spawn import spawned
from small_runs import asked, call, faulty, trajectories, write_corpus, write_plan

pytestmark = [pytest.mark.e2e, pytest.mark.beside]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path)
    return tmp_path


def nothing_begun(folder: Path) -> bool:
    return not [path for path in folder.glob("runs/*") if path.name != "corpora"]


# -- the server --------------------------------------------------------------------------------------------------------------

MISBEHAVIOUR = [
    # mode, options of the server, options of the run, what the sentence says: what is, what was needed, what to do
    ("html", [], [], ["model: /models answers with HTML", "needed: the OpenAI API's JSON", "the base URL usually ends in /v1"]),
    ("html-chat", [], [], ["HTML instead of an event stream", "chat-completions event stream", "`curl -N`"]),
    ("ok", [], ["--model", "nope"], ["'nope' is not served; the server lists 'openagentperf-sim'", "change --model"]),
    ("wrong-model", [], [], ["streaming: HTTP 404: The model `other` does not exist", "check --model"]),
    ("no-usage", [], [], ["usage: the stream carries no token counts", "stream_options.include_usage"]),
    ("no-stream", [], [], ["the server ignored `stream`", "a complete chat-completions event stream"]),
    ("no-done", [], [], ["unterminated: ", "see the server's log"]),
    ("error-in-stream", [], [], ["the engine lost this request", "see the server's log"]),
    ("reset-midstream", [], [], ["reset: ", "see the server's log"]),
    ("dies", ["--after", "0"], [], ["reset: the server closed the connection in the middle of the answer"]),
    ("http500", [], [], ["HTTP 500: EngineCore encountered an issue.", "see the server's log"]),
    ("http429", [], [], ["HTTP 429: Rate limit reached, try again in 1 s.", "see the server's log"]),
    ("ignores-eos-not", [], ["--track", "exact"], ["eos control: the answer has 32 tokens", "exactly 64", "--track natural"]),
    ("cache-off", [], [], ["prefix cache: the same prompt sent twice found 0 of", "at least half", "--enable-prefix-caching"]),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "server", "options", "says"), MISBEHAVIOUR, ids=[row[0] for row in MISBEHAVIOUR])
def test_a_server_that_cannot_be_measured_is_found_before_any_load(
    here: Path, capsys: pytest.CaptureFixture[str], mode: str, server: list[str], options: list[str], says: list[str]
):
    with faulty(mode, *server) as url:
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url, "--json", *options)
    assert ended.status == 5
    assert ended.sentence.startswith(f"preflight of {url}, ")
    for words in says:
        assert words in ended.sentence
    error = json.loads(ended.out)["error"]
    assert error["kind"] == "PreflightError"
    assert error["fix"]
    assert nothing_begun(here)


@pytest.mark.parametrize("mode", ["never-ends", "stall"])
def test_a_stream_without_an_end_is_given_up(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str
):
    monkeypatch.setattr(preflight, "PROBE_TIMEOUT_S", 1.0)
    write_plan(here, ttft_s=0.2)
    with faulty(mode) as url:
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 5
    found = re.search(
        r"no complete answer within 1 s, (\d+) output events came, needed: a complete answer", ended.sentence
    )
    assert found, ended.sentence
    assert int(found[1]) >= 3, "it did answer, and that is said: a server that says nothing has another fault"
    assert nothing_begun(here)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_nobody_listens(here: Path, capsys: pytest.CaptureFixture[str]):
    url = f"http://127.0.0.1:{free_port()}/v1"
    ended = asked(capsys, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 5
    assert ended.sentence == (
        f"preflight of {url}, reachable: {url}: Connection refused, needed: a server that accepts connections: "
        "start the server, or check host and port in --endpoint"
    )
    assert nothing_begun(here)


def test_a_listener_that_never_answers(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The kernel takes the connection for a process that has hung: connecting proves nothing."""
    monkeypatch.setattr(preflight, "REACH_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/v1"
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 5
    assert "reachable: " in ended.sentence
    assert "takes the connection, and does not answer GET /models within" in ended.sentence
    assert "see the server's log" in ended.sentence
    assert nothing_begun(here)


def test_https_against_a_plain_port(here: Path, capsys: pytest.CaptureFixture[str]):
    with faulty("ok") as url:
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url.replace("http://", "https://"))
    assert ended.status == 5
    assert "http://" in ended.sentence.partition(": TLS")[2], "the way out is the other scheme, not another certificate"


def test_a_short_context_names_the_cut_that_fits_and_the_cut_fits(here: Path, capsys: pytest.CaptureFixture[str]):
    write_corpus(here, trajectories(turns=12, words=240))  # up to 950 tokens; the server has 512
    with faulty("small-context") as url:
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url)
        assert ended.status == 5
        assert "context: the context is 512 tokens" in ended.sentence
        found = re.search(r"cut the corpus with (--max-context) (\d+), or serve a longer context", ended.sentence)
        assert found, ended.sentence
        assert nothing_begun(here)
        assert asked(capsys, "preflight", "plan.toml", "--endpoint", url).status == 5
        better = asked(capsys, "preflight", "plan.toml", "--endpoint", url, *found.groups())
    assert better.status == 0, better.out


def test_preflight_alone_says_the_same_with_needed_and_fix(here: Path, capsys: pytest.CaptureFixture[str]):
    with faulty("no-usage") as url:
        ended = asked(capsys, "preflight", "plan.toml", "--endpoint", url)
    assert ended.status == 5
    assert "failed   usage: the stream carries no token counts" in ended.out
    assert "needed: `usage` in the stream" in ended.out
    assert "fix: switch on stream_options.include_usage" in ended.out


def test_a_server_that_does_not_report_its_cache_is_measured_and_labelled(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    write_plan(here, limit=1, certify_phases=1)
    with faulty("no-cache") as url:
        ended = asked(capsys, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 0, ended.err
    assert "warning: prefix cache: the server does not report cached tokens" in ended.err
    assert "--enable-prompt-tokens-details" in ended.err
    assert "cache unverified" in ended.out


# -- the plan ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[rigor]\nsetle_s = 3", "setle_s"),
        ("[serach]\nlimit = 3", "serach"),
        ("[endpoint]\nurl = 'http://127.0.0.1:1/v1'\nmodle = 'x'", "modle"),
        ("[search]\nlimit = 'many'", "Expected `int`, got `str`"),
        ("[search]\nlimit = 0", "`int` >= 1"),
        ("[search", "plan.toml"),
    ],
)
def test_a_plan_with_a_mistake_stops_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str, says: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.toml").write_text(change + "\n")
    ended = asked(capsys, "run", "plan.toml")
    assert ended.status == 2
    assert "plan.toml" in ended.sentence
    assert says in ended.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["plan.toml"]


# -- the corpus --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ["set/trajectories.jsonl: is empty", "at least one trajectory is needed", "openagentperf corpus import"]),
        (b"\n\n  \n", ["is empty", "at least one trajectory is needed"]),
        (b'{"id": 3}\nnot json\n', ["no usable trajectory", "broken lines: 2", "trajectories.jsonl:1"]),
    ],
)
def test_an_empty_corpus_is_a_usage_error(
    here: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: list[str]
):
    (here / "set" / "trajectories.jsonl").write_bytes(content)
    ended = asked(capsys, "run", "plan.toml", "--track", "exact")
    assert ended.status == 2
    for words in says:
        assert words in ended.sentence
    assert nothing_begun(here)
    assert not list(here.glob("runs/corpora/*")), "no half compiled file stays behind"


def test_an_empty_folder_is_a_usage_error(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "nothing").mkdir()
    ended = asked(capsys, "run", "plan.toml", "--corpus", "nothing", "--track", "exact")
    assert ended.status == 2
    assert "is an empty folder" in ended.sentence
    assert ", recordings are needed (" in ended.sentence
    assert "agentperf-local, " in ended.sentence
    assert ended.sentence.rstrip().endswith("): check the path")


def test_broken_lines_are_counted_named_and_left_out_and_the_run_goes_on(tmp_path: Path):
    path = write_corpus(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2:2] = [b'{"id": "cut off, "turns": [\n']
    lines.append(b'{"id": "s9", "turns": []}\n')
    path.write_bytes(b"".join(lines))
    write_plan(tmp_path, limit=1, certify_phases=1, track="exact")
    ended = call(tmp_path, "run", "plan.toml")
    assert ended.status == 0, ended.err
    warning = next(line for line in ended.err.splitlines() if line.startswith("warning: corpus: "))
    assert "6 trajectories, 30 turns" in warning
    assert "2 lines, files or trajectories were left out" in warning
    assert f"{path}:3: " in warning
    assert f"{path}:8: " in warning
    assert "2 lines, files or trajectories of the corpus could not be used" in " ".join(ended.out.split())
    facts = json.loads((tmp_path / ended.folder / "run.json").read_bytes())
    assert [skipped[0] if isinstance(skipped, list) else skipped["where"] for skipped in facts["corpus_skipped"]] == [
        f"{path}:3", f"{path}:8",
    ]  # fmt: skip
    result = json.loads((tmp_path / ended.folder / "result.json").read_bytes())
    assert str(tmp_path) not in json.dumps(result["notes"]), "a result names no path of the machine that made it"


def test_preflight_names_broken_lines_too(here: Path, capsys: pytest.CaptureFixture[str]):
    path = here / "set" / "trajectories.jsonl"
    path.write_bytes(path.read_bytes() + b"x\n" * 7)
    with spawned("openagentperf.sim.serve") as url:
        ended = asked(capsys, "preflight", "plan.toml", "--endpoint", url, "--json")
    assert ended.status == 0, ended.out
    first = json.loads(ended.out)["checks"][0]
    assert (first["name"], first["status"]) == ("corpus", "warning")
    assert f"{path}:7: " in first["found"]
    assert "and 2 more" in first["found"]
