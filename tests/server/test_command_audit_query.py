"""`guardhouse audit query` on real ledgers, with the real DuckDB."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from guardhouse.server.audit.database import searching

from .conftest import Run, Said
from .ledgers import write

BASE: dict[str, object] = {
    "kind": "query",
    "method": "inference.GRPCInferenceService/ModelInfer",
    "version": "1",
    "status": "OK",
    "reason": "",
    "units": 1,
    "request_bytes": 100,
    "response_bytes": 2000,
    "model_us": 500,
}


def call(number: int) -> dict[str, object]:
    """Call *number* of 40: one a minute, of two principals and two models; each fifth is refused."""
    refused = {"status": "RESOURCE_EXHAUSTED", "reason": "RATE", "units": 0, "model_us": 0}
    return {
        **BASE,
        "time": f"2026-11-25T{9 + number // 30:02}:{number % 30:02}:00.000000Z",
        "principal": ("ann", "bob")[number % 2],
        "model": ("digits", "fraud")[number % 4 == 0],
        "total_us": 1000 * (number + 1),
        **(refused if number % 5 == 0 else {}),
    }


CALLS = [call(number) for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger that was rotated after 15 calls, with a genesis line, and a torn last line."""
    folder = tmp_path / "ledger"
    path = write(folder, *CALLS)
    lines = path.read_bytes().splitlines(keepends=True)
    (folder / "ledger-000001.jsonl").write_bytes(b"".join(lines[:16]))
    path.write_bytes(b"".join(lines[16:]) + b'{"kind":"query","time":"2026')
    return folder


def found(said: Said) -> list[dict[str, Any]]:
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def totals(said: Said) -> list[int]:
    """Which of `CALLS` were printed."""
    return [entry["total_us"] // 1000 - 1 for entry in found(said)]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], range(40)),
        (["--principal", "bob"], range(1, 40, 2)),
        (["--principal", "ann", "--principal", "bob"], range(40)),
        (["--model", "fraud"], range(0, 40, 4)),
        (["--method", "ModelInfer"], range(40)),
        (["--method", "inference.GRPCInferenceService/ModelInfer"], range(40)),
        (["--method", "ModelReady"], []),
        (["--decision", "refused"], range(0, 40, 5)),
        (["--decision", "allowed", "--limit", "3"], [37, 38, 39]),
        (["--reason", "RATE", "--model", "fraud"], [0, 20]),
        (["--since", "2026-11-25T10:00:00Z"], range(30, 40)),
        (["--until", "2026-11-25T11:01:00+02:00"], [0]),
        (["--since", "2026-11-25T09:29:00Z", "--until", "2026-11-25T10:01:00Z"], [29, 30]),
        (["--since", "1s"], []),
        (["--limit", "2"], [38, 39]),
    ],
)
def test_calls_are_found_by_what_is_asked(
    options: list[str], wanted: list[int], folder: Path, run: Run
) -> None:
    """Every option narrows; values of one option add up; the newest stand last, across rotated files."""
    assert totals(run("audit", "query", folder, "--json", *options)) == list(wanted)


def test_a_call_is_printed_as_tail_prints_it(folder: Path, run: Run) -> None:
    """For a person, the same line as tail's; what could not be read is counted beside it."""
    said = run("audit", "query", folder, "--limit", "1")
    assert said.out == (
        "2026-11-25T10:09:00.000000Z  OK                    40.0 ms  bob  ModelInfer  digits:1  -\n"
    )
    assert "1 lines could not be read" in said.err


def test_sums_are_those_of_python(folder: Path, run: Run) -> None:
    """Calls, refusals, units, bytes, model time and quantiles of each principal, counted another way."""
    said = run("audit", "query", folder, "--sum", "principal", "--json")
    told = json.loads(said.out)
    assert told["by"] == ["principal"]
    for row in [*told["rows"], {**told["total"], "principal": None}]:
        calls: list[Any] = [each for each in CALLS if row["principal"] in (None, each["principal"])]
        times = sorted(each["total_us"] for each in calls)
        assert row == {
            "principal": row["principal"],
            "calls": len(calls),
            "refused": sum(each["reason"] != "" for each in calls),
            "units": sum(each["units"] for each in calls),
            "request_bytes": 100 * len(calls),
            "response_bytes": 2000 * len(calls),
            "model_us": sum(each["model_us"] for each in calls),
            "p50_us": statistics.median_low(times),
            "p99_us": times[-1],
        }
    assert [row["principal"] for row in told["rows"]] == ["ann", "bob"]


def test_sums_by_several_keys_and_by_time(folder: Path, run: Run) -> None:
    """Keys combine; hours stand in their order; the limit counts rows, and the total stays whole."""
    told = json.loads(run("audit", "query", folder, "--sum", "hour", "--sum", "reason", "--json").out)
    rows = [(row["hour"], row["reason"], row["calls"]) for row in told["rows"]]
    assert rows == [
        ("2026-11-25T09:00Z", "", 24),
        ("2026-11-25T09:00Z", "RATE", 6),
        ("2026-11-25T10:00Z", "", 8),
        ("2026-11-25T10:00Z", "RATE", 2),
    ]
    one = json.loads(run("audit", "query", folder, "--sum", "model", "--limit", "1", "--json").out)
    assert [row["model"] for row in one["rows"]] == ["digits"]
    assert one["total"]["calls"] == 40


def test_the_table_has_a_row_for_each_and_the_total(folder: Path, run: Run) -> None:
    """For a person, equal columns with units."""
    said = run("audit", "query", folder, "--sum", "model")
    assert said.out.splitlines() == [
        "model   calls  refused  units       in       out    model      p50      p99",
        "digits     30        6     24  2.9 KiB  58.6 KiB  12.0 ms  20.0 ms  40.0 ms",
        "fraud      10        2      8   1000 B  19.5 KiB   4.0 ms  17.0 ms  37.0 ms",
        "total      40        8     32  3.9 KiB  78.1 KiB  16.0 ms  20.0 ms  40.0 ms",
    ]


EVIL = [
    "' OR 1=1 --",
    '" OR ""="',
    "x'; COPY (SELECT 1) TO 'stolen'; --",
    "$files",
    "?",
    "%",
    "*",
    "\\",
    "ann\x00",
    "'||(SELECT content FROM read_text('/etc/passwd'))||'",
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("option", ["--principal", "--model", "--method", "--reason"])
def test_values_are_never_sql(option: str, evil: str, folder: Path, run: Run) -> None:
    """A value that would be SQL, a pattern or a parameter is a name that nobody has."""
    for more in ([], ["--sum", "principal"]):
        said = run("audit", "query", folder, "--json", option, evil, *more)
        assert said.status == 0
        assert said.out == "" or json.loads(said.out)["total"]["calls"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["ledger-000001.jsonl", "ledger.jsonl"]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("option", ["--since", "--until", "--sum", "--decision", "--limit"])
def test_other_options_take_no_text_at_all(option: str, evil: str, folder: Path, run: Run) -> None:
    """What is neither a time, nor a number, nor one of a list is wrong usage."""
    assert run("audit", "query", folder, option, evil).status == 2


def test_names_that_look_like_sql_can_be_found(tmp_path: Path, run: Run) -> None:
    """A principal with such a name is found by it, and no other."""
    write(tmp_path, *({**CALLS[1], "principal": evil, "total_us": 1000 * at} for at, evil in enumerate(EVIL)))
    for at, evil in enumerate(EVIL[:-2]):
        entries = found(run("audit", "query", tmp_path, "--json", "--principal", evil))
        assert [entry["total_us"] for entry in entries] == [1000 * at]


@pytest.mark.parametrize("name", ["led*ger", "a'b", "[x]", "?", "x;y", "$files", "s3:", "new\nline"])
def test_the_path_is_never_a_pattern_or_sql(name: str, tmp_path: Path, run: Run) -> None:
    """A folder may be called anything; what a pattern would match beside it is not read."""
    for other in ("led-of-another-ger", "x", "y"):  # what the names would match as patterns
        write(tmp_path / other, *CALLS)
    write(tmp_path / name, CALLS[3])
    assert totals(run("audit", "query", tmp_path / name, "--json")) == [3]


def test_the_database_can_do_nothing_else(folder: Path, tmp_path: Path) -> None:
    """Were SQL to get in after all, it could read no other file, write none, and undo none of that."""
    (tmp_path / "secret").write_text("secret")
    with searching([folder / "ledger.jsonl"]) as database:
        for sql in (
            f"SELECT * FROM read_text('{tmp_path}/secret')",
            f"COPY (SELECT 1) TO '{tmp_path}/stolen'",
            f"ATTACH '{tmp_path}/stolen.db'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                database._connection.execute(sql)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger", "secret"]


def test_lines_that_are_no_calls_are_left_out(tmp_path: Path, run: Run) -> None:
    """Garbage, wrong types, bad UTF-8 and other kinds stop nothing; what fits is counted."""
    path = write(tmp_path, CALLS[1], {"kind": "start", "call": "1"}, {**CALLS[2], "units": "many"})
    with path.open("ab") as file:
        file.write(b'garbage\n\xff\xfe\n[1]\n3\n{"kind":["query"]}\n{"a":1}trailer\n\n')
    said = run("audit", "query", tmp_path, "--sum", "status", "--json")
    told = json.loads(said.out)["total"]
    assert (told["calls"], told["units"]) == (2, 1)
    assert "lines could not be read" in said.err


def test_nothing_commands_the_terminal(tmp_path: Path, run: Run) -> None:
    """Names with escapes are shown escaped, in lines and in tables."""
    write(tmp_path, {**CALLS[1], "principal": "\x1b[2J\u202e\x07"})
    for options in ([], ["--sum", "principal"]):
        said = run("audit", "query", tmp_path, *options)
        assert "\\x1b[2J\\u202e\\x07" in said.out
        assert "\x1b" not in said.out


def test_an_empty_ledger_has_no_calls(tmp_path: Path, run: Run) -> None:
    """No lines, no rows; the total is nothing, and its quantiles are unknown."""
    (tmp_path / "ledger.jsonl").touch()
    assert run("audit", "query", tmp_path) == Said(0, "", "")
    told = json.loads(run("audit", "query", tmp_path, "--sum", "model", "--json").out)
    assert told["rows"] == []
    assert (told["total"]["calls"], told["total"]["units"], told["total"]["p99_us"]) == (0, 0, None)


def test_without_duckdb_it_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    """The database is an extra; the other commands on the ledger do without it."""
    (tmp_path / "duckdb.py").write_text("raise ModuleNotFoundError('no', name='duckdb')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    program = "from guardhouse.server.commands import main; raise SystemExit(main())"
    said = [
        subprocess.run(
            [sys.executable, "-c", program, "audit", name, str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        for name in ("query", "tail")
    ]
    assert said[0].returncode == 1
    assert said[0].stderr == "guardhouse: this command needs `pip install 'guardhouse[audit]'`\n"
    assert said[1].returncode == 0
