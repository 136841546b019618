"""`guardhouse audit`: is the ledger as it was written, and what does it say?"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from guardhouse.interceptors.ledger.chain import parse
from guardhouse.interceptors.ledger.file import NAME
from guardhouse.interceptors.ledger.verify import LONGEST_LINE, Finding, Verdict, read_lines, verify
from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.output import emit

_FOLDERS = ("ledger", ".demo/ledger")
_PATH = click.argument("path", required=False, type=click.Path(path_type=Path))
_COLOURS = {
    "OK": "green",
    "PERMISSION_DENIED": "yellow",
    "UNAUTHENTICATED": "yellow",
    "RESOURCE_EXHAUSTED": "yellow",
}
_QUIET = {"kind", "time", "seq", "prev"}  # said elsewhere on the line, or of no use to a reader
_FOLLOW_SECONDS = 0.2


class Unreadable(click.ClickException):
    """There is no ledger that could be read at the path."""

    exit_code = 2


@click.group("audit", cls=Group)
def command() -> None:
    """Check that the ledger is as it was written, or read what it says."""


@command.command("verify")
@_PATH
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.pass_context
def verify_command(context: click.Context, path: Path | None, as_json: bool) -> None:
    """Check every line of the ledger at PATH, a folder or a file (default: ./ledger or ./.demo/ledger).

    Exit code 0: intact; 1: a record was changed, moved, removed or added; 2: there is nothing to read.
    """
    file_path = _ledger_file(path)
    verdict = _verdict(file_path)
    emit(_facts(file_path, verdict), as_json, "\n".join(_report(file_path, verdict)))
    context.exit(0 if verdict.intact else 1)


@command.command("tail")
@_PATH
@click.option("--follow", "-f", is_flag=True, help="Go on printing new entries, until Ctrl-C.")
@click.option(
    "--last", "-n", default=20, show_default=True, type=click.IntRange(min=0), help="How many entries."
)
@click.option("--json", "as_json", is_flag=True, help="Print each entry as a line of JSON.")
def tail_command(path: Path | None, follow: bool, last: int, as_json: bool) -> None:
    """Print the newest entries of the ledger at PATH (a folder or a file; default: as for verify)."""
    file_path = _ledger_file(path)
    show = as_line if as_json else as_text
    try:
        with _open(file_path) as file:
            for line in _last_lines(file, last):
                click.echo(show(line))
            end = file.tell()
        for line in _new_lines(file_path, end) if follow else ():
            click.echo(show(line))
    except KeyboardInterrupt:
        click.echo()


def as_text(line: bytes) -> str:
    """One ledger line for a person: coloured, and harmless whatever the line holds."""
    parsed = parse(line)
    if parsed is None:
        return click.style(
            f"not a ledger line: {escape(line.decode('utf-8', 'backslashreplace'))[:200]}", fg="red"
        )
    entry = parsed.entry
    moment = click.style(escape(str(entry.get("time", "-"))), dim=True)
    if entry.get("kind") != "query":
        rest = " ".join(f"{escape(key)}={_word(value)}" for key, value in entry.items() if key not in _QUIET)
        return f"{moment}  {click.style(_word(entry.get('kind')), fg='cyan')}  {rest}"
    status = _word(entry.get("status"))
    status = click.style(f"{status:<18}", fg=_COLOURS.get(status, "red"))
    method = _word(entry.get("method")).rpartition("/")[2]
    model = ":".join(_word(entry[key]) for key in ("model", "version") if entry.get(key)) or "-"
    who, reason = _word(entry.get("principal")), _word(entry.get("reason"))
    return (
        f"{moment}  {status}  {_milliseconds(entry.get('total_us')):>9}  {who}  {method}  {model}  {reason}"
    )


def as_line(line: bytes) -> str:
    """One ledger line for a program: JSON in ASCII, also where the line is not a ledger line."""
    parsed = parse(line)
    entry = (
        parsed.entry if parsed else {"kind": "unreadable", "text": line.decode("utf-8", "backslashreplace")}
    )
    return json.dumps(entry, separators=(",", ":"))


def escape(text: str) -> str:
    """*text* without anything a terminal would obey: controls, line ends, bidirectional marks, surrogates."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escape(text) if value not in ("", None) else "-"


def _milliseconds(value: object) -> str:
    return f"{value / 1000:.1f} ms" if isinstance(value, int | float) else "-"


def _ledger_file(path: Path | None) -> Path:
    """The file meant by *path*: it may be its folder, or left out."""
    if path is None:
        path = next((Path(folder) for folder in _FOLDERS if (Path(folder) / NAME).is_file()), None)
        if path is None:
            raise Unreadable(f"no ledger in {' or '.join(_FOLDERS)}: name its folder or file")
    file_path = path / NAME if path.is_dir() else path
    if not file_path.is_file():
        raise Unreadable(f"no ledger at {escape(str(file_path))}: name its folder or file")
    return file_path


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable(f"cannot read {escape(str(path))}: {error.strerror}") from error


def _verdict(path: Path) -> Verdict:
    """The verdict on the file. A torn end may be a write under way: look again, it is soon over."""
    for _ in range(3):
        with _open(path) as file:
            try:
                verdict = verify(read_lines(file))
            except OSError as error:
                raise Unreadable(f"cannot read {escape(str(path))}: {error.strerror}") from error
        if not (verdict.bad and verdict.bad.what == "torn last line"):
            break
        time.sleep(0.1)
    return verdict


def _facts(path: Path, verdict: Verdict) -> dict[str, object]:
    def each(findings: tuple[Finding, ...]) -> list[dict[str, object]]:
        return [
            {"line": finding.line, "seq": finding.sequence, "what": finding.what, "detail": finding.detail}
            for finding in findings
        ]

    return {
        "path": str(path),
        "intact": verdict.intact,
        "lines": verdict.count,
        "chain": verdict.chain,
        "first": verdict.first,
        "last": verdict.last,
        "head": verdict.head,
        "fault_count": verdict.fault_count,
        "faults": each(verdict.faults),
        "gap_count": verdict.gap_count,
        "gaps": each(verdict.gaps),
    }


def _report(path: Path, verdict: Verdict) -> Iterator[str]:
    word = click.style("intact", fg="green") if verdict.intact else click.style("BROKEN", fg="red", bold=True)
    yield f"{escape(str(path))}: {word}"
    yield f"  {verdict.count} lines, seq {verdict.first} to {verdict.last}, chain {_word(verdict.chain)}"
    for fault in verdict.faults:
        yield click.style(f"  {_found(fault)}", fg="red")
    if verdict.fault_count > len(verdict.faults):
        yield f"  and {verdict.fault_count - len(verdict.faults)} more"
    for gap in verdict.gaps:
        yield click.style(f"  {_found(gap)} (recorded by the ledger itself)", fg="yellow")
    if verdict.gap_count > len(verdict.gaps):
        yield f"  and {verdict.gap_count - len(verdict.gaps)} more gaps"
    yield f"  head: seq {verdict.last}, {verdict.head}"
    yield "  A cut at the end, or a changed last line, does not show in the file: compare this head with one"
    yield "  that you noted elsewhere."


def _found(finding: Finding) -> str:
    place = f"line {finding.line}" + (f" (seq {finding.sequence})" if finding.sequence else "")
    return f"{place}: {finding.what}: {escape(finding.detail)}"


def _last_lines(file: BinaryIO, count: int) -> list[bytes]:
    """The last *count* whole lines, without newlines; the file then stands behind them."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start and tail.count(b"\n") <= count and len(tail) < LONGEST_LINE:
        start = max(0, start - (1 << 16))
        file.seek(start)
        tail = file.read(end - start)
    whole = tail[: tail.rfind(b"\n") + 1]
    file.seek(end - len(tail) + len(whole))
    return whole.split(b"\n")[:-1][-count:] if count else []


def _new_lines(path: Path, position: int) -> Iterator[bytes]:
    """Lines, without newlines, as they come; from the beginning again where the file was replaced or cut."""
    file, rest = _open(path), b""
    file.seek(position)
    while True:
        moved = _moved(path, file)  # asked before reading: the old file's last lines count too
        piece = file.read(1 << 20)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if moved and not piece:
            file.close()
            file, rest = _open(path), b""
        elif not piece:
            time.sleep(_FOLLOW_SECONDS)


def _moved(path: Path, file: BinaryIO) -> bool:
    """Whether another file stands at *path* now, or this one became shorter."""
    here = os.fstat(file.fileno())
    try:
        there = path.stat()
    except OSError:
        return False
    return not os.path.samestat(here, there) or here.st_size < file.tell()
