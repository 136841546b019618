"""The shells that drive a chain: one for `grpc.aio`, one for `grpc.server`."""
