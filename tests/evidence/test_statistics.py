"""Estimates come with honest intervals, and a result doubts itself where it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vmcompare.evidence.statistics import (
    INTERVAL_FROM,
    RESAMPLES,
    SEED,
    doubts,
    median_interval,
    paired_ratio,
    trend,
)
from vmcompare.evidence.units import seconds


def test_the_interval_of_a_median_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        found = median_interval(chance.lognormal(0, 0.3, size=30))
        hits += found.low <= 1 <= found.high
    assert hits >= 50


@pytest.mark.parametrize("n", [2, 9, 31])
def test_the_interval_is_the_percentile_bootstrap_of_scipy(n: int) -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(n).lognormal(0, 0.5, size=n)
    found, rng = median_interval(values), np.random.default_rng(SEED)
    theirs = bootstrap(
        (values,), np.median, n_resamples=RESAMPLES, method="percentile", rng=rng, vectorized=True
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_the_same_values_always_give_the_same_interval() -> None:
    values = [1.0, 2.0, 5.0, 3.0]
    assert median_interval(values) == median_interval(values)


def test_one_value_is_a_median_without_information_about_its_error() -> None:
    found = median_interval([3.0])
    assert (found.estimate, found.n) == (3.0, 1)
    assert math.isinf(found.low)
    assert math.isinf(found.high)


def test_nothing_and_not_a_number_have_no_median() -> None:
    with pytest.raises(ValueError, match="at least one"):
        median_interval([])
    with pytest.raises(ValueError, match="finite"):
        median_interval([1.0, float("nan")])


def test_a_ratio_is_paired_within_its_blocks() -> None:
    # The machine is four times slower in the second half: unpaired medians would blur it.
    blocks = [([10.0 * k], [1.0 * k, 1.1 * k, 0.9 * k]) for k in (1, 1, 1, 4, 4, 4)]
    found = paired_ratio(blocks)
    assert found.estimate == pytest.approx(10)
    assert found.low == pytest.approx(10)
    assert found.n == 6


def test_a_block_that_lacks_one_side_is_left_out() -> None:
    assert paired_ratio([([10.0], [1.0]), ([], [1.0]), ([30.0], [])]).n == 1
    with pytest.raises(ValueError, match="both sides"):
        paired_ratio([([], [1.0])])


def test_a_wide_interval_and_a_drift_are_doubted_and_a_calm_series_is_not() -> None:
    assert doubts([1.0 + 0.01 * (k % 3) for k in range(30)]) == ()
    assert any("wide" in d for d in doubts([1, 9, 2, 8, 3]))
    assert any("steadily" in d for d in doubts([1 + 0.05 * k for k in range(30)]))
    assert not any("steadily" in d for d in doubts([*[0.0] * 9, *[1.0, 0.0, 1.0] * 3]))


@pytest.mark.parametrize("n", [9, 12, 30, 100])
@pytest.mark.parametrize("digits", [1, 9], ids=["ties", "none"])
def test_a_trend_is_found_as_by_scipys_tau(n: int, digits: int) -> None:
    from scipy.stats import kendalltau

    chance = np.random.default_rng(n)
    for slope in np.linspace(0, 3 / n, 20):
        data = np.round(chance.normal(0, 1, n) + slope * np.arange(n), digits)
        theirs = kendalltau(np.arange(n), data).pvalue
        assert trend(data) == pytest.approx(theirs, rel=0.5, abs=0.02)


def test_what_is_all_the_same_has_no_trend() -> None:
    assert trend(np.ones(9)) == 1


def test_an_interval_is_written_in_words_and_its_absence_too() -> None:
    known, alone = median_interval([1.0, 1.0, 1.0]), median_interval([1.0])
    assert known.words(seconds) == "range of 3: 1.00 s to 1.00 s"
    assert known.ends(seconds) == "1.00 s – 1.00 s"
    enough = median_interval([1.0] * INTERVAL_FROM)
    assert enough.words(seconds) == "95 % interval: 1.00 s to 1.00 s"
    assert alone.words(seconds, "run") == "no interval from one run"
    assert (alone.words(seconds), alone.ends(seconds)) == ("no interval", "")
