"""From the spans of one trace to lines of text: a tree by parent, and bars on the trace's own time scale."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from guardhouse.server.traces.headline import headline, mark, notes, style
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.text import Look, cells, duration, fit, printable
from guardhouse.server.traces.tree import BRANCH, DEEPEST, LAST, PASSING, Node, below, in_order

LEAST_WIDTH = 40  # columns; a narrower terminal wraps
DURATION_WIDTH = 9
PARTS = (
    ("guards", "guardhouse.chain_us"),
    ("queue", "guardhouse.queue_us"),
    ("model", "guardhouse.model_us"),
)  # in the order they take their time
PLAIN_RAILS = str.maketrans({BRANCH: "+", LAST: "`", PASSING: "|"})
LAST_SECOND = 253_402_300_799  # in the year 9999, where datetime ends


def render(
    spans: Sequence[Span],
    look: Look,
    *,
    earlier: Sequence[Span] = (),
    total: int = 0,
    most: int | None = None,
) -> list[str]:
    """The trace as lines, none longer than the look's width (40 at least) unless colour codes are counted.

    One header; for each span one line, then a line for each of `parts` and of `notes`. Never raises, whatever
    the spans hold: parents that are missing, repeated or circular, times that run backwards, hostile text.

    Args:
        spans: What to show, all of one trace.
        look: How to draw.
        earlier: Spans of the trace that were shown before: they give *spans* their place, and are not shown.
        total: How many spans there are to show, if more than *spans* has.
        most: How many spans to show; a last line says how many more there are.
    """
    if not spans:
        return []
    nodes = list(in_order([*earlier, *spans]))
    scale, shown = Scale(nodes, look), set(map(id, spans))
    total = max(total, len(spans))
    lines = [_header(spans[0].trace_id, scale, total, bool(earlier), look)]
    drawn = list(islice((node for node in nodes if id(node.span) in shown), most))
    for node in drawn:
        lines.extend(_span_lines(node, scale, look))
    if total > len(drawn):
        left = f"  {total - len(drawn):,} more: `guardhouse traces {printable(spans[0].trace_id)}`"
        lines.append(look.paint(fit(left, scale.width, look.symbol("…", "~")).rstrip(), "dim"))
    return lines


class Scale:
    """Where a moment lies on a bar: the trace's first nanosecond is column 0, its last the last column."""

    def __init__(self, nodes: Sequence[Node], look: Look) -> None:
        self.first = min(node.start for node in nodes)
        self.last = max(node.end for node in nodes)
        self.width = max(LEAST_WIDTH, look.width)
        self.columns = max(8, self.width // 5)
        self.label_columns = self.width - self.columns - DURATION_WIDTH - 2
        self.levels = min(DEEPEST, self.label_columns // 6)  # a third of the label, at two columns each

    def bar(self, start: int, end: int, fill: str) -> str:
        """A bar from *start* to *end* (nanoseconds), at least one column, within the columns there are."""
        left = min(self.column(start), self.columns - 1)
        right = min(max(self.column(end), left + 1), self.columns)
        return " " * left + fill * (right - left) + " " * (self.columns - right)

    def column(self, moment: int) -> int:
        """The column of a moment; integers only, so that nanoseconds of this century keep their precision."""
        length = max(1, self.last - self.first)
        return min(max(0, (moment - self.first) * self.columns // length), self.columns)

    def indent(self, rails: str, look: Look) -> str:
        """*rails* in two columns each; of those that are too many, the outer ones and the innermost."""
        kept = rails if len(rails) <= self.levels else rails[: self.levels - 1] + rails[-1]
        return "".join(f"{rail} " for rail in look.symbol(kept, kept.translate(PLAIN_RAILS)))


def parts(span: Span, start: int) -> list[tuple[str, int, int]]:
    """The measured parts of a query that began at *start*, as (name, start, end) in nanoseconds.

    Only their lengths are known: they are drawn one after the other, though guards also work after the model.
    """
    found, moment = [], start
    for name, key in PARTS:
        micros = span.attributes.get(key)
        if isinstance(micros, int | float) and 0 < micros < 2**53:
            end = moment + int(micros * 1000)
            found.append((name, moment, end))
            moment = end
    return found


def _header(trace_id: str, scale: Scale, total: int, added: bool, look: Look) -> str:
    count = f"{total:,} {'more ' if added else ''}{'span' if total == 1 else 'spans'}"
    words = f"  {_length(scale.last - scale.first, look).strip()}  {count}"
    name = f"trace {printable(trace_id)}"
    room = scale.width - cells(name)
    if len(moment := f"  {_time(scale.first)}") + len(words) <= room:  # the first to go where it is narrow
        words = moment + words
    return look.paint(name, "bold") + look.paint(fit(words, room, "").rstrip(), "dim")


def _time(nanoseconds: int) -> str:
    """A moment in UTC to the millisecond."""
    second, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(min(max(second, 0), LAST_SECOND), UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03}Z"


def _span_lines(node: Node, scale: Scale, look: Look) -> Iterator[str]:
    yield _span_line(node, scale, look)
    under = "  " + scale.indent(below(node.rails), look) + look.symbol("· ", "- ")
    for name, start, end in parts(node.span, node.start):
        strip = scale.bar(start, end, look.symbol("▒", "="))
        text = fit(under + name, scale.label_columns)
        yield f"{look.paint(text, 'dim')} {look.paint(strip, 'part')} {_length(end - start, look)}"
    for note in notes(node, look):
        room = scale.width - cells(under)
        yield look.paint((under + fit(note, room, look.symbol("…", "~"))).rstrip(), "dim")


def _span_line(node: Node, scale: Scale, look: Look) -> str:
    looks, indent = style(node.span), scale.indent(node.rails, look)
    words = headline(node.span, max(1, scale.label_columns - 2 - cells(indent)), look)
    bar = scale.bar(node.start, node.end, look.symbol("█", "#"))
    fill = looks if looks in ("refused", "error") else "child" if node.parent else "bar"
    label = look.paint(mark(node.span, look), looks) + look.paint(indent, "dim") + look.paint(words, looks)
    return f"{label} {look.paint(bar, fill)} {_took(node.span, look)}"


def _took(span: Span, look: Look) -> str:
    """How long it took; a span that ends before it starts never said when it ended."""
    if span.end_ns < span.start_ns:
        return f"{'no end':>{DURATION_WIDTH}}"
    return _length(span.end_ns - span.start_ns, look)


def _length(nanoseconds: int, look: Look) -> str:
    return f"{duration(nanoseconds).replace('µ', look.symbol('µ', 'u')):>{DURATION_WIDTH}}"
