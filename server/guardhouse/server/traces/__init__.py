"""A small OTLP/gRPC receiver, its SQLite store and a waterfall for the terminal: for development only."""
