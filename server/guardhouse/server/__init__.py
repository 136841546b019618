"""The serving wrapper: configuration, models, the server and the command line.

`from guardhouse.server import model` is what the author of a model needs of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import model

__all__ = ["model"]


def __getattr__(name: str) -> Any:
    """Import `model` when it is asked for: the command line starts without numpy."""
    if name != "model":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from .models import model

    return model
