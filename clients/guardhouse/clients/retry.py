"""Whether a failed call is tried again, and when. The server decides; the client only keeps to limits."""

from .errors import GuardhouseError

SPREAD = 0.2  # callers who were refused together must not come back together


def wait(error: GuardhouseError, attempt: int, most: int, remaining: float, chance: float) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up now.

    Args:
        error: Why the attempt failed; `retry_after` is the server's invitation.
        attempt: How many attempts were made, this one included.
        most: How many attempts there may be.
        remaining: Seconds until the deadline; a wait that would not end before it is pointless.
        chance: A random number in [0, 1): it spreads the wait upwards, never below what the server said.
    """
    if error.retry_after is None or attempt >= most:
        return None
    seconds = error.retry_after * (1 + SPREAD * chance)
    return seconds if seconds < remaining else None
