"""Tests of the redis client, which connects as the registry is configured to do."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from config.stack import CA_CERTIFICATES_PATH, Stack
from operations.clients import redis
from operations.clients.docker import Docker
from operations.clients.redis import Redis
from operations.errors import CommandError, NotChecked
from tests.unit.stack_files import load_stack

CA = trustme.CA().cert_pem.bytes().decode()
DIGEST = f"sha256:{'a' * 64}"
ENTRIES = (f"blobs::{DIGEST}", "repository::team/app::blobs", f"repository::a_b.c::blobs::{DIGEST}")


class _FakeRedis(Docker):
    """A docker command that records its calls, and prints answers in the form of redis-cli 7.0."""

    def __init__(self) -> None:
        super().__init__({})
        self.commands: list[tuple[str, ...]] = []
        self.inputs: list[str] = []
        self.files: list[str] = []
        self.keys: list[str] = []
        self.password = ""
        self.answers: dict[str, str] = {}  # by a command's first word
        self.hangs = False

    def run(self, *words: str, stdin: str = "", **_: object) -> str:
        self.commands.append(words)
        if words[0] == "cp":
            self.files.append(Path(words[1]).read_text())
        if words[0] not in ("run", "start"):
            return ""
        if self.hangs:
            raise subprocess.TimeoutExpired("docker", 10)
        self.inputs.append(stdin)
        return "".join(f"{self._answer(line)}\n" for line in stdin.splitlines())

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
def server() -> _FakeRedis:
    return _FakeRedis()


def _client(stack: Stack, server: _FakeRedis) -> Redis:
    return Redis(stack.registry, server, lambda name: f"secret of {name}")


def _stack_with_external_redis(
    config: Mapping[str, Any] | None = None, *, password: bool = False, **cache: object
) -> Stack:
    """Load a stack with the user's own redis."""
    return load_stack(
        secrets={"redis-password": "x"} if password else {},
        cache={"address": "redis.example.com:6380", **cache},
        registry={"config": config or {}, "ca_certificates": CA},
    )


def test_a_redis_without_a_password_gets_no_auth_command(server: _FakeRedis) -> None:
    assert _client(_stack_with_external_redis(), server).ask("PING") == ["PONG"]
    assert server.inputs == ["PING\n"]


@pytest.mark.parametrize("database", [0, 3])
def test_flushing_the_cache_deletes_only_the_registrys_entries(
    database: int, server: _FakeRedis
) -> None:
    other_keys = ["others", "blobs::x", "myblobs::y", "repository::A B::blobs"]
    server.keys = [*ENTRIES, *other_keys]
    _client(_stack_with_external_redis(db=database), server).flush_cache()
    assert server.keys == other_keys
    selected = [line for text in server.inputs for line in text.splitlines() if "SELECT" in line]
    assert set(selected) == ({f"SELECT {database}"} if database else set())


def test_flushing_the_cache_scans_all_pages(
    server: _FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "PAGE", 2)
    monkeypatch.setattr(redis, "BATCH", 1)
    server.keys = [*ENTRIES]
    pages = iter([f"17\n{ENTRIES[0]}", f"5\n{ENTRIES[1]}", f"0\n{ENTRIES[2]}"])
    monkeypatch.setattr(server, "_answer", _answer_with_pages(server._answer, pages))
    _client(_stack_with_external_redis(), server).flush_cache()
    assert not server.keys
    assert [text for text in server.inputs if text.startswith("SCAN")] == [
        f"SCAN {cursor} MATCH *blobs* COUNT 2\n" for cursor in (0, 17, 5)
    ]


def _answer_with_pages(answer: Callable[[str], str], pages: Iterator[str]) -> Callable[[str], str]:
    return lambda line: next(pages) if line.startswith("SCAN") else answer(line)


def test_a_redis_user_logs_in_with_name_and_password(server: _FakeRedis) -> None:
    server.password = "x"
    stack = _stack_with_external_redis({"redis": {"username": "registry"}}, password=True)
    assert _client(stack, server).ask("PING") == ["PONG"]
    quoted = [redis._quote(word) for word in ("registry", "secret of redis-password")]
    assert server.inputs == [f"AUTH {quoted[0]} {quoted[1]}\nPING\n"]
    _client(stack, server).flush_cache()


def test_a_redis_user_without_a_password_does_not_log_in(server: _FakeRedis) -> None:
    stack = _stack_with_external_redis({"redis": {"username": "registry"}})
    assert _client(stack, server).ask("PING") == ["PONG"]
    assert server.inputs == ["PING\n"]


def test_the_password_is_in_no_argument_and_no_variable(server: _FakeRedis) -> None:
    server.password = "x"
    _client(_stack_with_external_redis(password=True), server).ask("PING")
    assert "secret of" not in json.dumps(server.commands)
    assert "secret of" not in server.inputs[0]  # each byte is escaped


def test_a_redis_certificate_is_verified_with_the_registrys_ca_certificates(
    server: _FakeRedis,
) -> None:
    stack = _stack_with_external_redis({"redis": {"tls": {"rootcas": [CA_CERTIFICATES_PATH]}}})
    assert _client(stack, server).ask("PING") == ["PONG"]
    created, copied, started = server.commands
    assert created[-5:] == ("--tls", "--sni", "redis.example.com", "--cacert", redis.CA_FILE)
    assert copied[2].endswith(f":{redis.CA_FILE}")
    assert server.files == [CA]
    assert started[:3] == ("start", "--attach", "--interactive")


def test_a_redis_that_requires_a_client_certificate_is_reported_as_not_checked(
    server: _FakeRedis,
) -> None:
    tls = {"certificate": "/c.pem", "key": "/k.pem"}
    stack = _stack_with_external_redis({"redis": {"tls": tls}})
    with pytest.raises(NotChecked, match=r"registry\.config\.redis\.tls\.key"):
        _client(stack, server).ask("PING")
    with pytest.raises(
        CommandError, match=r"registry\.config\.redis\.tls\.key.*cache\.enabled: false"
    ):
        _client(stack, server).flush_cache()
    assert not server.commands


def test_the_address_of_the_master_comes_from_a_sentinel(server: _FakeRedis) -> None:
    server.answers["SENTINEL"] = "10.0.0.7\n6379"
    stack = _stack_with_external_redis({"redis": {"mastername": "images"}})
    assert _client(stack, server).ask("PING") == ["PONG"]
    assert server.inputs == ["SENTINEL GET-MASTER-ADDR-BY-NAME images\n", "PING\n"]
    assert server.commands[-1][-4:] == ("-h", "10.0.0.7", "-p", "6379")


def test_the_cache_is_flushed_if_only_registry_config_names_the_redis(server: _FakeRedis) -> None:
    config = {
        "redis": {"addrs": ["redis.lan:6379"], "db": 2},
        "storage": {"cache": {"blobdescriptor": "redis"}},
    }
    server.keys = [*ENTRIES]
    _client(load_stack(cache={"enabled": False}, registry={"config": config}), server).flush_cache()
    assert not server.keys
    assert server.commands[0][-4:] == ("-h", "redis.lan", "-p", "6379")


def test_without_a_redis_flushing_the_cache_does_nothing(server: _FakeRedis) -> None:
    _client(load_stack(cache={"enabled": False}), server).flush_cache()
    assert not server.commands


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
def test_an_error_of_redis_is_reported_with_the_setting_to_change(
    verb: str, answer: str, hint: str, server: _FakeRedis
) -> None:
    server.password = "x"
    server.answers[verb] = f"{answer}\n"
    with pytest.raises(CommandError) as failure:
        _client(_stack_with_external_redis(password=True, db=3), server).flush_cache()
    assert f"redis.example.com:6380 does not forget what it knows: {answer}" in str(failure.value)
    assert hint in str(failure.value)


def test_a_redis_that_hangs_counts_as_no_answer_and_its_client_is_removed(
    server: _FakeRedis,
) -> None:
    server.hangs = True
    assert _client(_stack_with_external_redis(), server).ask("PING") == []
    assert server.commands[-1][:2] == ("container", "rm")
    with pytest.raises(CommandError, match=r"does not forget what it knows: nothing$"):
        _client(_stack_with_external_redis(), server).flush_cache()
