"""The tree of a trace: who is below whom, what is missing, and clocks that disagree."""

from dataclasses import replace
from typing import Any

from guardhouse.server.traces.headline import notes
from guardhouse.server.traces.spans import Span
from guardhouse.server.traces.text import Look
from guardhouse.server.traces.tree import in_order
from guardhouse.server.traces.waterfall import render

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MS = 1_000_000


def plain(number: int, parent: int = 0, start: int = 0, end: int = 10, **more: Any) -> Span:
    parent_id = f"{parent:016x}" if parent else ""
    return Span(TRACE, f"{number:016x}", parent_id, f"n{number}", start_ns=start, end_ns=end, **more)


def noted(*spans: Span) -> list[str]:
    return [note for node in in_order(spans) for note in notes(node, Look())]


def test_a_tree_is_indented_in_order_of_time() -> None:
    """Parents stand before their children, brothers by their start, each on the scale of the whole trace."""
    spans = [plain(3, 1, 6, 8), plain(4, 2, 3, 4), plain(2, 1, 2, 5), plain(1, 0, 0, 10)]
    lines = render(spans, Look(60))[1:]
    assert [line[:8].rstrip() for line in lines] == ["  n1", "  ├ n2", "  │ └ n4", "  └ n3"]
    bars = [line[-22:-10] for line in lines]
    assert bars == ["████████████", "  ████      ", "   █        ", "       ██   "]


def test_rails_join_brothers_across_what_is_between() -> None:
    """A connector for each child, a line past the children of a brother, and none below the last."""
    spans = [plain(1), plain(2, 1, 1), plain(3, 2, 2), plain(4, 3, 3), plain(5, 2, 4), plain(6, 1, 5)]
    lines = render(spans, Look(60))[1:]
    assert [line[:12].rstrip() for line in lines] == [
        "  n1",
        "  ├ n2",
        "  │ ├ n3",
        "  │ │ └ n4",
        "  │ └ n5",
        "  └ n6",
    ]
    plainly = render(spans, Look(60, ascii_only=True))[1:]
    assert [line[:10].rstrip() for line in plainly][2:5] == ["  | + n3", "  | | ` n4", "  | ` n5"]


def test_notes_stand_under_their_span() -> None:
    """What is said of a span has the rails of what follows it."""
    link = {"trace_id": "b" * 32}
    lines = render([plain(1), plain(2, 1, 1, links=[link]), plain(3, 1, 2, links=[link])], Look())
    assert [line[:20] for line in lines if "linked" in line] == [
        "  │ · linked trace b",
        "    · linked trace b",
    ]


def test_deep_trees_keep_room_for_names() -> None:
    """However deep, and however narrow the terminal, a third of a label at most is indentation."""
    lines = render([plain(n, n - 1, n) for n in range(1, 40)], Look(40))
    assert all(f"└ n{n}"[:5] in lines[n] for n in range(2, 40))
    assert lines[39].startswith("      " + "  └ n39"[2:])


def test_late_children_show_in_their_place() -> None:
    """What came after the trace was shown is drawn alone, where it belongs on the whole trace's scale."""
    header, line = render([plain(3, 2, 5, 10)], Look(60), earlier=[plain(1), plain(2, 1, 0, 5)])
    assert header.endswith("10 ns  1 more span")
    assert line.startswith("    └ n3")
    assert line[-22:-10] == "      ██████"


def test_orphans_and_circles_are_shown() -> None:
    """A parent that is missing or goes around in a circle hides nothing."""
    spans = [plain(1, 9), plain(2, 3), plain(3, 2), plain(4, 4)]
    rails = {node.span.name: node.rails for node in in_order(spans)}
    assert rails == {"n1": "", "n2": "", "n3": "└", "n4": ""}
    assert len(list(in_order(spans))) == 4


def test_a_missing_parent_is_said() -> None:
    """A span whose parent is not here stands like a root, and says so; the others do not."""
    assert noted(plain(1), plain(2, 1), plain(3, 9)) == ["without its parent 0000000000000009"]


def test_a_very_deep_trace_is_shown() -> None:
    """A chain of spans deeper than Python's stack is drawn like any other."""
    assert len(render([plain(n, n - 1) for n in range(1, 3000)], Look())) == 3000


def test_a_clock_that_is_behind_is_put_right() -> None:
    """A child that seems to begin before its parent is drawn at the parent's start, and so are its own."""
    spans = [
        plain(1, 0, 100 * MS, 110 * MS),
        plain(2, 1, 40 * MS, 45 * MS),
        plain(3, 2, 41 * MS, 44 * MS),
    ]
    nodes = list(in_order(spans))
    assert [node.start // MS for node in nodes] == [100, 100, 101]
    assert noted(*spans) == ["its clock is 60.0 ms behind: drawn at its parent's start"]
    assert render(spans, Look(60))[0].endswith("  10.0 ms  3 spans")


def test_a_clock_that_is_ahead_is_put_right() -> None:
    """In another process a child that begins after its parent's end has another clock; consumers are late."""
    here, there = {"service.name": "a"}, {"service.name": "b"}
    parent = plain(1, 0, 100 * MS, 110 * MS, resource=here)
    ahead = plain(2, 1, 900 * MS, 905 * MS, resource=there)
    assert noted(parent, ahead) == ["its clock is 800 ms ahead: drawn at its parent's start"]
    for late in (replace(ahead, kind=5), replace(ahead, resource=here)):
        assert noted(parent, late) == []


def test_a_little_skew_is_not_worth_a_word() -> None:
    """Clocks of one machine may disagree by microseconds: put right, without a note."""
    assert noted(plain(1, 0, 1000, 2000), plain(2, 1, 900, 1500)) == []


def test_of_a_large_trace_only_so_much_is_drawn() -> None:
    """A trace of thousands of spans is cut after so many, and says how to see the rest."""
    spans = [plain(1)] + [plain(n, 1, 1) for n in range(2, 5001)]
    lines = render(spans, Look(), most=200)
    assert len(lines) == 202
    assert lines[0].endswith("  5,000 spans")
    assert lines[-1] == f"  4,800 more: `guardhouse traces {TRACE}`"
    assert render(spans[:3], Look(), total=7000, most=200)[-1].startswith("  6,997 more")
    assert len(render(spans, Look())) == 5001
