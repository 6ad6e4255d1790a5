"""Tests of the RAM client: missing credentials, and a user that does not exist."""

from types import SimpleNamespace

import pytest
from alibabacloud_credentials.exceptions import CredentialException
from darabonba.exceptions import DaraException, UnretryableException
from darabonba.policy.retry import RetryPolicyContext

from operations.clients import ram


def _client_that_raises(failure: Exception) -> SimpleNamespace:
    def fail(_: object) -> None:
        raise failure

    return SimpleNamespace(list_access_keys=fail, delete_access_key=fail)


def _missing_credentials_error() -> UnretryableException:
    # After its retries, the vendor's client wraps the error in this way.
    cause = CredentialException("unable to load credentials")
    return UnretryableException(RetryPolicyContext(exception=cause))


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ram, "_client", lambda: _client_that_raises(_missing_credentials_error()))
    with pytest.raises(ram.RamError, match="unable to load credentials"):
        ram.list_access_keys("oss-registry-dev")
    with pytest.raises(ram.RamError, match="unable to load credentials"):
        ram.delete_access_key("oss-registry-dev", "id")


def test_a_user_that_does_not_exist_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = DaraException({"code": "EntityNotExist.User", "message": "EntityNotExist.User: no"})
    monkeypatch.setattr(ram, "_client", lambda: _client_that_raises(missing))
    assert ram.list_access_keys("oss-registry-dev") == {}
