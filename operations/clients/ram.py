"""RAM, asked as whoever deploys: by ALIBABA_CLOUD_* variables, or a profile of the vendor's."""

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

CLOCKS = timedelta(minutes=5)  # by which RAM's and this machine's may differ
LIMIT = 2  # access keys of a user


class Unasked(Exception):
    """RAM can't be asked from here; the text is why."""


def keys(user: str) -> Mapping[str, datetime]:
    """Return when each access key of `user` was created, by its id; none if there is no such user.

    Raises Unasked.
    """
    with _calls():
        try:
            listed = _client().list_access_keys(models.ListAccessKeysRequest(user_name=user))
        except DaraException as failure:
            if "EntityNotExist.User" in str(failure):
                return {}
            raise
        found = listed.body.access_keys.access_key
        return {str(key.access_key_id): datetime.fromisoformat(key.create_date) for key in found}


def delete(user: str, key: str) -> None:
    """Delete the access key with the id `key` of `user`. Raises Unasked."""
    request = models.DeleteAccessKeyRequest(user_name=user, user_access_key_id=key)
    with _calls():
        _client().delete_access_key(request)


def drop_lost_keys(user: str, known: Collection[str], since: datetime) -> Iterator[str]:
    """Delete the access keys of `user` that are not `known` to the state, and made after `since`.

    Gives their ids. Raises Unasked.
    """
    for key, created in keys(user).items():
        if key not in known and created >= since - CLOCKS:
            delete(user, key)
            yield key


def _client() -> Client:
    # It logs each place without credentials, with a traceback; the error names them all.
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
def _calls() -> Iterator[None]:
    """Raise Unasked in place of what the vendor's client raises."""
    try:
        yield
    except (DaraException, UnretryableException, CredentialException, OSError) as failure:
        raise Unasked(str(failure).partition("\n")[0]) from None
