"""The chart of a result, as SVG: a bar for each row, of what it does while its base does 1."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

WIDTH: Final = 860  # pixels, all of them
LEFT: Final = 330  # where bars begin
FULL: Final = 440  # the length of a ratio of 1
STEP: Final = 34  # from one bar to the next
TOP: Final = 58
COLOUR: Final = {True: "#1f6feb", False: "#8b949e"}  # ours, and others


def chart(results: Mapping[str, Any]) -> str:
    """The CPU ratio of every row with its spread, longest is best."""
    rows = results["rows"]
    height = TOP + STEP * len(rows) + 30
    bars = "".join(_bar(TOP + STEP * place, name, row) for place, (name, row) in enumerate(rows.items()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f"{_text(16, 26, 'Calls per processor second, as a share of the unguarded server (its base)', 15)}"
        f"{_scale(height)}{bars}</svg>\n"
    )


def _bar(y: int, name: str, row: Mapping[str, Any]) -> str:
    middle, least, most = row["ratios"]["cpu"]
    centre = y + STEP // 2 - 5
    name = f"{name}: {row['what']}"
    colour = COLOUR[row["ours"]]
    spread = f"M{LEFT + _length(least)} {centre}H{LEFT + _length(most)}"
    return (
        f"{_text(16, centre + 5, name, 12)}"
        f'<rect x="{LEFT}" y="{y}" width="{_length(middle)}" height="{STEP - 10}" fill="{colour}"/>\n'
        f'<path d="{spread}" stroke="#24292f" stroke-width="2"/>\n'
        f"{_text(LEFT + _length(max(middle, most)) + 8, centre + 5, f'{middle:.2f}', 13)}"
    )


def _scale(height: int) -> str:
    lines = []
    for tenths in range(0, 11, 2):
        x = LEFT + _length(tenths / 10)
        lines.append(f'<path d="M{x} {TOP - 8}V{height - 26}" stroke="#d0d7de"/>\n')
        lines.append(_text(x - 9, height - 10, f"{tenths / 10:.1f}", 11))
    return "".join(lines)


def _text(x: float, y: float, words: str, size: int) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="#24292f">{escape(words)}</text>\n'


def _length(ratio: float) -> float:
    return round(ratio * FULL, 1)
