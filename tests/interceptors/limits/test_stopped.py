"""What a call has paid whose model still works, in its thread, when the server has stopped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from guardhouse.interceptors import Chain, sync
from guardhouse.interceptors.limits.budget.guard import Budgets
from guardhouse.interceptors.limits.budget.purse import Purse
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores.memory import MemoryStore


def test_a_server_that_stops_gives_nothing_back_of_work_that_goes_on() -> None:
    """The model has been come to: its call is paid for, though it has not returned as the chain ends."""
    store = MemoryStore()
    purse = Purse(store)
    chain = Chain(
        Budgets(purse, [Budget("all", (), amount=amount("1000 calls/day"))]), open_methods=["/p.S/M"]
    )
    began, may_return = threading.Event(), threading.Event()

    def work(_request: bytes, _context: object) -> bytes:
        began.set()
        may_return.wait(60)
        return b""

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, interceptors=[sync(chain)])
        handler: Any = grpc.unary_unary_rpc_method_handler(work)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("p.S", {"M": handler})])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask: Any = channel.unary_unary("/p.S/M")
            asked = ask.future(b"")  # grpc cancels one that nobody keeps
            assert began.wait(20)
            assert not asked.done()
            server.stop(0)
            chain.end()
            purse.close()
        may_return.set()
    assert [entry.spent for entry in store.entries()] == [1]
