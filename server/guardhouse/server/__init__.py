"""The serving wrapper: configuration, models, the server and the command line.

`from guardhouse.server import model, report_tokens` is what the author of a model needs of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardhouse.interceptors import report_tokens

    from .models import model

__all__ = ["model", "report_tokens"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: the command line starts without numpy and grpc."""
    if name == "model":
        from .models import model

        return model
    if name == "report_tokens":
        from guardhouse.interceptors import report_tokens

        return report_tokens
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
