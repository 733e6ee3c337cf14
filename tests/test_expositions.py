"""The text format of Prometheus: what it holds is read, what is none is left out, and nothing raises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.meters.expositions import Sample, samples

LINES: dict[str, tuple[str, tuple[str, dict[str, str], float, str] | None]] = {
    # line -> name, labels, value, stamp
    "plain": ("up 1", ("up", {}, 1, "")),
    "labels": ('power_watts{gpu="0",UUID="GPU-1"} 451.125', ("power_watts", {"gpu": "0", "UUID": "GPU-1"}, 451.125, "")),
    "a comma at the end": ('a{b="c",} 2', ("a", {"b": "c"}, 2, "")),
    "no labels in the braces": ("a{} 2", ("a", {}, 2, "")),
    "spaces everywhere": ('a { b = "c" , d = "e" }  2  ', ("a", {"b": "c", "d": "e"}, 2, "")),
    "no space before the value": ('a{b="c"}2', ("a", {"b": "c"}, 2, "")),
    "tabs": ("a\t2\t1700000000000", ("a", {}, 2, "1700000000000")),
    "a stamp in ms": ("a 2 1700000000000", ("a", {}, 2, "1700000000000")),
    "a stamp in s": ("a 2 1700000000.123", ("a", {}, 2, "1700000000.123")),
    "escapes": (r'a{b="x\"y\\z\nw"} 2', ("a", {"b": 'x"y\\z\nw'}, 2, "")),
    "braces and hashes in a label": ('a{b="{x} # y"} 2', ("a", {"b": "{x} # y"}, 2, "")),
    "an exemplar": ('a_total{b="c"} 17 1.5 # {trace_id="x"} 0.67 2.5', ("a_total", {"b": "c"}, 17, "1.5")),
    "an exemplar without stamp": ('a_total 17 # {trace_id="x"} 0.67', ("a_total", {}, 17, "")),
    "exponents": ("a 1.5e+03", ("a", {}, 1500, "")),
    "infinity": ("a +Inf", ("a", {}, math.inf, "")),
    "carriage return": ("a 2\r", ("a", {}, 2, "")),
    "a label of another alphabet": ('a{b="ä\u2028ö"} 2', ("a", {"b": "ä\u2028ö"}, 2, "")),
    "empty": ("", None),
    "no value": ("a", None),
    "no value behind labels": ('a{b="c"}', None),
    "text as value": ("a b", None),
    "Python's own numbers": ("a 1_000", None),
    "a name with a dash": ("a-1 2", None),
    "a label without quotes": ("a{b=c} 2", None),
    "a label that does not end": ('a{b="c} 2', None),
    "labels that do not end": ('a{b="c" 2', None),
    "no comma between labels": ('a{b="c" d="e"} 2', None),
    "three numbers": ("a 2 3 4", None),
    "HTML": ("<html><body>404</body></html>", None),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_line(name: str) -> None:
    line, wanted = LINES[name]
    found = [sample[:4] for sample in samples(f"{line}\nnext 1")]
    assert found[:-1] == ([] if wanted is None else [wanted])
    assert found[-1][0] == "next"


def test_not_a_number_is_a_value() -> None:
    (sample,) = samples("a NaN")
    assert math.isnan(sample.value)


def test_types_are_those_declared() -> None:
    page = "# HELP e Energy.\n# TYPE e counter\ne_total 5\n# TYPE p gauge\np 7\nq 8\n# EOF\n"
    assert [(sample.name, sample.kind) for sample in samples(page)] == [
        ("e_total", "counter"),
        ("p", "gauge"),
        ("q", ""),
    ]


def test_only_those_that_are_named() -> None:
    assert [sample.name for sample in samples("a 1\nab 2\nb 3", frozenset(("a", "b")))] == ["a", "b"]


@given(st.text())
def test_any_text_is_read_without_an_error(page: str) -> None:
    assert all(isinstance(sample, Sample) for sample in samples(page))


@given(st.text(alphabet='a{}",=\\# 1.5e\n\t', max_size=60))
def test_any_text_of_its_own_signs_is_read_without_an_error(page: str) -> None:
    assert all(sample.name for sample in samples(page))


@given(
    st.dictionaries(
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True), st.text(st.characters(codec="utf-8")), max_size=4
    ),
    st.floats(allow_nan=False),
    st.none() | st.integers(0, 2**62),
)
def test_what_is_written_is_read(labels: dict[str, str], value: float, stamp: int | None) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    inside = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
    line = f"metric{{{inside}}} {value!r}" + ("" if stamp is None else f" {stamp}")
    assert list(samples(line)) == [Sample("metric", labels, value, "" if stamp is None else str(stamp), "")]


def test_long_lines_take_time_in_proportion() -> None:
    """A million braces: a pattern that went back for each of them would take 10^12 steps."""
    (sample,) = samples(f'a{{b="{"}" * 1_000_000}"}} 1')
    assert len(sample.labels["b"]) == 1_000_000
    assert list(samples("a{" + "}" * 1_000_000)) == []
