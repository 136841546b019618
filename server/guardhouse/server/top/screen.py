"""A terminal that is drawn on and put back: the other screen, no cursor, keys without Enter."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

ENTER: Final = "\x1b[?1049h\x1b[?25l"
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
HOME: Final = "\x1b[H"
END_OF_LINE: Final = "\x1b[K\r\n"
BELOW: Final = "\x1b[J"
LOOK: Final = 0.1  # seconds between two looks at keys and the size of the window


class Screen:
    """What `drawing` lends."""

    def __init__(self) -> None:
        self._size = (0, 0)  # for which was drawn last

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now, to draw for."""
        self._size = _size()
        return self._size

    def draw(self, lines: Sequence[str], head: int) -> None:
        """Show *lines*, the one numbered *head* in reverse; without colours where NO_COLOR is set."""
        shown = list(lines)
        if head < len(shown) and not os.environ.get("NO_COLOR"):
            shown[head] = f"\x1b[7m{shown[head]}\x1b[0m"
        sys.stdout.write(HOME + END_OF_LINE.join(shown) + "\x1b[K" + BELOW)
        sys.stdout.flush()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the window has not the size drawn for. False where a key says to quit."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and _size() == self._size:
            ready, _, _ = select.select([sys.stdin], [], [], min(LOOK, left))
            if ready and os.read(sys.stdin.fileno(), 64) in (b"", b"q", b"Q", b"\x1b", b"\x03"):
                return False
        return True


def _size() -> tuple[int, int]:
    size = os.get_terminal_size(sys.stdout.fileno())
    return size.columns or 80, size.lines or 24


@contextmanager
def drawing() -> Iterator[Screen]:
    """Draw on the terminal, both ends of which stdin and stdout must be; however it ends, it is put back."""
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    handler = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        tty.setcbreak(keys)
        sys.stdout.write(ENTER)
        yield Screen()
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, handler)
