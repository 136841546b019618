"""What the guard costs: `make bench`, method in docs/performance.md."""
