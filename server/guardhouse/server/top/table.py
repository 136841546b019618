"""Rows of the window as lines for a terminal of some width, or as facts for a program."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from guardhouse.server.audit.lines import escape
from guardhouse.server.audit.sums import span

from .tally import Tally
from .window import Row, total

HEADS: Final = ("calls/s", "refused", "units/s", "model", "p50", "p99", "seen")
WIDTHS: Final = (9, 9, 9, 9, 9, 9, 7)
LEAST_NAME: Final = 12  # columns; a terminal too narrow for more loses figures from the right
LATEST: Final = {"principal": "asks", "model": "asked by", "method": "called by", "reason": "given to"}


class View(NamedTuple):
    """What is looked at: of which ledger, when, over how many seconds, by which key."""

    title: str
    now: float
    covered: float
    by: str


def lines(rows: Sequence[Row], view: View, width: int, height: int) -> list[str]:
    """At most *height* lines of at most *width* columns: what all came to, heads, then the first rows."""
    whole = total(list(rows))
    shown = list(rows[: max(0, height - 3)])
    if len(shown) < len(rows) and rows[-1].name.startswith("(") and shown:
        shown[-1] = rows[-1]  # the row of all others is never cut off
    table = [_line(row, view, width) for row in shown]
    return [line[:width] for line in (*_summary(whole, view), _head(view.by, width), *table)][:height]


def facts(rows: Sequence[Row], view: View) -> dict[str, Any]:
    """The same for a program: whole figures, times in microseconds, rates per second."""
    return {
        "time": _moment(view.now),
        "seconds": round(view.covered, 3),
        "by": view.by,
        "total": _figures(total(list(rows)), view),
        "rows": [_facts(row, view) for row in rows],
    }


def _facts(row: Row, view: View) -> dict[str, Any]:
    seen = {"last_seen": _moment(row.last_seen), "latest": row.latest, "latest_reason": row.why}
    return {view.by: row.name, **_figures(row.tally, view), **seen}


def _figures(tally: Tally, view: View) -> dict[str, Any]:
    return {
        "calls": tally.calls,
        "calls_per_second": round(tally.calls / view.covered, 3),
        "refused": tally.refused,
        "units": tally.units,
        "request_bytes": tally.request_bytes,
        "response_bytes": tally.response_bytes,
        "model_us": tally.model_us,
        "p50_us": tally.quantile(0.5),
        "p99_us": tally.quantile(0.99),
    }


def _summary(whole: Tally, view: View) -> tuple[str, str]:
    refused = whole.refused / whole.calls if whole.calls else 0.0
    head = f"guardhouse top  {_plain(view.title)}  {_moment(view.now)}"
    figures = (
        f"last {view.covered:.0f} s: {_rate(whole.calls, view)} calls/s, {refused:.1%} refused, "
        f"{_rate(whole.units, view)} units/s, model {span(whole.model_us)}, "
        f"p50 {span(whole.quantile(0.5))}, p99 {span(whole.quantile(0.99))}"
    )
    return head, figures


def _head(by: str, width: int) -> str:
    return _columns(by, HEADS, LATEST[by], width)


def _line(row: Row, view: View, width: int) -> str:
    tally = row.tally
    figures = (
        _rate(tally.calls, view),
        str(tally.refused),
        _rate(tally.units, view),
        span(tally.model_us),
        span(tally.quantile(0.5)),
        span(tally.quantile(0.99)),
        f"{max(0.0, view.now - row.last_seen):.0f} s",
    )
    why = f" {row.why}" if row.why and view.by != "reason" else ""
    return _columns(row.name or "-", figures, f"{row.latest or '-'}{why}", width)


def _columns(name: str, figures: Sequence[str], latest: str, width: int) -> str:
    """A name, figures that stand to the right, and what is latest: each in the room that there is."""
    room = width - sum(WIDTHS)
    first = max(LEAST_NAME, min(room, 24 + max(0, room - 24) // 2))
    numbers = "".join(f"{figure:>{size}}" for figure, size in zip(figures, WIDTHS, strict=True))
    left = _fitted(name, first)
    rest = width - len(left) - len(numbers) - 2
    return f"{left}{numbers}" + (f"  {_fitted(latest, rest).rstrip()}" if rest > 0 else "")


def _fitted(text: str, width: int) -> str:
    """*text* in exactly *width* columns."""
    plain = _plain(text)
    return plain.ljust(width) if len(plain) <= width else plain[: width - 1] + "~"


def _plain(text: str) -> str:
    """*text* in printable ASCII: a character beside that may take no column, or two."""
    return escape(text).encode("ascii", "backslashreplace").decode()


def _rate(count: int, view: View) -> str:
    rate = count / view.covered
    return f"{rate:.1f}" if rate < 1000 else f"{rate:.0f}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
