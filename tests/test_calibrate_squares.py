"""Constants out of noisy equations: the truth comes back, what the data do not tell is said to be so, and errors are about right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openagentperf.seeds import Stream
from openagentperf.simulation.calibrate_squares import Solved, _not_negative, solve
from openagentperf.simulation.calibrate_work import CONSTANTS, Equations

TRUTH = np.array([2e-3, 4e-4, 3e-8, 2e-2, 2e-5, 4e-9, 8e-3])


def uniform(stream: Stream, count: int, low: float, high: float) -> NDArray[np.float64]:
    return np.array([low + (high - low) * stream.uniform() for _ in range(count)])


def made(
    seed: int,
    *,
    batch: tuple[float, float],
    noise: float,
    rows: int = 400,
    stalled: float = 0.0,
    truth: NDArray[np.float64] = TRUTH,
) -> Equations:
    """Spans of a worker whose batch lies between two numbers: decodes of 30 steps, and first tokens of prompts of 20 to 2,000 tokens."""
    stream = Stream(seed, "made")
    steps = np.full(rows, 30.0)
    width = uniform(stream, rows, *batch)
    context = uniform(stream, rows, 2_000, 30_000)
    new = uniform(stream, rows, 20, 2_000)
    prefill = np.stack([np.ones(rows), new, new * context], axis=1)
    others = np.array([stream.uniform() for _ in range(rows)])[:, None]  # of a prefill beside each decode
    decode = np.stack([steps, steps * width, steps * width * context], axis=1)
    decode = np.concatenate([decode, others * prefill, np.zeros((rows, 1))], axis=1)
    first = np.concatenate([np.zeros((rows, 3)), prefill, np.ones((rows, 1))], axis=1)
    work = np.concatenate([decode, first])
    wobble = np.array([stream.normal() for _ in range(2 * rows)])
    stall = np.where(uniform(stream, 2 * rows, 0, 1) < stalled, 20.0, 1.0)
    seconds = work @ truth * np.exp(noise * wobble) * stall
    return Equations(work, seconds, np.arange(2 * rows) < rows, np.arange(2 * rows, dtype=np.float64))


def by_name(solved: Solved) -> dict[str, float]:
    return dict(zip(CONSTANTS, solved.values.tolist(), strict=True))


def test_without_noise_the_constants_come_back():
    solved = solve([made(1, batch=(1, 8), noise=0)])
    assert solved.values == pytest.approx(TRUTH, rel=1e-6)
    assert all(solved.identified)
    assert np.abs(solved.residuals).max() < 1e-6


@pytest.mark.parametrize("stalled", [0.0, 0.05])
def test_with_noise_they_come_back_within_their_errors_even_where_one_span_in_twenty_stalls(stalled: float):
    """A stall takes 20 times as long. Plain least squares would be bent by it by a factor of about two."""
    solved = solve([made(2, batch=(1, 8), noise=0.1, stalled=stalled)])
    assert all(solved.identified)
    assert solved.values == pytest.approx(TRUTH, rel=0.15)
    assert (np.abs(solved.values - TRUTH) < 4 * solved.errors).all()
    apart = [
        0,
        1,
        2,
        4,
        5,
    ]  # the front and the beginning of a prefill differ by little: their sum is known to a few per cent
    assert (solved.errors[apart] < 0.1 * TRUTH[apart]).all()
    assert solved.values[3] + solved.values[6] == pytest.approx(TRUTH[3] + TRUTH[6], rel=0.05)


def test_a_batch_that_never_changes_does_not_tell_a_step_from_its_sequences():
    """With one sequence, base + per sequence is one number: 2.4 ms. Which of the two carries it is not known, and said to be so."""
    solved = solve([made(3, batch=(1, 1), noise=0.05)])
    told = dict(zip(CONSTANTS, solved.identified, strict=True))
    assert told["step_base_s"] != told["step_sequence_s"]
    found = by_name(solved)
    assert found["step_base_s"] + found["step_sequence_s"] == pytest.approx(2.4e-3, rel=0.05)


def test_a_constant_lost_in_noise_is_left_out_and_has_no_error():
    """A context term of 1e-11 s x 16,000 tokens is 0.2 us a new token beside 20: with 30 % of noise and 60 spans nobody can tell."""
    truth = np.array([*TRUTH[:5], 1e-11, TRUTH[6]])
    solved = solve([made(4, batch=(1, 8), noise=0.3, rows=60, truth=truth)])
    assert not solved.identified[5]
    assert solved.values[5] == 0
    assert np.isnan(solved.errors[5])


def test_too_few_spans_identify_nothing():
    """Two rows fill two blocks, and a jackknife over two blocks says nothing."""
    one = made(5, batch=(1, 8), noise=0.1, rows=1)
    assert sum(solve([one]).identified) == 1, "the last constant stays, whatever its error"


@pytest.mark.parametrize(
    ("work", "seconds", "want"),
    [
        ([[1, 0], [0, 1]], [2, 3], [2, 3]),
        ([[1, 0], [0, 1]], [2, -3], [2, 0]),  # a negative cost is none
        ([[1, 1], [1, 1]], [4, 4], [4, 0]),  # one column twice: the earlier stands for both
        ([[1, 0.5], [0, 1]], [1, -1], [1, 0]),  # the free solution is (1.5, -1)
        ([[1, 0], [0, 1]], [-1, -1], [0, 0]),
    ],
)
def test_least_squares_without_negative_constants(work: list[list[float]], seconds: list[float], want: list[float]):
    columns, aim = np.array(work, dtype=np.float64), np.array(seconds, dtype=np.float64)
    assert _not_negative(columns.T @ columns, columns.T @ aim) == pytest.approx(want)
