"""Durations, sizes and rates: what is read, what is refused, and what the refusal tells to write."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from guardhouse.interceptors.documents import units
from guardhouse.interceptors.documents.units import Rate

DURATIONS = {"250ms": 0.25, "30s": 30.0, "5m": 300.0, "1h": 3600.0, "7d": 604800.0, "0s": 0.0}
SIZES = {"1B": 1, "64KiB": 65536, "4MiB": 4194304, "1GiB": 1073741824, "500KB": 500000, "2GB": 2 * 10**9}
RATES = {
    "100/s": Rate(100, 1, 100),
    "30/m": Rate(30, 60, 1),
    "1000/h": Rate(1000, 3600, 1),
    "5/d": Rate(5, 86400, 1),
    "90/m": Rate(90, 60, 2),
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_durations_are_seconds(text: str, seconds: float) -> None:
    """A duration of every unit is read as seconds."""
    assert units.duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), SIZES.items())
def test_sizes_are_bytes(text: str, count: int) -> None:
    """A size is read as bytes: KiB in powers of 1024, KB in powers of 1000."""
    assert units.size(text) == count


@pytest.mark.parametrize(("text", "rate"), RATES.items())
def test_rates_are_exact(text: str, rate: Rate) -> None:
    """A rate keeps its count and period; its burst is a second's worth rounded up, at least one."""
    assert units.rate(text) == rate


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (units.duration, "10 m", "write 10m"),
        (units.duration, "10", "write 10s or 10m or 10h"),
        (units.duration, "5M", "write 5m"),
        (units.duration, "5 min", "write 5m"),
        (units.duration, "5sec", "write 5s"),
        (units.duration, "5x", "write 5s or 5m or 5h"),
        (units.duration, "1.5h", "like 30s"),
        (units.duration, "-5s", "like 30s"),
        (units.duration, "5s\n", "write 5s"),
        (units.duration, "\u0665s", "like 30s"),
        (units.duration, "005s", "write 5s"),
        (units.duration, "", "like 30s"),
        (units.size, "4 MiB", "write 4MiB"),
        (units.size, "4mib", "write 4MiB"),
        (units.size, "4M", "write 4MiB or 4MB"),
        (units.size, "4096", "write 4096MiB or 4096KiB or 4096B"),
        (units.size, "lots", "like 30MiB"),
        (units.rate, "100", "write 100/s"),
        (units.rate, "100 / s", "write 100/s"),
        (units.rate, "100/sec", "write 100/s"),
        (units.rate, "100 per minute", "write 100/m"),
        (units.rate, "1.5/s", "like 100/s"),
        (units.rate, "-1/s", "like 100/s"),
        (units.rate, "0/s", "at least 1/s"),
    ],
)
def test_refusals_show_the_right_form(parse: Any, text: str, meant: str) -> None:
    """What is not in the right form is refused with the form that was probably meant."""
    with pytest.raises(ValueError, match="write") as refused:
        parse(text)
    assert meant in str(refused.value)


@given(some.integers(0, 10**11))
def test_durations_survive_writing(milliseconds: int) -> None:
    """Every duration, to the millisecond, is read back from its text."""
    seconds = milliseconds / 1000
    assert units.duration(units.format_duration(seconds)) == seconds


@given(some.integers(0, 10**12 - 1))
def test_sizes_survive_writing(count: int) -> None:
    """Every size is read back from its text."""
    assert units.size(units.format_size(count)) == count


@given(some.integers(1, 10**11), some.sampled_from(sorted(units.PERIODS.values())))
def test_rates_survive_writing(count: int, period: int) -> None:
    """Every rate is read back from its text, exactly."""
    rate = units.rate(units.format_rate(Rate(count, period, 1)))
    assert (rate.count, rate.period) == (count, period)


@given(some.text(alphabet="0123456789 .-+/_smhdKMGiBe\n٣", max_size=8))
def test_everything_else_is_refused(text: str) -> None:
    """A text is read only if it is a whole number and a unit, nothing around or between."""
    forms = {
        units.duration: r"(0|[1-9][0-9]*)(ms|s|m|h|d)",
        units.size: r"(0|[1-9][0-9]*)(B|KiB|MiB|GiB|KB|MB|GB)",
        units.rate: r"[1-9][0-9]*/(s|m|h|d)",
    }
    for parse, form in forms.items():
        if re.fullmatch(form, text):
            parse(text)
            continue
        with pytest.raises(ValueError, match="write"):
            parse(text)
