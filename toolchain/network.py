"""Whether another machine answers."""

import http.client
import threading
from collections.abc import Callable

FAULTS = (OSError, http.client.HTTPException)


def succeeds(ask: Callable[[], object], seconds: float) -> bool:
    """Whether `ask` returns within `seconds`, with name resolution, and raises none of FAULTS.

    It runs in a thread, because the timeout of a socket does not cover name resolution.
    """
    answered = threading.Event()

    def attempt() -> None:
        try:
            ask()
        except FAULTS:
            return
        answered.set()

    asking = threading.Thread(target=attempt, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()
