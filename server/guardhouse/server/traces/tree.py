"""From the spans of one trace to a tree: who is below whom, and where clocks that disagree are put right."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardhouse.server.traces.spans import KINDS, Span

DEEPEST = 8  # levels that are told apart; deeper ones stand below each other
BRANCH, LAST, PASSING, NOTHING = "├└│ "
CONSUMER = KINDS.index("CONSUMER")  # may begin long after its parent ended


@dataclass(frozen=True, slots=True)
class Node:
    """A span in its place. *rails* has a character for each level above it, its own connector last.

    *shift* is what was added to its times, in nanoseconds; *parent* is None for a root.
    """

    span: Span
    rails: str = ""
    shift: int = 0
    parent: "Node | None" = None

    @property
    def start(self) -> int:
        """When it began, after the shift."""
        return self.span.start_ns + self.shift

    @property
    def end(self) -> int:
        """When it ended, after the shift; when it began, for a span that never said."""
        return max(self.start, self.span.end_ns + self.shift)


def in_order(spans: Sequence[Span]) -> Iterator[Node]:
    """Each span once: a parent before its children, brothers by start.

    A span whose parent is not here is a root; so is the earliest of a circle of parents.
    """
    order = sorted(range(len(spans)), key=lambda index: (spans[index].start_ns, spans[index].span_id))
    children: dict[str, list[int]] = defaultdict(list)
    for index in order:
        children[spans[index].parent_id].append(index)
    known = {span.span_id for span in spans}
    roots = [index for index in order if spans[index].parent_id not in known]
    seen: set[int] = set()
    for root in roots + order:  # the second time around only circles are left
        stack: list[tuple[int, Node | None, str]] = [(root, None, "")]
        while stack:  # not recursion: a trace may be deeper than Python's stack
            index, parent, connector = stack.pop()
            if index not in seen:
                seen.add(index)
                node = _node(spans[index], parent, connector)
                yield node
                below = [child for child in children[node.span.span_id] if child not in seen]
                stack.extend((child, node, LAST if child == below[-1] else BRANCH) for child in below[::-1])


def below(rails: str) -> str:
    """The rails of what stands under a node that has *rails*."""
    return rails.replace(BRANCH, PASSING).replace(LAST, NOTHING)


def _node(span: Span, parent: Node | None, connector: str) -> Node:
    if parent is None:
        return Node(span)
    return Node(span, below(parent.rails)[: DEEPEST - 1] + connector, _shift(span, parent), parent)


def _shift(span: Span, parent: Node) -> int:
    """What puts *span* where it can have happened: nothing begins before what caused it.

    One process has one clock, so a child goes with its parent. In another process it may also seem to begin
    after its parent ended: then, too, it is put at its parent's start.
    """
    same = span.resource == parent.span.resource
    inherited = parent.shift if same else 0
    start = span.start_ns + inherited
    late = not same and span.kind != CONSUMER and start > parent.end
    return parent.start - span.start_ns if start < parent.start or late else inherited
