"""What a span's line says: of a query to a guarded model who asked what, and the decision; else its name."""

from collections.abc import Iterator
from typing import Any

from guardhouse.server.traces.spans import STATUSES, Span
from guardhouse.server.traces.text import Look, cells, duration, fit, fit_end, printable
from guardhouse.server.traces.tree import Node

ERROR = STATUSES.index("ERROR")
LEAST_PRINCIPAL = 12  # columns; what follows the principal is cut before it gets shorter than this
MOST_LINKS = 4  # shown per span
MOST_MORE = 8  # attributes of ours shown per span, besides those that have a place of their own
MOST_TEXT = 1000  # characters of anything that others wrote: no line is longer
NOTABLE = 1_000_000  # nanoseconds by which clocks may disagree without a note
# What has its place in the waterfall, or says little at a glance; --json has all.
PLACED = frozenset(
    f"guardhouse.{name}"
    for name in (
        *("decision", "reason", "rule", "principal", "proofs", "model", "model.version"),
        *("chain_us", "queue_us", "model_us"),
        *("request.bytes", "response.bytes", "request.messages", "response.messages"),
    )
)
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


def notes(node: Node, look: Look) -> Iterator[str]:
    """What deserves a line of its own under a span: why it was decided so, and what is odd. No colour."""
    span = node.span
    reason, rule = _said(span, "guardhouse.reason", look), _said(span, "guardhouse.rule", look)
    if reason or rule:
        yield ", ".join(filter(None, (reason, rule and f"rule {rule}")))
    if more := ", ".join(_more(span, look)):
        yield more
    yield from _links(span, look)
    if span.parent_id and not node.parent:
        yield f"without its parent {_text(span.parent_id, look)}"
    behind = node.shift - (node.parent.shift if node.parent else 0)
    if abs(behind) >= NOTABLE:
        length = duration(abs(behind)).replace("µ", look.symbol("µ", "u"))
        yield f"its clock is {length} {'behind' if behind > 0 else 'ahead'}: drawn at its parent's start"


def _more(span: Span, look: Look) -> list[str]:
    """Every other attribute of ours, as `units 64`: so a new one is seen without a new viewer."""
    names = sorted(key for key in span.attributes if key.startswith("guardhouse.") and key not in PLACED)
    named = [(_text(name.removeprefix("guardhouse."), look), _said(span, name, look)) for name in names]
    return [f"{name} {said}" for name, said in named[:MOST_MORE]]


def _links(span: Span, look: Look) -> Iterator[str]:
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
    return "" if value is None else printable(str(value)[:MOST_TEXT], look.ascii_only)
