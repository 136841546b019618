"""`guardhouse cert`: certificates of the development authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509

from guardhouse.server import pki
from guardhouse.server.certificates import describe
from guardhouse.server.commands.frame import Group
from guardhouse.server.commands.options import (
    Duration,
    dir_option,
    find_directory,
    force_option,
    json_option,
    load_certificate,
    read_file,
)
from guardhouse.server.commands.output import emit, note
from guardhouse.server.files import key_pair, write_files

# Names in pki/ that no leaf may take: all others depend on them.
KEPT: Final = {"ca", "token"}


@click.group("cert", cls=Group)
def command() -> None:
    """Issue certificates from the development authority, or show one."""


@command.command("issue")
@click.option(
    "--spiffe-id", metavar="ID", help="The identity: spiffe://trust-domain/path. A client must have it."
)
@click.option(
    "--dns", "hosts", multiple=True, metavar="NAME", help="DNS name or IP address; may be repeated."
)
@click.option("--server", is_flag=True, help="For a server; by default for a client.")
@click.option(
    "--out", "name", metavar="NAME", help="Write pki/NAME.pem and pki/NAME.key; by default from the names."
)
@click.option(
    "--ttl", "lifetime", type=Duration(), default="30d", show_default=True, help="How long it is valid."
)
@dir_option
@force_option("Replace a certificate of the same NAME.")
@json_option("Print the paths and the certificate's facts as JSON.")
def issue(
    spiffe_id: str | None,
    hosts: tuple[str, ...],
    name: str | None,
    lifetime: timedelta,
    directory: Path | None,
    *,
    server: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Sign a new key's certificate with the authority in DIR/pki.

    Example: guardhouse cert issue --spiffe-id spiffe://guardhouse.local/notebook
    """
    folder = find_directory(directory) / "pki"
    now = datetime.now(UTC)
    try:
        authority = pki.load_authority(read_file(folder / "ca.pem"), read_file(folder / "ca.key"))
        pair = pki.issue(
            authority,
            usage="server" if server else "client",
            spiffe_id=spiffe_id,
            hosts=hosts,
            now=now,
            lifetime=lifetime,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    stem = folder / file_name(name, spiffe_id, hosts)
    files = key_pair(stem, pair.certificate_pem, pair.key_pem)
    write_files(files, force=force)
    warn_foreign(spiffe_id, authority.certificate)
    certificate, key = map(str, files)
    data = {"certificate": certificate, "key": key, **describe(pair.certificate, now=now)}
    emit(data, as_json, f"wrote {certificate} and {key}, valid until {data['not_after']}")


@command.command("show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option("Print the facts as JSON.")
def show(file: Path, *, as_json: bool) -> None:
    """Show what the first certificate in FILE says, and what is wrong with it as an identity."""
    data = describe(load_certificate(file), now=datetime.now(UTC))
    emit(data, as_json, "\n".join(lines(data)))


def file_name(name: str | None, spiffe_id: str | None, hosts: tuple[str, ...]) -> str:
    """Return the name of the files in pki/: the one asked for, or the last part of the first name."""
    chosen = name or (spiffe_id or "").rpartition("/")[2] or hosts[0].replace("*", "any").replace(":", "-")
    plain = chosen.replace("-", "").replace("_", "").replace(".", "").isalnum() and chosen[0] != "."
    if chosen in KEPT or not plain:
        raise click.UsageError(
            f"--out cannot be {chosen!r}: give a plain name that is neither ca nor token",
            click.get_current_context(),
        )
    return chosen


def warn_foreign(spiffe_id: str | None, authority: x509.Certificate) -> None:
    """Say so where an identity is outside the authority's own trust domain: a strict verifier refuses it."""
    own = describe(authority, now=authority.not_valid_before_utc)["uris"]
    if spiffe_id and own and not spiffe_id.startswith(f"{own[0]}/"):
        note(f"{spiffe_id} is outside {own[0]}, the trust domain of this authority")


def lines(data: dict[str, Any]) -> list[str]:
    """Return the facts of `describe` for a person, a line each, without those that are absent."""
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in data.items()}
    del shown["warnings"], shown["authority"]
    facts = [f"{name.replace('_', ' '):<20}{value}" for name, value in shown.items() if value]
    return facts + [f"{'warning':<20}{warning}" for warning in data["warnings"]]
