"""Ask the guarded shop for a price: an ordinary grpc client, with a certificate and a token.

    python examples/guard_ask.py gate apple [--token TOKEN] [--target HOST:PORT]

The token is that of `gate/token` if none is given; `--token ""` sends none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue


def main() -> int:
    """Ask once; print the price, or why there was none."""
    parser = argparse.ArgumentParser()
    parser.add_argument("gate", type=Path)
    parser.add_argument("item")
    parser.add_argument("--token")
    parser.add_argument("--target", default="127.0.0.1:8443")
    given = parser.parse_args()
    token = (given.gate / "token").read_text().strip() if given.token is None else given.token
    pki: Path = given.gate / "pki"
    files = (pki / "ca.pem", pki / "client.key", pki / "client.pem")
    tls = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.secure_channel(given.target, tls) as channel:
        ask = channel.unary_unary("/shop.Prices/Quote", StringValue.SerializeToString, DoubleValue.FromString)
        try:
            print(ask(StringValue(value=given.item), metadata=metadata, timeout=10).value)
        except grpc.RpcError as refused:
            trailers: Any = refused.trailing_metadata()  # as grpc-stubs has it, its pairs cannot be unpacked
            reason = dict(trailers).get("guardhouse-reason", "")
            print(f"{refused.code().name} {reason}: {refused.details()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
