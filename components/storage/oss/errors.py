"""Errors of OSS, as its client raises them."""

from dataclasses import dataclass
from datetime import datetime

from components.storage.backend import StorageError

# With these codes, other machines may get another answer. A policy or an endpoint may allow some
# networks only.
BY_NETWORK = frozenset({"AccessDenied", "PublicEndpointForbidden"})


@dataclass(frozen=True)
class Times:
    """The times of the signature and of the answer, by the clocks of the signer and of OSS."""

    signed: datetime | None = None
    answered: datetime | None = None


class OssError(StorageError):
    """OSS refused a call, or did not answer.

    `code` is the error code of OSS, or the kind of failure. `message` is the text of OSS.
    `answered` is false if there was no answer, and `answered_elsewhere` is true if another endpoint
    of OSS did answer.
    """

    service = "OSS"

    def __init__(
        self, code: str, message: str = "", *, answered: bool = False, times: Times | None = None
    ) -> None:
        super().__init__(code)
        self.code, self.message, self.answered = code, message, answered
        self.times = times or Times()
        self.answered_elsewhere = False
