"""How a client of either colour is made: the settings they share."""

import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from . import channel
from .calls import Calls, check_timeout
from .credentials import Credentials, token_source
from .profile import read_profile

DEFAULT_TIMEOUT = 30.0  # seconds
MOST_ATTEMPTS = 3


class BaseClient:
    """What `Client` and `AsyncClient` have in common: how they are made.

    Args:
        target: Where to call, such as "127.0.0.1:8443" or "dns:///models.example:8443".
        credentials: What the client shows, and what it checks the server by.
        insecure: Plain text instead of TLS; allowed to a loopback target only.
        timeout: Seconds for a call that gives no `timeout` of its own, its retries included.
        max_attempts: How often a call is made at most, where the server invites trying again; 1 to 3.
        max_message_bytes: The largest message to send or to take.
        wait_for_ready: Wait for a server that cannot be reached yet, until the deadline, instead of
            failing at once with `Unavailable`.
        options: More options for the gRPC channel; they win over the client's own.
        clock: Monotonic seconds; deadlines are kept by it.
        chance: A random number in [0, 1), to spread retries.

    Raises:
        ConfigurationError: A file cannot be read, or the parts do not go together; nothing was sent.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: Credentials | None = None,
        insecure: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = MOST_ATTEMPTS,
        max_message_bytes: int = channel.MAX_MESSAGE_BYTES,
        wait_for_ready: bool = False,
        options: Sequence[tuple[str, Any]] = (),
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not 1 <= max_attempts <= MOST_ATTEMPTS:
            raise ValueError(f"max_attempts must be from 1 to {MOST_ATTEMPTS}, not {max_attempts}")
        credentials = credentials or Credentials()
        self._plan = channel.plan(
            target, credentials, insecure=insecure, max_message_bytes=max_message_bytes, options=options
        )
        self._wait_for_ready = wait_for_ready
        self._calls = Calls(token_source(credentials), check_timeout(timeout), max_attempts, clock, chance)

    @classmethod
    def from_profile(cls, directory: str | os.PathLike[str], **settings: Any) -> Self:
        """Return a client for the profile in the folder: its `client.yaml` and the files that names.

        Further *settings* are those of the class. Raises ConfigurationError for a profile that is no good.
        """
        target, credentials = read_profile(directory)
        return cls(target, **({"credentials": credentials} | settings))
