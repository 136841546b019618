"""What a span's line says: of a query to a guarded model who asked what, and the decision; else its name."""

from collections.abc import Iterator
from typing import Any

from guardhouse.server.traces.spans import STATUSES, Span
from guardhouse.server.traces.text import Look, cells, fit, fit_end, printable

ERROR = STATUSES.index("ERROR")
LEAST_PRINCIPAL = 12  # columns; what follows the principal is cut before it gets shorter than this
MOST_LINKS = 4  # shown per span
MARKS = {"refused": ("✗ ", "x "), "error": ("! ", "! ")}  # at the start of a line, in Unicode and in ASCII


def style(span: Span) -> str:
    """How *span* ended, as the key of its colour: refused, allowed, error or plain."""
    decision = span.attributes.get("guardhouse.decision")
    if decision == "refused":
        return "refused"
    if span.status == ERROR:
        return "error"
    return "allowed" if decision == "allowed" else "plain"


def mark(span: Span, look: Look) -> str:
    """Two columns that make a refused or failed span stand out without colour too."""
    return look.symbol(*MARKS.get(style(span), ("  ", "  ")))


def headline(span: Span, width: int, look: Look) -> str:
    """*span* in exactly *width* columns, without colour."""
    more = look.symbol("…", "~")
    if "guardhouse.decision" not in span.attributes:
        return fit(_plain_words(span, look), width, more)
    before, principal, after = _own_words(span, look)
    room = max(LEAST_PRINCIPAL, width - cells(before) - cells(after) - 4)
    return fit(f"{before}  {fit_end(principal, room, more)}  {after}", width, more)


def notes(span: Span, look: Look) -> Iterator[str]:
    """What deserves a line of its own under a span: why it was decided so, and linked traces. No colour."""
    reason, rule = _said(span, "guardhouse.reason", look), _said(span, "guardhouse.rule", look)
    if reason or rule:
        yield ", ".join(filter(None, (reason, rule and f"rule {rule}")))
    whose = "caller's trace" if "guardhouse.decision" in span.attributes else "linked trace"
    for link in span.links[:MOST_LINKS]:
        yield f"{whose} {_text(link.get('trace_id'), look)}"
    if len(span.links) > MOST_LINKS:
        yield f"{len(span.links) - MOST_LINKS} more links"


def _plain_words(span: Span, look: Look) -> str:
    name = _text(span.name, look) or "(no name)"
    return f"{name}  ERROR {_text(span.message, look)}".rstrip() if span.status == ERROR else name


def _own_words(span: Span, look: Look) -> tuple[str, str, str]:
    """What stands before the principal, the principal, and what stands after."""
    path = (
        _said(span, "rpc.method_original", look) or _said(span, "rpc.method", look) or _text(span.name, look)
    )
    decision = _said(span, "guardhouse.decision", look)
    decision = "REFUSED" if decision == "refused" else decision
    before = " ".join(filter(None, (path.rpartition("/")[2], _said(span, "guardhouse.model", look))))
    after = " ".join(filter(None, (decision, _said(span, "rpc.status_code", look))))
    return before, _said(span, "guardhouse.principal", look) or "nobody", after


def _said(span: Span, key: str, look: Look) -> str:
    return _text(span.attributes.get(key), look)


def _text(value: Any, look: Look) -> str:
    """A value for the terminal; nothing for one that is not there."""
    return "" if value is None else printable(str(value), look.ascii_only)
