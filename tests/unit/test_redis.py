"""A redis, the stack's or the user's own, is asked as the registry's configuration says."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from config.stack import CERTIFICATES, Stack
from operations import Blocked, NotChecked, engine, redis
from tests.unit.stack_files import load_stack

CA = trustme.CA().cert_pem.bytes().decode()
DIGEST = f"sha256:{'a' * 64}"
ENTRIES = (f"blobs::{DIGEST}", "repository::team/app::blobs", f"repository::a_b.c::blobs::{DIGEST}")


class _Redis:
    """What `docker` is asked, and a redis that answers as redis-cli 7.0 prints it."""

    def __init__(self) -> None:
        self.run: list[tuple[str, ...]] = []
        self.given: list[str] = []
        self.files: list[str] = []
        self.keys: list[str] = []
        self.password = ""
        self.answers: dict[str, str] = {}  # by a command's first word
        self.hangs = False

    def docker(self, _: Mapping[str, str], *words: str, given: str = "", **__: object) -> str:
        self.run.append(words)
        if words[0] == "cp":
            self.files.append(Path(words[1]).read_text())
        if words[0] not in ("run", "start"):
            return ""
        if self.hangs:
            raise subprocess.TimeoutExpired("docker", 10)
        self.given.append(given)
        return "".join(f"{self._answer(line)}\n" for line in given.splitlines())

    def _answer(self, line: str) -> str:
        verb, *words = line.split()
        if verb in self.answers:
            return self.answers[verb]
        if verb == "AUTH" and not self.password:
            return "ERR AUTH <password> called without any password configured.\n"
        if verb == "SCAN":
            return "0\n" + "\n".join(self.keys)
        if verb == "DEL":
            self.keys = [key for key in self.keys if key not in words]
            return str(len(words))
        return "PONG" if verb == "PING" else "OK"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> _Redis:
    made = _Redis()
    monkeypatch.setattr(engine, "docker", made.docker)
    monkeypatch.setattr(redis, "secret", lambda stack, name, brought: f"secret of {name}")
    return made


def _own(
    config: Mapping[str, Any] | None = None, *, password: bool = False, **cache: object
) -> Stack:
    """A stack with a redis of the user's own."""
    return load_stack(
        secrets={"redis-password": "x"} if password else {},
        cache={"address": "redis.example.com:6380", **cache},
        registry={"config": config or {}, "ca_certificates": CA},
    )


def test_a_redis_without_a_password_is_asked_without_a_login(server: _Redis) -> None:
    assert redis.said(_own(), {}, "PING") == ["PONG"]
    assert server.given == ["PING\n"]


@pytest.mark.parametrize("database", [0, 3])
def test_a_redis_without_a_password_forgets_the_registrys_entries_alone(
    database: int, server: _Redis
) -> None:
    others = ["others", "blobs::x", "myblobs::y", "repository::A B::blobs"]
    server.keys = [*ENTRIES, *others]
    redis.forget(_own(db=database), {})
    assert server.keys == others
    selected = [line for given in server.given for line in given.splitlines() if "SELECT" in line]
    assert set(selected) == ({f"SELECT {database}"} if database else set())


def test_each_page_of_a_large_redis_is_looked_at(
    server: _Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "PAGE", 2)
    monkeypatch.setattr(redis, "BATCH", 1)
    server.keys = [*ENTRIES]
    pages = iter([f"17\n{ENTRIES[0]}", f"5\n{ENTRIES[1]}", f"0\n{ENTRIES[2]}"])
    monkeypatch.setattr(server, "_answer", _paged(server._answer, pages))
    redis.forget(_own(), {})
    assert not server.keys
    assert [given for given in server.given if given.startswith("SCAN")] == [
        f"SCAN {cursor} MATCH *blobs* COUNT 2\n" for cursor in (0, 17, 5)
    ]


def _paged(answer: Callable[[str], str], pages: Iterator[str]) -> Callable[[str], str]:
    return lambda line: next(pages) if line.startswith("SCAN") else answer(line)


def test_a_user_of_an_acl_logs_in_by_name_and_password(server: _Redis) -> None:
    server.password = "x"
    stack = _own({"redis": {"username": "registry"}}, password=True)
    assert redis.said(stack, {}, "PING") == ["PONG"]
    quoted = [redis._quoted(word) for word in ("registry", "secret of redis-password")]
    assert server.given == [f"AUTH {quoted[0]} {quoted[1]}\nPING\n"]
    redis.forget(stack, {})


def test_a_user_without_a_password_is_the_default_user_as_it_is_to_the_registry(
    server: _Redis,
) -> None:
    assert redis.said(_own({"redis": {"username": "registry"}}), {}, "PING") == ["PONG"]
    assert server.given == ["PING\n"]


def test_the_password_is_no_argument_and_no_variable(server: _Redis) -> None:
    server.password = "x"
    redis.said(_own(password=True), {}, "PING")
    assert "secret of" not in json.dumps(server.run)
    assert "secret of" not in server.given[0]  # each byte is escaped


def test_a_redis_over_tls_is_verified_by_the_registrys_authorities(server: _Redis) -> None:
    stack = _own({"redis": {"tls": {"rootcas": [CERTIFICATES]}}})
    assert redis.said(stack, {}, "PING") == ["PONG"]
    created, copied, started = server.run
    assert created[-5:] == ("--tls", "--sni", "redis.example.com", "--cacert", redis.AUTHORITIES)
    assert copied[2].endswith(f":{redis.AUTHORITIES}")
    assert server.files == [CA]
    assert started[:3] == ("start", "--attach", "--interactive")


def test_a_redis_that_asks_for_a_client_certificate_is_not_checked(server: _Redis) -> None:
    tls = {"certificate": "/c.pem", "key": "/k.pem"}
    stack = _own({"redis": {"tls": tls}})
    with pytest.raises(NotChecked, match=r"registry\.config\.redis\.tls\.key"):
        redis.said(stack, {}, "PING")
    with pytest.raises(Blocked, match=r"registry\.config\.redis\.tls\.key.*cache\.enabled: false"):
        redis.forget(stack, {})
    assert not server.run


def test_the_master_is_asked_of_a_sentinel(server: _Redis) -> None:
    server.answers["SENTINEL"] = "10.0.0.7\n6379"
    assert redis.said(_own({"redis": {"mastername": "images"}}), {}, "PING") == ["PONG"]
    assert server.given == ["SENTINEL GET-MASTER-ADDR-BY-NAME images\n", "PING\n"]
    assert server.run[-1][-4:] == ("-h", "10.0.0.7", "-p", "6379")


def test_a_redis_of_the_registrys_configuration_alone_forgets_too(server: _Redis) -> None:
    config = {
        "redis": {"addrs": ["redis.lan:6379"], "db": 2},
        "storage": {"cache": {"blobdescriptor": "redis"}},
    }
    server.keys = [*ENTRIES]
    redis.forget(load_stack(cache={"enabled": False}, registry={"config": config}), {})
    assert not server.keys
    assert server.run[0][-4:] == ("-h", "redis.lan", "-p", "6379")


def test_without_a_redis_there_is_nothing_to_forget(server: _Redis) -> None:
    redis.forget(load_stack(cache={"enabled": False}), {})
    assert not server.run


@pytest.mark.parametrize(
    ("verb", "answer", "hint"),
    [
        ("SCAN", "NOAUTH Authentication required.", "the secret oss-registry:redis-password"),
        ("SCAN", "NOPERM no permissions to run the 'scan' command", "PING, SELECT, SCAN and DEL"),
        ("SELECT", "ERR DB index is out of range", "choose another cache.db"),
        ("AUTH", "WRONGPASS invalid username-password pair", "registry.config.redis.username"),
        ("AUTH", "ERR wrong number of arguments for 'auth' command", "from version 6 on"),
        ("AUTH", "ERR AUTH <password> called without any password", "redis has none"),
    ],
)
def test_what_redis_refuses_is_shown_with_the_setting(
    verb: str, answer: str, hint: str, server: _Redis
) -> None:
    server.password = "x"
    server.answers[verb] = f"{answer}\n"
    with pytest.raises(Blocked) as blocked:
        redis.forget(_own(password=True, db=3), {})
    assert f"redis.example.com:6380 does not forget what it knows: {answer}" in str(blocked.value)
    assert hint in str(blocked.value)


def test_a_redis_that_hangs_answers_nothing_and_its_client_is_removed(server: _Redis) -> None:
    server.hangs = True
    assert redis.said(_own(), {}, "PING") == []
    assert server.run[-1][:2] == ("container", "rm")
    with pytest.raises(Blocked, match=r"does not forget what it knows: nothing$"):
        redis.forget(_own(), {})
