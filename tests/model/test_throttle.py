"""Work in the background keeps below its rate and its share of the time, and rests no longer than it has to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model.throttle import pause_s

sizes = st.integers(0, 1 << 40)
times = st.floats(0, 1e4)
rates = st.floats(1e3, 1e12)
shares = st.floats(0.01, 1)


@given(sizes, times, rates, shares)
def test_both_bounds_hold_and_the_rest_is_the_shortest(read: int, took_s: float, rate: float, share: float) -> None:
    rest_s = pause_s(read, took_s, bytes_per_s=rate, share=share)
    assert rest_s >= 0
    all_s = took_s + rest_s
    assert all_s * rate >= read * (1 - 1e-9)
    assert took_s <= share * all_s * (1 + 1e-9)
    if rest_s > 0:
        assert all_s == pytest.approx(max(read / rate, took_s / share))


@given(times)
def test_who_may_work_all_the_time_at_any_rate_does_not_rest(took_s: float) -> None:
    assert pause_s(0, took_s, bytes_per_s=1.0, share=1.0) == 0
