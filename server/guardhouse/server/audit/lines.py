"""One ledger line for a reader: text that is harmless to a terminal, or JSON for a program."""

from __future__ import annotations

import json
from typing import Final

import click

from guardhouse.interceptors.ledger.chain import parse

COLOURS: Final = {
    "OK": "green",
    "PERMISSION_DENIED": "yellow",
    "UNAUTHENTICATED": "yellow",
    "RESOURCE_EXHAUSTED": "yellow",
}
QUIET: Final = {"kind", "time", "seq", "prev"}  # said elsewhere on the line, or of no use to a reader
LONGEST_WORD: Final = 300  # characters; a principal or a note may be anything that a token holds


def as_text(line: bytes) -> str:
    """*line* for a person: coloured, and harmless whatever it holds."""
    parsed = parse(line)
    if parsed is None:
        shown = escape(line[:800].decode("utf-8", "backslashreplace"))[:200]
        return click.style(f"not a ledger line: {shown}", fg="red")
    entry = parsed.entry
    moment = click.style(word(entry.get("time")), dim=True)
    if entry.get("kind") != "query":
        rest = " ".join(f"{escape(key)}={word(value)}" for key, value in entry.items() if key not in QUIET)
        return f"{moment}  {click.style(word(entry.get('kind')), fg='cyan')}  {rest}"
    return f"{moment}  {_query(entry)}"


def as_line(line: bytes) -> str:
    """*line* for a program: JSON in ASCII, also where it is not a ledger line."""
    parsed = parse(line)
    text = line.decode("utf-8", "backslashreplace")
    entry = parsed.entry if parsed else {"kind": "unreadable", "text": text}
    return json.dumps(entry, separators=(",", ":"))


def escape(text: str) -> str:
    """*text* without anything a terminal would obey: controls, line ends, bidirectional marks, surrogates."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def word(value: object) -> str:
    """*value* as one harmless word of bounded length, "-" for nothing."""
    if value in ("", None):
        return "-"
    text = escape(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}..."


def _query(entry: dict[str, object]) -> str:
    status = word(entry.get("status"))
    colour = COLOURS.get(status, "red")
    method = word(entry.get("method")).rpartition("/")[2]
    model = ":".join(word(entry[key]) for key in ("model", "version") if entry.get(key)) or "-"
    reason = word(entry.get("reason"))
    if reason != "-":
        reason = click.style(reason, fg=colour)
    shown = click.style(f"{status:<18}", fg=colour)
    took = _milliseconds(entry.get("total_us"))
    return f"{shown}  {took:>9}  {word(entry.get('principal'))}  {method}  {model}  {reason}"


def _milliseconds(value: object) -> str:
    return f"{value / 1000:.1f} ms" if isinstance(value, int | float) else "-"
