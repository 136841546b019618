"""A question about the calls on a ledger, and the SQL that asks it. Every value in it is a parameter."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from guardhouse.interceptors.documents.units import duration
from guardhouse.interceptors.ledger.chain import stamp

# What calls can be summed by -> the expression of it. No other text of a key ever reaches the SQL.
KEYS: Final = {
    "principal": "coalesce(principal, '')",
    "model": "coalesce(model, '')",
    "method": "coalesce(method, '')",
    "status": "coalesce(status, '')",
    "reason": "coalesce(reason, '')",
    "hour": "left(time, 13) || ':00Z'",
    "day": "left(time, 10)",
}
NUMBERS: Final = ("units", "request_bytes", "response_bytes", "model_us", "total_us", "seq")
WORDS: Final = ("kind", "time", "method", "model", "principal", "status", "reason")
COLUMNS: Final = dict.fromkeys((*WORDS, *NUMBERS), "VARCHAR")  # text: a line with a wrong type stays a line
LONGEST: Final = 64 << 20  # bytes of a line; four times what the ledger's own readers take

LINES: Final = f"""read_json($files, format = 'newline_delimited', ignore_errors = true,
    maximum_object_size = {LONGEST}, columns = {{{", ".join(f"{name}: 'VARCHAR'" for name in COLUMNS)}}})"""
WHOLE_LINES: Final = f"""(SELECT json, unnest(json_transform(json, '{json.dumps(COLUMNS)}'))
    FROM read_ndjson_objects($files, ignore_errors = true, maximum_object_size = {LONGEST}))"""  # noqa: S608 - constants
FIGURES: Final = """count(*) AS calls,
    count(*) FILTER (coalesce(reason, '') <> '') AS refused,
    coalesce(sum(try_cast(units AS BIGINT)), 0) AS units,
    coalesce(sum(try_cast(request_bytes AS BIGINT)), 0) AS request_bytes,
    coalesce(sum(try_cast(response_bytes AS BIGINT)), 0) AS response_bytes,
    coalesce(sum(try_cast(model_us AS BIGINT)), 0) AS model_us,
    quantile_disc(try_cast(total_us AS BIGINT), 0.5) AS p50_us,
    quantile_disc(try_cast(total_us AS BIGINT), 0.99) AS p99_us"""
UNREADABLE: Final = f"SELECT count(*) FROM {LINES} WHERE kind IS NULL"  # noqa: S608 - no value is in it


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls are meant; what is empty does not matter.

    Attributes:
        since: The earliest arrival, as the ledger writes times.
        until: Arrivals before this time only.
        methods: Whole names, or without their service.
        decision: "allowed", "refused" or "".
    """

    since: str = ""
    until: str = ""
    principals: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    decision: str = ""


class Query(NamedTuple):
    """SQL, and its parameters beside `files`."""

    sql: str
    parameters: dict[str, object]


def listing(wanted: Wanted, most: int) -> Query:
    """The newest *most* calls, as the ledger's own lines, newest first."""
    conditions, parameters = _conditions(wanted)
    sql = f"""SELECT json FROM {WHOLE_LINES} WHERE {conditions}
        ORDER BY time DESC, try_cast(seq AS BIGINT) DESC LIMIT $most"""  # noqa: S608 - values are parameters
    return Query(sql, {**parameters, "most": most})


def sums(wanted: Wanted, keys: tuple[str, ...], most: int) -> Query:
    """What calls cost: first the total, then *most* rows, one for each value of *keys* (some of `KEYS`).

    By hour or day in their order, by anything else the most calls first. The columns are those of *keys*,
    then calls, refused, units, request_bytes, response_bytes, model_us, p50_us and p99_us.
    """
    conditions, parameters = _conditions(wanted)
    names = [f"key{position}" for position, _ in enumerate(keys)]
    labels = ", ".join(f"{KEYS[key]} AS {name}" for key, name in zip(keys, names, strict=True))
    listed = ", ".join(names)
    order = f"{listed}, calls DESC" if {"hour", "day"} & {*keys} else f"calls DESC, {listed}"
    sql = f"""SELECT {listed}, {FIGURES} FROM (SELECT *, {labels} FROM {LINES} WHERE {conditions})
        GROUP BY GROUPING SETS (({listed}), ())
        ORDER BY grouping({names[0]}) DESC, {order} LIMIT $most"""  # noqa: S608 - values are parameters
    return Query(sql, {**parameters, "most": most + 1})


def moment(text: str, now: float) -> str:
    """The time meant by *text*, "1h" ago or an RFC 3339 time, as the ledger writes it.

    Raises ValueError that says what to write.
    """
    if re.fullmatch(r"[0-9]+[a-z]+", text):
        return stamp(max(0.0, now - duration(text)))
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.tzinfo is None or "T" not in text.upper():
        raise ValueError(f"`{text[:60]}` is not a time; write 1h, 7d, or 2026-11-25T10:00:00Z")
    return given.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _conditions(wanted: Wanted) -> tuple[str, dict[str, object]]:
    """The condition in SQL, of fixed text, and the parameters in it."""
    short = "split_part(method, '/', -1)"
    asked: list[tuple[str, object, str]] = [
        ("since", wanted.since, "time >= $since"),
        ("until", wanted.until, "time < $until"),
        ("principals", list(wanted.principals), "list_contains($principals, principal)"),
        ("models", list(wanted.models), "list_contains($models, model)"),
        (
            "methods",
            list(wanted.methods),
            f"(list_contains($methods, method) OR list_contains($methods, {short}))",
        ),
        ("reasons", list(wanted.reasons), "list_contains($reasons, reason)"),
    ]
    given = [(name, value, condition) for name, value, condition in asked if value]
    refused = {"allowed": ["coalesce(reason, '') = ''"], "refused": ["reason <> ''"], "": []}[wanted.decision]
    conditions = ["kind = 'query'", *(condition for *_, condition in given), *refused]
    return " AND ".join(conditions), {name: value for name, value, _ in given}
