"""Scrubbing: what is found, what stays; and laws: no planted secret survives, a value has one placeholder, JSON stays JSON.

The secrets here are made up, and put together from pieces, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import itertools
import json
import string
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.corpus.scrub import Scrubber
from openagentperf.corpus.scrubrules import Rules
from openagentperf.errors import UsageError
from openagentperf.scrubfile import default_rules, load_rules

RULES = default_rules()
LETTERS, DIGITS = string.ascii_letters, string.digits
RUN = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
"""36 letters and digits."""


def scrubbed(text: str) -> str:
    return Scrubber(RULES).text(text)


@pytest.mark.parametrize(
    ("text", "secret", "rule"),
    [
        ("key sk" + f"-ant-api03-{RUN} end", RUN, "anthropic-key"),
        ("key sk" + f"-proj-{RUN}", RUN, "openai-key"),
        ("gh" + f"p_{RUN}", RUN, "github-token"),
        ("github" + f"_pat_{RUN}", RUN, "github-token"),
        ("AK" + "IAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE", "aws-key"),
        ("AI" + f"za{RUN[:35]}", RUN[:35], "google-key"),
        ("xo" + "xb-123456789012-abcdef", "123456789012-abcdef", "slack-token"),
        ("ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0", "jwt"),
        (f"Authorization: Bearer {RUN}", RUN, "bearer-token"),
        (f"-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: A-B\n{RUN}\n-----END RSA PRIVATE KEY-----", RUN, "private-key"),
        (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{RUN}", RUN, "private-key"),  # cut off by a tool
        ("postgres://app:hunter2@db:5432/x", "hunter2", "url-password"),
        ("export DB_PASSWORD=correct-horse", "correct-horse", "environment-secret"),
        ('STRIPE_KEY="two words"', "two words", "environment-secret"),
        ('"client_secret": "correcthorse"', "correcthorse", "assigned-secret"),
        ("apiKey = 'correcthorse'", "correcthorse", "assigned-secret"),
        ("password: hunter22", "hunter22", "assigned-secret"),
        ("mail alice.b@corp.io", "alice.b", "e-mail"),
        ("cd /home/alice-b/work", "alice-b", "home-path"),
        ("/Users/alice", "alice", "home-path"),
        (r"C:\Users\alice\x", "alice", "home-path"),
        (r"C:\Users\Alice Smith\x", "Smith", "home-path"),
        ("~/.claude/projects/-home-alice-work", "alice", "home-path"),
        ("\x1b[32msk" + f"-proj-{RUN}", RUN, "openai-key"),  # coloured: the m stands before the key
    ],
)
def test_a_secret_is_found_and_counted(text: str, secret: str, rule: str) -> None:
    scrubber = Scrubber(RULES)
    assert secret not in scrubber.text(text)
    assert scrubber.distinct[rule] == 1


def test_the_second_key_of_aws_is_found_beside_the_first() -> None:
    second = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert len(second) == 40
    assert second not in scrubbed("AK" + f"IAIOSFODNN7EXAMPLE,{second}")
    assert second in scrubbed(f"a hash of some file: {second}")


@pytest.mark.parametrize(
    "text",
    [
        "task-force-of-the-many-people-here-1A",  # no `sk-`: a letter stands before it
        "git clone git@github.com:o/r.git",
        "numpy: a@b.T, npm: react@18.2.0",
        "user@example.com",  # belongs to nobody
        'token = os.environ["TOKEN"]',
        "password = get_password_v2(user)",
        "api_key: Optional[str]",
        "OPENAI_API_KEY=$OPENAI_API_KEY",
        "token: ${{ secrets.DEPLOY_TOKEN }}",
        "API_KEY=<your key>",
        "max_tokens: 4096",
        "PWD=/srv/app",
        "Basic authentication is not recommended",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrubbed(text) == text


def test_the_same_value_has_one_placeholder_of_its_length_and_another_value_another() -> None:
    scrubber = Scrubber(RULES)
    first, second = "gh" + f"p_{RUN}", "gh" + f"p_{RUN[::-1]}"
    once = scrubber.text(f"{first} {second}")
    assert once.split() == [scrubber.text(first), scrubber.text(second)]
    assert scrubber.text(first) != scrubber.text(second)
    assert len(once) == len(f"{first} {second}")
    assert scrubber.text("/home/alice/a /home/bob/b /home/alice/c") == "/home/u1u1u/a /home/u2u/b /home/u1u1u/c"
    assert scrubber.replaced["home-path"] == 3
    assert scrubber.distinct["home-path"] == 2


def test_a_value_has_the_same_placeholder_wherever_it_stands() -> None:
    key = "sk" + f"-proj-{RUN}"
    scrubber = Scrubber(RULES)
    alone = scrubber.text(key)
    assert scrubber.text(f"export OPENAI_API_KEY={key}") == f"export OPENAI_API_KEY={alone}"
    assert scrubber.text(f'{{"api_key": "{key}"}}') == f'{{"api_key": "{alone}"}}'
    assert scrubber.distinct.total() == 1


def test_finds_that_overlap_leave_nothing_of_either() -> None:
    assert scrubbed("PASSWORD=a/home/alice/b!c") == "PASSWORD=scrubbed1scrubbe"


ALNUM = st.text(LETTERS + DIGITS, min_size=24, max_size=40).filter(
    lambda run: any(c.isdigit() for c in run) and any(c.isupper() for c in run) and any(c.islower() for c in run)
)
NAMES = st.text(string.ascii_lowercase, min_size=5, max_size=12).filter(lambda name: name not in "scrubbed")
SECRETS: st.SearchStrategy[tuple[str, str]] = st.one_of(
    *(
        ALNUM.map(lambda run, prefix=prefix: (prefix + run, run))
        for prefix in ("sk" + "-ant-", "sk" + "-", "gh" + "p_", "github" + "_pat_", "h" + "f_", "gl" + "pat-", "Bearer ")
    ),
    ALNUM.map(lambda run: ("ey" + f"J{run}.{run}", run)),
    st.text(string.ascii_uppercase + DIGITS, min_size=16, max_size=16).map(lambda run: ("AK" + "IA" + run, run)),
    st.text(LETTERS + DIGITS + "_-", min_size=35, max_size=35).map(lambda run: ("AI" + "za" + run, run)),
    ALNUM.map(lambda run: (f"-----BEGIN PRIVATE KEY-----\n{run}\n-----END PRIVATE KEY-----", run)),
    ALNUM.map(lambda run: (f"DB_PASSWORD={run}", run)),
    ALNUM.map(lambda run: (f'"secret": "{run}"', run)),
    ALNUM.map(lambda run: (f"redis://x:{run}@cache:6379", run)),
    NAMES.map(lambda name: (f"{name}.q7@corp.io", name)),
    NAMES.map(lambda name: (f"/home/{name}/src", name)),
    NAMES.map(lambda name: (f"C:\\Users\\{name}\\src", name)),
)  # fmt: skip
AROUND = st.text(alphabet=" \n\té\\\"'{}[]:,.;<>()\U0001f600", max_size=8)
"""What may stand beside a secret; letters could make it another word."""


def spelt(text: str, escape: Iterator[bool]) -> str:
    """A JSON string of `text`, each character at whose turn `escape` is True as \\uXXXX, `/` as \\/."""
    pieces = []
    for character in text:
        escaped = next(escape)
        if character == "/" and escaped:
            pieces.append("\\/")
        elif escaped:
            units = character.encode("utf-16-be")
            pieces += [f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)]
        else:
            pieces.append(json.dumps(character, ensure_ascii=False)[1:-1])
    return '"' + "".join(pieces) + '"'


@given(planted=SECRETS, before=AROUND, after=AROUND, depth=st.integers(1, 3), data=st.data())
def test_no_planted_secret_survives_whatever_escapes_it_is_written_with(
    planted: tuple[str, str], before: str, after: str, depth: int, data: st.DataObject
) -> None:
    whole, secret = planted
    text = f"{before} {whole} {after}"
    for _ in range(depth):  # JSON in a string of JSON in a string: arguments of a tool call hold such
        turn = itertools.cycle(data.draw(st.lists(st.booleans(), min_size=1, max_size=7)))
        text = spelt(text, turn)
    body = f'{{"content":{text},"n":1.50}}'.encode()
    out = Scrubber(RULES).json(body)
    left = json.loads(out)
    assert out.endswith(b',"n":1.50}'), "what is no string keeps its bytes"
    inner = left["content"]
    for _ in range(depth - 1):
        assert secret not in inner
        inner = json.loads(inner)
    assert secret not in inner


@given(text=st.text(max_size=60), planted=st.lists(SECRETS, max_size=3))
def test_scrubbing_twice_is_scrubbing_once(text: str, planted: list[tuple[str, str]]) -> None:
    scrubber = Scrubber(RULES)
    once = scrubber.text(" ".join([text, *(whole for whole, _ in planted), text]))
    assert scrubber.text(once) == once
    assert Scrubber(RULES).text(once) == once, "also by somebody who has not seen the first time"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | SECRETS.map(lambda planted: planted[0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(value=JSON_VALUES, ascii_only=st.booleans())
def test_scrubbed_json_is_json_of_the_same_shape(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    out = Scrubber(RULES).json(body)
    assert shape(json.loads(out)) == shape(value)


def shape(value: object) -> object:
    if isinstance(value, dict):
        return [shape(item) for item in value.values()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


def test_half_a_surrogate_pair_and_foreign_bytes_are_no_trouble() -> None:
    assert Scrubber(RULES).json(b'"\\ud83d /home/alice"') == b'"\\ud83d /home/u1u1u"'
    assert b"alice" not in Scrubber(RULES).json(b'{"a":"\xff /home/alice"}')


HOSTILE = {
    "a token's prefix again and again": "sk" + "-" * 2,
    "a long run that ends nowhere": "A1",
    "markers without an end": "-----BEGIN PRIVATE ",
    "an address without an end": "a@",
    "labels": "a.",
    "urls": "://a:",
    "assignments": 'password="',
    "backslashes": "\\",
    "unicode escapes": "\\u005c",
    "one letter that lower() makes two": "İKEY=",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_text_and_not_with_its_square(piece: str) -> None:
    def spent_s(size: int) -> float:
        text = piece * (size // len(piece))
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            Scrubber(RULES).text(text)
            best = min(best, time.process_time() - start)
        return best

    # 16 times the text: 16 times the time where it is linear, 256 times where it is the square.
    assert spent_s(320_000) < 80 * max(spent_s(20_000), 0.0005)


def test_a_file_adds_to_the_shipped_rules_or_stands_alone(tmp_path) -> None:
    own = '[[literal]]\nname = "customer"\nvalues = ["Initech"]\nany_case = true\n'
    (tmp_path / "more.toml").write_text(own)
    more = Scrubber(load_rules(tmp_path / "more.toml"))
    assert more.text("INITECH's /home/alice; initechs") == "scrubbed1's /home/u1u1u; initechs"
    (tmp_path / "alone.toml").write_text("default_rules = false\n" + own)
    assert Scrubber(load_rules(tmp_path / "alone.toml")).text("Initech /home/alice") == "scrubbed1 /home/alice"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[token]]\nname = 'x'\nprefix = ['a-']\n", "unknown field `prefix`"),
        ("[[token]]\nname = 'x'\nprefixes = ['a']\n", "length >= 2"),
        ("[[token]]\nname = 'x'\nprefixes = ['ab']\nalphabet = 'a-z]+)+(['\n", "alphabet"),  # no way out of the class
        ("[[literal]]\nname = 'x'\nvalues = []\n", "length >= 1"),
        ("[[token", "Expected"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text: str, says: str) -> None:
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(UsageError, match=says if says != "alphabet" else r"alphabet"):
        load_rules(tmp_path / "rules.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_rules(tmp_path / "absent.toml")


def test_the_shipped_rules_are_read_and_named() -> None:
    names = [rule.name for rule in RULES.all()]
    assert {"openai-key", "anthropic-key", "github-token", "aws-key", "private-key", "e-mail", "home-path"} <= set(
        names
    )
    assert msgspec.convert({}, Rules).all() == ()
