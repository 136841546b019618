"""Traces on the standard output: for a person as waterfalls, for a program as JSON lines."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence

import click

from guardhouse.server.traces.spans import Span, to_document
from guardhouse.server.traces.store import Arrival, Store
from guardhouse.server.traces.text import Look
from guardhouse.server.traces.waterfall import render

MOST_DRAWN = 200  # spans of a trace, unless it alone was asked for
MOST_READ = 5_000  # spans of a trace that are in memory at once, while following
MOST_PER_TICK = 200  # waterfalls; a terminal shows no more in that time, and the receiver needs the processor

Show = Callable[[Store, Sequence[Arrival]], None]


def show_stored(traces: Sequence[list[Span]], as_json: bool, most: int | None) -> None:
    """Print whole traces; as waterfalls of *most* spans each, or of all."""
    for spans in traces:
        if as_json:
            _print_json(spans)
        else:
            _print_lines(render(spans, look(), most=most))


def show_text(store: Store, arrivals: Sequence[Arrival]) -> None:
    """Draw what arrived; of a flood only as much as a terminal can take, and say so."""
    for arrival in arrivals[:MOST_PER_TICK]:
        _draw(store, arrival)
    left = len(arrivals) - MOST_PER_TICK
    if left > 0:
        click.echo(
            f"{left} more traces arrived at once: `guardhouse traces --last {left}` shows them\n", err=True
        )


def show_json(store: Store, arrivals: Sequence[Arrival]) -> None:
    """Print what arrived: an object for each arrival, and for each further `MOST_READ` spans of one."""
    for arrival in arrivals:
        for spans in _pages(store, arrival):
            _print_json(spans)


def look() -> Look:
    """What the terminal can do, asked each time: its window may have changed."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return Look(
        width=shutil.get_terminal_size((100, 24)).columns,
        colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        ascii_only=not encoding.startswith("utf"),
    )


def _draw(store: Store, arrival: Arrival) -> None:
    """The spans of *arrival* in their places; the newest of those that came before are read for that."""
    spans = store.part(arrival.trace_id, arrival.first, arrival.last, MOST_READ)
    earlier = store.part(arrival.trace_id, 0, arrival.first - 1, MOST_READ)
    total = len(spans) if len(spans) < MOST_READ else store.count_part(arrival)
    _print_lines(render(spans, look(), earlier=earlier, total=total, most=MOST_DRAWN))


def _pages(store: Store, arrival: Arrival) -> Iterator[list[Span]]:
    """The spans of *arrival*, some thousands at a time, in order of arrival."""
    whole = store.count_part(arrival) <= MOST_READ
    step = arrival.last + 1 - arrival.first if whole else MOST_READ
    for first in range(arrival.first, arrival.last + 1, step):
        spans = store.part(arrival.trace_id, first, min(first + step - 1, arrival.last))
        if spans:
            yield spans


def _print_json(spans: list[Span]) -> None:
    click.echo(json.dumps(to_document(spans)))  # ASCII only, so it cannot drive a terminal either


def _print_lines(lines: Sequence[str]) -> None:
    if lines:  # pruned meanwhile
        click.echo("\n".join(lines) + "\n")
