"""Models and servers to try the guard with."""
