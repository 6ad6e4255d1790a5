"""Handling of interrupts, so that a clean-up is not interrupted."""

import signal


class Interrupts:
    """Handles SIGINT, SIGTERM and SIGHUP.

    The first one raises KeyboardInterrupt, at once or, after `defer`, when `allow` is called. Later
    ones are ignored, so that the clean-up can finish. Signals that the process ignores already
    (nohup) stay ignored.
    """

    def __init__(self) -> None:
        self._is_deferred = self._is_interrupted = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        is_first, self._is_interrupted = not self._is_interrupted, True
        if is_first and not self._is_deferred:
            raise KeyboardInterrupt

    def defer(self) -> None:
        """Defer KeyboardInterrupt until `allow` is called."""
        self._is_deferred = True

    def allow(self) -> None:
        """Raise KeyboardInterrupt at the first interrupt, or now if there was one already."""
        self._is_deferred = False
        if self._is_interrupted:
            raise KeyboardInterrupt
