"""`guardhouse audit verify`: is the ledger as it was written?"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from guardhouse.interceptors.ledger.file import NAME
from guardhouse.interceptors.ledger.verify import Finding, Verdict, read_lines, verify
from guardhouse.server.audit.lines import escape, word
from guardhouse.server.commands.audit import Unreadable
from guardhouse.server.commands.output import emit

_FOLDERS = ("ledger", ".demo/ledger")
_PATH = click.argument("path", required=False, type=click.Path(path_type=Path))


@click.command("verify")
@_PATH
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.pass_context
def command(context: click.Context, path: Path | None, as_json: bool) -> None:
    """Check every line of the ledger at PATH, a folder or a file (default: ./ledger or ./.demo/ledger).

    Exit code 0: intact; 1: a record was changed, moved, removed or added; 2: there is nothing to read.
    """
    file_path = _ledger_file(path)
    verdict = _verdict(file_path)
    emit(_facts(file_path, verdict), as_json, "\n".join(_report(file_path, verdict)))
    context.exit(0 if verdict.intact else 1)


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
    verdict_word = (
        click.style("intact", fg="green") if verdict.intact else click.style("BROKEN", fg="red", bold=True)
    )
    yield f"{escape(str(path))}: {verdict_word}"
    yield f"  {verdict.count} lines, seq {verdict.first} to {verdict.last}, chain {word(verdict.chain)}"
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
