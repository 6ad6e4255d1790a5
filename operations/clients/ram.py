"""A client for RAM, with the deployer's access key from ALIBABA_CLOUD_* variables or a profile."""

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_ram20150501 import models
from alibabacloud_ram20150501.client import Client
from alibabacloud_tea_openapi.models import Config
from darabonba.exceptions import DaraException, UnretryableException

CLOCK_TOLERANCE = timedelta(minutes=5)  # between RAM's clock and that of this machine
KEY_LIMIT = 2  # access keys per user


class RamError(Exception):
    """RAM cannot be called from here, or refused a call. The text contains the reason."""


def list_access_keys(user: str) -> Mapping[str, datetime]:
    """Return when each access key of `user` was created, by id.

    A user that does not exist has none. Raises RamError.
    """
    with _translated_errors():
        try:
            response = _client().list_access_keys(models.ListAccessKeysRequest(user_name=user))
        except DaraException as failure:
            if "EntityNotExist.User" in str(failure):
                return {}
            raise
        keys = response.body.access_keys.access_key
        return {str(key.access_key_id): datetime.fromisoformat(key.create_date) for key in keys}


def delete_access_key(user: str, key: str) -> None:
    """Delete the access key of `user` with the id `key`. Raises RamError."""
    request = models.DeleteAccessKeyRequest(user_name=user, user_access_key_id=key)
    with _translated_errors():
        _client().delete_access_key(request)


def delete_lost_access_keys(user: str, known: Collection[str], since: datetime) -> Iterator[str]:
    """Delete the access keys of `user` that are not `known` and were created after `since`.

    Yields the id of each deleted key. Raises RamError.
    """
    for key, created in list_access_keys(user).items():
        if key not in known and created >= since - CLOCK_TOLERANCE:
            delete_access_key(user, key)
            yield key


def _client() -> Client:
    # Without credentials, the library logs a traceback for each source. Its error names them all.
    logging.getLogger("credentials").setLevel(logging.CRITICAL)
    return Client(
        Config(
            credential=Credentials(),
            endpoint="ram.aliyuncs.com",
            https_proxy=os.environ.get("HTTPS_PROXY"),
            ca=os.environ.get("SSL_CERT_FILE"),
        )
    )


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise RamError in place of the errors of the vendor's client."""
    try:
        yield
    except (DaraException, UnretryableException, CredentialException, OSError) as failure:
        raise RamError(str(failure).partition("\n")[0]) from None
