"""RAM, asked as whoever deploys: by ALIBABA_CLOUD_* variables, or a profile of the vendor's."""

import os
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_ram20150501 import models
from alibabacloud_ram20150501.client import Client
from alibabacloud_tea_openapi.models import Config
from darabonba.exceptions import DaraException

CLOCKS = timedelta(minutes=5)  # by which RAM's and this machine's may differ


class Unasked(Exception):
    """RAM can't be asked from here; the text is why."""


def drop_lost_keys(user: str, known: Collection[str], since: datetime) -> Iterator[str]:
    """Delete the access keys of `user` that are not `known` to the state, and made after `since`.

    Gives their ids. Raises Unasked.
    """
    try:
        client = Client(
            Config(
                credential=Credentials(),
                endpoint="ram.aliyuncs.com",
                https_proxy=os.environ.get("HTTPS_PROXY"),
                ca=os.environ.get("SSL_CERT_FILE"),
            )
        )
        listed = client.list_access_keys(models.ListAccessKeysRequest(user_name=user))
        for key in listed.body.access_keys.access_key:
            made = datetime.fromisoformat(key.create_date)
            if key.access_key_id not in known and made >= since - CLOCKS:
                lost = str(key.access_key_id)
                client.delete_access_key(
                    models.DeleteAccessKeyRequest(user_name=user, user_access_key_id=lost)
                )
                yield lost
    except (DaraException, CredentialException, OSError) as failure:
        raise Unasked(str(failure).partition("\n")[0]) from None
