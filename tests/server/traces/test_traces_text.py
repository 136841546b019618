"""Text for a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.server.traces.text import Look, cells, duration, fit, fit_end, printable

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain é 数", "plain é 数"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\rc\td\0", r"a\nb\rc\td\x00"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("\u202edesrever", r"\u202edesrever"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_could_drive_a_terminal_is_escaped(hostile: str, shown: str) -> None:
    """Controls, ANSI, line separators, bidirectional marks and lone surrogates are seen, not obeyed."""
    assert printable(hostile) == shown


@given(ANY_TEXT)
def test_printable_text_is_printable(text: str) -> None:
    """Whatever goes in, what comes out is printable, can be encoded, and is stable."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown
    assert printable(text, ascii_only=True).isascii()


@given(ANY_TEXT.map(printable), st.integers(-2, 40))
def test_fitted_text_takes_its_columns(text: str, width: int) -> None:
    """Padded or cut, wide characters and combining marks included, columns stay in line."""
    assert cells(fit(text, width)) == max(width, 0)
    assert cells(fit_end(text, width)) <= max(width, 0, cells(text) if cells(text) <= width else 0)


def test_cut_text_says_so() -> None:
    """A cut is marked: at the end of a line, at the beginning of an identity."""
    assert fit("ModelInfer", 6) == "Model…"
    assert fit_end("spiffe://acme/sa/notebook", 12) == "…sa/notebook"
    assert fit("数数数", 4) == "数… "


def test_wide_and_combining_characters() -> None:
    """A wide character is two columns, a combining mark none."""
    assert cells("数x") == 3
    assert cells(unicodedata.normalize("NFD", "é")) == 1


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (46_300, "46.3 µs"),
        (1_840_000, "1.84 ms"),
        (123_400_000, "123 ms"),
        (12_000_000_000, "12.0 s"),
        (7_200_000_000_000, "2.00 h"),
        (2**63 - 1, "106,752 d"),
    ],
)
def test_durations_read_well(nanoseconds: int, text: str) -> None:
    """Three digits and a unit, from nanoseconds to all that the store can hold, in nine columns."""
    assert duration(nanoseconds) == text
    assert len(text) <= 9


def test_paint_only_where_colour_is_wanted() -> None:
    """Without colour there is no escape sequence at all."""
    assert Look().paint("x", "refused") == "x"
    assert Look(colour=True).paint("x", "refused") == "\x1b[1;31mx\x1b[0m"
    assert Look(colour=True).paint("x", "plain") == "x"
