"""RAM, where it cannot be asked or does not have the user."""

from types import SimpleNamespace

import pytest
from alibabacloud_credentials.exceptions import CredentialException
from darabonba.exceptions import DaraException, UnretryableException
from darabonba.policy.retry import RetryPolicyContext

from operations import ram


def _raising(failure: Exception) -> SimpleNamespace:
    def fail(_: object) -> None:
        raise failure

    return SimpleNamespace(list_access_keys=fail, delete_access_key=fail)


def _without_credentials() -> UnretryableException:
    # As the vendor's client wraps it, after its retries.
    why = CredentialException("unable to load credentials")
    return UnretryableException(RetryPolicyContext(exception=why))


def test_without_credentials_ram_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ram, "_client", lambda: _raising(_without_credentials()))
    with pytest.raises(ram.Unasked, match="unable to load credentials"):
        ram.keys("oss-registry-dev")
    with pytest.raises(ram.Unasked, match="unable to load credentials"):
        ram.delete("oss-registry-dev", "id")


def test_a_user_that_ram_does_not_have_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = DaraException({"code": "EntityNotExist.User", "message": "EntityNotExist.User: no"})
    monkeypatch.setattr(ram, "_client", lambda: _raising(missing))
    assert ram.keys("oss-registry-dev") == {}
