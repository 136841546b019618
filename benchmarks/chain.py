"""The bare handler behind the chain, without the serving wrapper.

`python -m benchmarks.chain FOLDER COLLECTOR [interceptor] [sinks=NAME,...]`

Without `sinks` the chain is the one that `guardhouse serve` has. With it, its record has these sinks and no
others. `interceptor` puts the chain before grpc's routing, as in anybody's server; otherwise it is bound to
the handlers, as in ours.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import uvloop

from guardhouse.interceptors import Chain, Guarded, Ledger, Record, aio, exporter_to
from guardhouse.interceptors.metrics import Metrics
from guardhouse.interceptors.record import Sink
from guardhouse.interceptors.record.lines import Lines
from guardhouse.interceptors.record.spans import Spans
from guardhouse.server.assembly import assembled
from guardhouse.server.config import Config, load
from guardhouse.server.scheduling import run_in_batches
from guardhouse.server.transport import credentials, options

from .echo import INFER, handler
from .until import until_told


def main(folder: Path, collector: str, *words: str) -> None:
    """Serve until SIGTERM; prints the port."""
    if "interceptor" not in words:
        run_in_batches()
    named = [word.removeprefix("sinks=") for word in words if word.startswith("sinks=")]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        settings = (
            f"audit.path={scratch}/whole",
            f"tracing.endpoint=http://{collector}",
            "metrics.listen=127.0.0.1:0",
        )
        config = load(folder / "guardhouse.yaml", settings)
        chain = stack.enter_context(assembled(config)).chain
        if named:
            names = filter(None, named[0].split(","))
            chain = stack.enter_context(_recorded(chain, names, Path(scratch), collector))
        uvloop.run(_serve(config, chain, "interceptor" in words))


async def _serve(config: Config, chain: Chain, intercept: bool) -> None:
    tls, limits = credentials(config.tls), options(config.server)
    if intercept:
        server = grpc.aio.server(interceptors=[aio(chain)], options=limits)
        service, name = INFER.strip("/").split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler()}),))
    else:
        server = grpc.aio.server(options=limits)
        server.add_generic_rpc_handlers((Guarded(chain, {INFER: handler()}),))
    await until_told(server, server.add_secure_port("127.0.0.1:0", tls))


@contextmanager
def _recorded(chain: Chain, names: Iterable[str], scratch: Path, collector: str) -> Iterator[Chain]:
    """*chain* with a record whose sinks are those of *names*."""
    with ExitStack() as stack:
        record = Record(*(SINKS[name](stack, scratch, collector) for name in names))
        stack.callback(record.flush)
        yield Chain(*(record if isinstance(guard, Record) else guard for guard in chain.guards))


def _ledger(stack: ExitStack, scratch: Path, _collector: str) -> Sink:
    book = Ledger(scratch / "alone")
    stack.callback(book.close)
    return Lines(book)


def _spans(stack: ExitStack, _scratch: Path, collector: str) -> Sink:
    exporter = exporter_to(f"http://{collector}")
    stack.callback(exporter.close)
    return Spans(exporter.export)


def _metrics(_stack: ExitStack, _scratch: Path, _collector: str) -> Sink:
    return Metrics({"echo"})


def _stock(stack: ExitStack, _scratch: Path, collector: str) -> Sink:
    from .stock import StockSpans
    from .tracing import exporting  # what `make bench` installs

    return StockSpans(stack.enter_context(exporting(collector)))


SINKS: Final[dict[str, Callable[[ExitStack, Path, str], Sink]]] = {
    "ledger": _ledger,
    "spans": _spans,
    "metrics": _metrics,
    "stock": _stock,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
