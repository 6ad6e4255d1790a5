"""A timeout for network requests that also covers name resolution."""

import http.client
import threading
from collections.abc import Callable

FAULTS = (OSError, http.client.HTTPException)


def succeeds(request: Callable[[], object], seconds: float) -> bool:
    """Whether `request` returns within `seconds` without raising one of FAULTS.

    It runs in a thread, because the timeout of a socket does not cover name resolution.
    """
    succeeded = threading.Event()

    def attempt() -> None:
        try:
            request()
        except FAULTS:
            return
        succeeded.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return succeeded.is_set()
