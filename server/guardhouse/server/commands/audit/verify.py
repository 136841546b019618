"""`guardhouse audit verify`: is the ledger as it was written?"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from guardhouse.interceptors.ledger.chain import START, Link
from guardhouse.interceptors.ledger.verify import Demands, Finding, Verdict, read_lines, verify_files
from guardhouse.server.audit.demands import anchor, key, public_key
from guardhouse.server.audit.files import ledger_at, ledger_files
from guardhouse.server.audit.lines import escape, word
from guardhouse.server.commands.audit import reading
from guardhouse.server.commands.output import emit

BROKEN: Final = 1
TORN: Final = 3  # 2 is: nothing to read


@click.command("verify")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--anchor",
    metavar="FILE|SEQ:HASH",
    callback=anchor,
    help="A head noted earlier, or the anchor file: finds a cut tail, and an old copy put back.",
)
@click.option(
    "--public-key",
    metavar="FILE",
    callback=public_key,
    help="Who must have signed its checkpoints (Ed25519, PEM).",
)
@click.option(
    "--key",
    metavar="FILE|${NAME}",
    callback=key,
    help="The key of its hashes: a file, or ${NAME} for an environment variable. Demanded if given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.pass_context
def command(
    context: click.Context, path: Path | None, anchor: Link | None, public_key: str, key: bytes, as_json: bool
) -> None:
    """Check every line of the ledger at PATH: a folder with all its files, or one file.

    By default PATH is ./ledger or ./.demo/ledger. The first bad record is named by file, line and number.

    Exit code 0: intact; 1: a record was changed, moved, removed or added; 2: there is nothing to read;
    3: intact up to its last line, which a stopped writer left without an end.
    """
    with reading():
        place = ledger_at(path)
        verdict = _verdict(place, Demands(key, public_key, anchor))
    emit(_facts(place, verdict), as_json, "\n".join(_report(place, verdict, anchor)))
    context.exit(0 if verdict.intact else TORN if verdict.torn else BROKEN)


def _verdict(place: Path, demands: Demands) -> Verdict:
    """The verdict on what is there. A torn end, or a file more, may be the writer at work: look again."""
    after = START if place.is_dir() else None
    for _ in range(3):
        files = ledger_files(place)
        with ExitStack() as stack:
            opened = [(path.name, stack.enter_context(path.open("rb"))) for path in files]
            verdict = verify_files(((name, read_lines(file)) for name, file in opened), after, demands)
        if files == ledger_files(place) and not verdict.torn:
            break
        time.sleep(0.1)
    return verdict


def _facts(place: Path, verdict: Verdict) -> dict[str, Any]:
    return {
        "path": str(place),
        "intact": verdict.intact,
        "torn": verdict.torn,
        "lines": verdict.count,
        "chain": verdict.chain,
        "scheme": verdict.scheme,
        "first": verdict.first,
        "last": verdict.last,
        "head": verdict.head,
        "signed": verdict.signed,
        "fault_count": verdict.fault_count,
        "faults": [_fact(finding) for finding in verdict.faults],
        "gap_count": verdict.gap_count,
        "gaps": [_fact(finding) for finding in verdict.gaps],
    }


def _fact(finding: Finding) -> dict[str, Any]:
    return {
        "file": finding.file,
        "line": finding.line,
        "seq": finding.sequence,
        "what": finding.what,
        "detail": finding.detail,
    }


def _report(place: Path, verdict: Verdict, noted: Link | None) -> Iterator[str]:
    yield f"{escape(str(place))}: {_judgement(verdict)}"
    yield f"  {verdict.count} lines, seq {verdict.first} to {verdict.last}, chain {word(verdict.chain)}"
    for fault in verdict.faults:
        yield click.style(f"  {_found(fault)}", fg="red")
    if verdict.fault_count > len(verdict.faults):
        yield f"  and {verdict.fault_count - len(verdict.faults)} more"
    for gap in verdict.gaps:
        yield click.style(f"  {_found(gap)} (recorded by the ledger itself)", fg="yellow")
    if verdict.gap_count > len(verdict.gaps):
        yield f"  and {verdict.gap_count - len(verdict.gaps)} more gaps"
    if verdict.signed:
        yield f"  signed up to seq {verdict.signed}"
    yield f"  head: seq {verdict.last}, {verdict.head}"
    if noted is None:
        yield "  A cut at the end, or a changed last line, does not show in the files: give --anchor, a head"
        yield "  that was noted elsewhere."


def _judgement(verdict: Verdict) -> str:
    if verdict.intact:
        return click.style("intact", fg="green")
    if verdict.torn:
        return click.style(f"intact up to seq {verdict.last}; its last line is torn", fg="yellow")
    return click.style("BROKEN", fg="red", bold=True)


def _found(finding: Finding) -> str:
    file = f"{escape(finding.file)} " if finding.file else ""
    number = f" (seq {finding.sequence})" if finding.sequence else ""
    return f"{file}line {finding.line}{number}: {finding.what}: {escape(finding.detail)}"
