"""From the spans of one trace to lines of text: a tree by parent, and bars on the trace's own time scale."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from guardhouse.server.traces.headline import headline, mark, notes, style
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.text import Look, cells, duration, fit, printable

LEAST_WIDTH = 40  # columns; a narrower terminal wraps
DURATION_WIDTH = 9
DEEPEST = 8  # levels that are indented; deeper ones stand below each other
PARTS = (
    ("guards", "guardhouse.chain_us"),
    ("model", "guardhouse.model_us"),
)  # in the order they take their time
LAST_SECOND = 253_402_300_799  # in the year 9999, where datetime ends


def render(spans: Sequence[Span], look: Look) -> list[str]:
    """The trace as lines, none longer than the look's width (40 at least) unless colour codes are counted.

    One header; for each span one line, then a line for each of `parts` and of `notes`. Never raises, whatever
    the spans hold: parents that are missing, repeated or circular, times that run backwards, hostile text.
    """
    if not spans:
        return []
    scale = Scale(spans, look)
    lines = [_header(spans, scale, look)]
    for depth, span in in_order(spans):
        lines.extend(_span_lines(depth, span, scale, look))
    return lines


class Scale:
    """Where a moment lies on a bar: the trace's first nanosecond is column 0, its last the last column."""

    def __init__(self, spans: Sequence[Span], look: Look) -> None:
        self.first = min(span.start_ns for span in spans)
        self.last = max(max(span.start_ns, span.end_ns) for span in spans)
        width = max(LEAST_WIDTH, look.width)
        self.columns = max(8, width // 5)
        self.label_columns = width - self.columns - DURATION_WIDTH - 2

    def bar(self, start: int, end: int, fill: str) -> str:
        """A bar from *start* to *end* (nanoseconds), at least one column, within the columns there are."""
        left = min(self.column(start), self.columns - 1)
        right = min(max(self.column(end), left + 1), self.columns)
        return " " * left + fill * (right - left) + " " * (self.columns - right)

    def column(self, moment: int) -> int:
        """The column of a moment; integers only, so that nanoseconds of this century keep their precision."""
        length = max(1, self.last - self.first)
        return min(max(0, (moment - self.first) * self.columns // length), self.columns)


def in_order(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each span once with its depth: a parent before its children, brothers by start.

    A span whose parent is not here is a root; so is the earliest of a circle of parents.
    """
    known = {span.span_id for span in spans}
    children: dict[str, list[int]] = defaultdict(list)
    order = sorted(range(len(spans)), key=lambda index: (spans[index].start_ns, spans[index].span_id))
    for index in order:
        children[spans[index].parent_id].append(index)
    roots = [index for index in order if spans[index].parent_id not in known]
    seen: set[int] = set()
    for root in roots + order:  # the second time around only circles are left
        stack = [(0, root)]
        while stack:  # not recursion: a trace may be deeper than Python's stack
            depth, index = stack.pop()
            if index not in seen:
                seen.add(index)
                yield depth, spans[index]
                stack.extend((depth + 1, child) for child in reversed(children[spans[index].span_id]))


def parts(span: Span) -> list[tuple[str, int, int]]:
    """The measured parts of a query as (name, start, end) in nanoseconds.

    Only their lengths are known: they are drawn one after the other, though guards also work after the model.
    """
    found, moment = [], span.start_ns
    for name, key in PARTS:
        micros = span.attributes.get(key)
        if isinstance(micros, int | float) and 0 < micros < 2**53:
            end = moment + int(micros * 1000)
            found.append((name, moment, end))
            moment = end
    return found


def _header(spans: Sequence[Span], scale: Scale, look: Look) -> str:
    count = "1 span" if len(spans) == 1 else f"{len(spans)} spans"
    words = f"  {_time(scale.first)}  {_length(scale.last - scale.first, look).strip()}  {count}"
    name = f"trace {printable(spans[0].trace_id)}"
    room = max(LEAST_WIDTH, look.width) - cells(name)
    return look.paint(name, "bold") + look.paint(fit(words, room, "").rstrip(), "dim")


def _time(nanoseconds: int) -> str:
    """A moment in UTC to the millisecond."""
    second, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(min(max(second, 0), LAST_SECOND), UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03}Z"


def _span_lines(depth: int, span: Span, scale: Scale, look: Look) -> Iterator[str]:
    indent = "  " * (min(depth, DEEPEST) + 1)
    looks = style(span)
    label = headline(span, max(1, scale.label_columns - len(indent)), look)
    label = mark(span, look) + indent[2:] + label
    bar = scale.bar(span.start_ns, span.end_ns, look.symbol("█", "#"))
    painted = look.paint(bar, looks if looks in ("refused", "error") else "bar")
    yield f"{look.paint(label, looks)} {painted} {_took(span, look)}"
    under = indent + look.symbol("· ", "- ")
    for name, start, end in parts(span):
        strip = scale.bar(start, end, look.symbol("▒", "="))
        text = fit(under + name, scale.label_columns)
        yield f"{look.paint(text, 'dim')} {look.paint(strip, 'part')} {_length(end - start, look)}"
    for note in notes(span, look):
        room = max(LEAST_WIDTH, look.width) - cells(under)
        yield look.paint((under + fit(note, room, look.symbol("…", "~"))).rstrip(), "dim")


def _took(span: Span, look: Look) -> str:
    """How long it took; a span that ends before it starts never said when it ended."""
    if span.end_ns < span.start_ns:
        return f"{'no end':>{DURATION_WIDTH}}"
    return _length(span.end_ns - span.start_ns, look)


def _length(nanoseconds: int, look: Look) -> str:
    return f"{duration(nanoseconds).replace('µ', look.symbol('µ', 'u')):>{DURATION_WIDTH}}"
