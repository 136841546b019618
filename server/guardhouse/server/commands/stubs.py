"""`guardhouse stubs`: the protocol for other programs, as a Python package or as .proto files."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import click

from guardhouse.clients.stubs import write_protos, write_python

EXAMPLE = """\b
Example:
  guardhouse stubs --out guardhouse_stubs
  guardhouse stubs --out proto --lang proto
"""


@click.command("stubs", epilog=EXAMPLE)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write to."
)
@click.option(
    "--lang",
    type=click.Choice(["python", "proto"]),
    default="python",
    show_default=True,
    help="A Python package, or the bare .proto files for any other language.",
)
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the files written as JSON.")
def command(out: Path, lang: str, *, force: bool, as_json: bool) -> None:
    """Write client stubs, or the .proto files they come from.

    The Python package needs grpcio and protobuf, not Guardhouse, and is named like its folder.
    """
    write, next_step = LANGUAGES[lang]
    try:
        written = write(out, force=force)
    except (OSError, ValueError) as error:
        raise click.ClickException(explain(error)) from error
    if as_json:
        click.echo(json.dumps({"written": [str(path) for path in written]}))
    else:
        click.echo("\n".join(["wrote:", *(f"  {path}" for path in written), next_step(out)]))


def explain(error: OSError | ValueError) -> str:
    """Say in one line what went wrong and what to do."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot write {error.filename}: {error.strerror}: choose another folder"
    if isinstance(error, FileExistsError):
        return f"{error}: move it away, or overwrite it with --force"
    return str(error)


def python_next_step(out: Path) -> str:
    """Return a usage example for the written package: two lines under a heading."""
    name = out.resolve().name
    return (
        f"next, with {out.resolve().parent} on the Python path:\n"
        f"  from {name} import inference_pb2 as messages, inference_pb2_grpc as rpc\n"
        "  rpc.GRPCInferenceServiceStub(channel).ServerLive(messages.ServerLiveRequest())"
    )


def proto_next_step(out: Path) -> str:
    """Return a usage example for the written .proto files: two lines under a heading."""
    folder = shlex.quote(str(out))
    return (
        "next, for example:\n"
        f"  protoc -I {folder} --cpp_out={folder} inference.proto guardhouse.proto\n"
        f"  grpcurl -import-path {folder} -proto inference.proto describe inference.GRPCInferenceService"
    )


LANGUAGES: dict[str, tuple[Callable[..., list[Path]], Callable[[Path], str]]] = {
    "python": (write_python, python_next_step),
    "proto": (write_protos, proto_next_step),
}
