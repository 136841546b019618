"""`guardhouse traces`: see the traces of a server under development, with nothing else installed."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from guardhouse.server.commands.options import USUAL_PLACES
from guardhouse.server.traces.follow import Watcher
from guardhouse.server.traces.listen import DEFAULT_LISTEN, ListenError, after, parse_listen, probe
from guardhouse.server.traces.printing import MOST_DRAWN, Show, show_json, show_stored, show_text
from guardhouse.server.traces.store import EmptyStoreError, Store, StoreError, default_path

STORE = "traces.db"
TICK = 0.25  # seconds between two looks at the store

Stopped = Callable[[], bool]


@click.command("traces")
@click.argument("trace_id", required=False, metavar="[TRACE_ID_PREFIX]")
@click.option(
    "--follow", is_flag=True, help="Receive spans, and print each trace as it arrives, until Ctrl-C."
)
@click.option(
    "--last", type=click.IntRange(min=1), default=10, show_default=True, help="How many traces to print."
)
@click.option(
    "--store",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with the traces.  [default: traces.db in this folder or in .demo, where there is one; else"
    " guardhouse/traces.db in $XDG_STATE_HOME or ~/.local/state]",
)
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Loopback address to receive OTLP/gRPC on; OTLP/HTTP is received on the port after it.",
)
@click.option("--quiet", is_flag=True, help="With --follow: receive, but print no traces.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object per trace and line; late spans come in another."
)
def command(
    trace_id: str | None, follow: bool, last: int, path: Path | None, listen: str, quiet: bool, as_json: bool
) -> None:
    """Print the last traces that were received, or the one whose id begins with TRACE_ID_PREFIX.

    With --follow this is the receiver: point a server's tracing endpoint at http://127.0.0.1:4317. A trace is
    printed when it stops growing; spans that come later are printed by themselves, in their places.
    """
    path = path or usual_store()
    try:
        if follow:
            _follow(path, listen, trace_id, quiet, as_json)
        else:
            _print_stored(path, trace_id, last, as_json)
    except (ListenError, StoreError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from error


def usual_store() -> Path:
    """The store if nobody names one: that beside a server here or of the demo, or the person's own."""
    here = (place / STORE for place in USUAL_PLACES)
    return next(filter(Path.is_file, here), default_path(os.environ))


def _print_stored(path: Path, prefix: str | None, last: int, as_json: bool) -> None:
    with Store.reading(path) as store:
        if not store.last_seq():
            raise EmptyStoreError(path)
        traces = [store.trace(prefix)] if prefix else store.recent(last)
    if prefix and not traces[0]:
        raise StoreError(f"no trace begins with {prefix}: `guardhouse traces` lists the last ones")
    show_stored(traces, as_json, None if prefix else MOST_DRAWN)


def _follow(path: Path, listen: str, prefix: str | None, quiet: bool, as_json: bool) -> None:
    """Receive at *listen*; where the port is taken, only watch the store that its holder may be filling."""
    show = None if quiet else show_json if as_json else show_text
    with _until_signal() as stopped:
        try:
            after(listen)  # there is a next port
            probe(*parse_listen(listen))  # before a store is made that nobody would fill
        except ListenError as error:
            if show is None or not error.in_use:
                raise
            _follow_another(path, prefix, show, stopped, error)
        else:
            _receive(path, listen, prefix, show, stopped, as_json)


def _follow_another(path: Path, prefix: str | None, show: Show, stopped: Stopped, busy: ListenError) -> None:
    try:
        store = Store.reading(path)
    except EmptyStoreError:
        raise busy from None
    with store:
        watcher = Watcher(store, prefix)
        click.echo(f"{busy}; for now only following the store {path}", err=True)
        _watch(watcher, store, stopped, show)
        show(store, watcher.rest())


def _receive(
    path: Path, listen: str, prefix: str | None, show: Show | None, stopped: Stopped, as_json: bool
) -> None:
    with Store.open(path) as store, Store.reading(path) as beside:
        watcher = Watcher(beside, prefix)
        with _receivers(store, listen, path, as_json):
            _watch(watcher, beside, stopped, show)
        if show is not None:  # the Exports that were running at the signal
            show(beside, watcher.rest())


@contextmanager
def _receivers(store: Store, listen: str, path: Path, as_json: bool) -> Iterator[None]:
    """Receive by gRPC, and by HTTP where its port is free, and say where."""
    from guardhouse.server.traces.receiver import receiving  # grpc and protobuf take a while to load
    from guardhouse.server.traces.receiver_http import receiving_http

    def complain(text: str) -> None:
        click.echo(text, err=True)

    beside = after(listen)
    with receiving(store, listen, complain) as address, ExitStack() as stack:
        click.echo(f"receiving traces on {address}, store {path}", err=as_json)
        try:
            http = stack.enter_context(receiving_http(store, beside, complain))
            click.echo(f"receiving OTLP/HTTP on http://{http}", err=as_json)
        except ListenError as error:
            complain(f"no OTLP/HTTP: {error}")
        yield


def _watch(watcher: Watcher, store: Store, stopped: Stopped, show: Show | None) -> None:
    """Until told to stop, show what comes to rest; without *show* only wait."""
    while not stopped():
        time.sleep(TICK)
        if show is not None:
            show(store, watcher.look())


@contextmanager
def _until_signal() -> Iterator[Stopped]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one of its kind does what it did before.

    A flag, not an Event: a handler that runs while its own thread holds the Event's lock would wait for ever.
    """
    seen: list[int] = []
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
