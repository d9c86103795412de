"""Figures are written for people, with the unit that belongs to them."""

from __future__ import annotations

import pytest

from vmcompare.evidence.units import METRICS, ratio, seconds, size, written


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(23.456, "23.5 s"), (1.0, "1.00 s"), (0.0456, "45.6 ms"), (0.00047, "470 µs"), (0.0, "0 µs")],
)
def test_a_duration_has_three_figures_and_a_fitting_unit(value_s: float, text: str) -> None:
    assert seconds(value_s) == text


@pytest.mark.parametrize(
    ("value_bytes", "text"), [(12, "12 bytes"), (2048, "2.00 KiB"), (25 * 1024**2, "25.0 MiB")]
)
def test_a_size_is_in_binary_units(value_bytes: float, text: str) -> None:
    assert size(value_bytes) == text


def test_what_is_not_a_number_is_a_dash() -> None:
    assert {seconds(float("nan")), size(float("inf")), ratio(float("nan"))} == {"–"}


def test_a_large_ratio_is_never_in_exponent_form() -> None:
    assert ratio(123456.0) == "123,456×"


def test_a_metric_s_name_ends_in_its_unit() -> None:
    for name, unit in METRICS.items():
        assert unit in ("bool",) or name.endswith(f"_{unit}"), name


def test_written_takes_the_unit_by_name() -> None:
    assert written(0.5, "s") == "500 ms"
    assert written(3.0, "starts") == "3 starts"
    assert written(2.5, "starts") == "2.50 starts"


def test_a_number_that_nobody_can_measure_stays_short() -> None:
    for written_out in (seconds(1e-300), ratio(-1e-300), size(1e-300), written(1e-300, "count")):
        assert len(written_out) < 20
