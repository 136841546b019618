"""Text for a terminal: what others wrote made harmless, cut and padded to columns; readable durations."""

import unicodedata
from dataclasses import dataclass

SGR = {
    "refused": "1;31",
    "error": "31",
    "allowed": "32",
    "dim": "2",
    "bold": "1",
    "part": "36",
    "bar": "34",
    "child": "35",
}
UNITS = (
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "µs"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How to draw: columns there are, whether to colour, and whether only ASCII may be used."""

    width: int = 100
    colour: bool = False
    ascii_only: bool = False

    def paint(self, text: str, style: str) -> str:
        """*text* in the colour of *style* (a key of `SGR`), or as it is."""
        return f"\x1b[{SGR[style]}m{text}\x1b[0m" if self.colour and text and style in SGR else text

    def symbol(self, rich: str, plain: str) -> str:
        """*rich*, or *plain* where only ASCII may be used."""
        return plain if self.ascii_only else rich


def printable(text: str, ascii_only: bool = False) -> str:
    """*text* with whatever could move the cursor, change colours, break or reorder the line shown escaped.

    That is every character Unicode does not call printable: controls, escapes, U+2028, bidirectional marks,
    lone surrogates. So the names that others chose cannot forge lines of ours.
    """
    if text.isprintable() and (text.isascii() or not ascii_only):
        return text
    return "".join(char if _is_plain(char, ascii_only) else _escape(char) for char in text)


def _is_plain(char: str, ascii_only: bool) -> bool:
    return char.isprintable() and (char.isascii() or not ascii_only)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def cells(text: str) -> int:
    """How many columns *text* takes: wide East Asian characters two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int, more: str = "…") -> str:
    """*text* in exactly *width* columns: padded, or cut with *more* (one column) at the end to say so."""
    missing = width - cells(text)
    if missing >= 0:
        return text + " " * missing
    shown = _first_cells(text, width - 1) + more[: max(width, 0)]
    return shown + " " * (width - cells(shown))


def fit_end(text: str, width: int, more: str = "…") -> str:
    """*text* in at most *width* columns, its end kept: there one SPIFFE id differs from the next."""
    if cells(text) <= width:
        return text
    return more[: max(width, 0)] + _first_cells(text[::-1], width - 1)[::-1]


def _first_cells(text: str, width: int) -> str:
    """As many characters as fit in *width* columns."""
    for position, char in enumerate(text):
        width -= _cell(char)
        if width < 0:
            return text[:position]
    return text


def duration(nanoseconds: int) -> str:
    """A length of time in three or four digits and its unit, as in `1.84 ms`."""
    for size, unit in UNITS:
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{nanoseconds} ns"
