"""`guardhouse key`: API keys, shown once and stored hashed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from guardhouse.interceptors.tokens.key_records import key_id
from guardhouse.interceptors.tokens.keys import KeyRecord, KeyStore
from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import Duration, dir_option, find_directory, json_option
from guardhouse.server.commands.output import emit, note

KEYS: Final = "keys.db"


@click.group("key", cls=Group)
def command() -> None:
    """Create, list and revoke API keys."""


keys_option = click.option(
    "--keys",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The key store itself; by default keys.db of --dir.",
)


@command.command("create")
@click.argument("name", required=False)
@click.option("--name", "named", metavar="NAME", help="The same as NAME; policies bind roles to it.")
@click.option("--note", "remark", default="", metavar="TEXT", help="What the key is for, for `key list`.")
@click.option("--expires", "lifetime", type=Duration(), help="When it ends, from now; by default never.")
@dir_option
@keys_option
@json_option("Print the key and its id as JSON.")
def create(
    name: str | None,
    named: str | None,
    remark: str,
    lifetime: timedelta | None,
    directory: Path | None,
    file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make an API key called NAME and print it, this once: nothing else goes to stdout.

    Example: guardhouse key create app-web --expires 90d
    """
    chosen = name or named
    context = click.get_current_context()
    if not chosen or (name and named and name != named):
        raise click.UsageError("give the key one name", context)
    now = datetime.now(UTC)
    ends = now + lifetime if lifetime else None
    try:
        key = KeyStore(file or find_directory(directory) / KEYS).create(
            chosen, note=remark, expires=ends.timestamp() if ends else None, now=now.timestamp()
        )
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    data = {"key": key, "id": key_id(key), "name": chosen, "expires": ends.isoformat() if ends else None}
    emit(data, as_json, key)
    if not as_json:
        note("this key is shown only now; send it as `authorization: Bearer KEY`")


@command.command("list")
@dir_option
@keys_option
@json_option("Print the keys as JSON.")
def show(directory: Path | None, file: Path | None, *, as_json: bool) -> None:
    """List all keys by id and name; the keys themselves are stored nowhere."""
    now = datetime.now(UTC).timestamp()
    keys = [facts(record, now) for record in existing(file, directory).list()]
    emit({"keys": keys}, as_json, table(keys))


@command.command("revoke")
@click.argument("key", metavar="ID|NAME")
@dir_option
@keys_option
@json_option("Print how many keys were revoked as JSON.")
def revoke(key: str, directory: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Revoke the key of that id, or every key of that name."""
    store = existing(file, directory)
    count = store.revoke(key, datetime.now(UTC).timestamp())
    if not count:
        raise click.ClickException(
            f"{store.path}: no key of the id or name {key!r} is in use: see `guardhouse key list`"
        )
    emit({"revoked": count}, as_json, f"revoked {count} key{'s' if count > 1 else ''}")


def existing(file: Path | None, directory: Path | None) -> KeyStore:
    """Open a key store that is there. Raises click.ClickException where it is not: it would be made empty."""
    path = file or find_directory(directory) / KEYS
    if not path.exists():
        raise click.ClickException(f"{path}: there is no such key store; `guardhouse key create` makes one")
    return KeyStore(path)


def facts(record: KeyRecord, now: float) -> dict[str, Any]:
    """Return what may be shown of a key; times are ISO 8601 in UTC, None is never."""
    times = {name: iso(getattr(record, name)) for name in ("created", "expires", "revoked")}
    state = record.lapse(now).removeprefix("key_") or "active"
    return {"id": record.id, "name": record.name, "state": state, **times, "note": record.note}


def iso(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def table(keys: list[dict[str, Any]]) -> str:
    """Return the keys as lines for a person."""
    if not keys:
        return "no keys yet: make one with `guardhouse key create NAME`"
    columns = ("id", "name", "state", "created", "expires", "note")
    rows = [columns, *(tuple(str(key[column] or "-") for column in columns) for key in keys)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
