"""Tests of the toolchain: what it finds, downloads, builds or reports as missing."""

import hashlib
import http.server
import io
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest

from config.releases import DEFAULT_RELEASE, RELEASES
from config.settings import StackSettings
from tests.reference.reader import PROGRAMS
from toolchain import __main__ as toolchain
from toolchain import cache, compose, debian, engine, golang, images, network, progress, pulumi_cli
from toolchain.cache import Entry
from toolchain.golang import Builds, GoProgram, Part
from toolchain.progress import Unavailable, Untrusted


@pytest.fixture(autouse=True)
def _temporary_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "DIRECTORY", tmp_path / "cache")
    for module in (debian, golang, images, pulumi_cli):
        monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    images._hub_is_reachable.cache_clear()


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder that is first on PATH, before the system's programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _fake_program(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


# A stand-in for `go`, which lists one package and writes a program for `go build -o=FILE`.
FAKE_GO = """
out=
for argument in "$@"; do
    case "$argument" in -o=*) out=${argument#-o=} ;; esac
done
case "$1" in
list) echo "go: downloading example.com/module v1.0.0" >&2; echo example.com/module/package ;;
build) if [ "$out" ]; then echo built > "$out"; fi ;;
esac
"""


def _install(part: Part) -> str:
    """Build and install `part` as the toolchain does, and return its line of the summary."""
    (text,) = toolchain._install([part])
    return text


@dataclass
class Vendor:
    """A fake of the site with the archive of the Pulumi CLI and its list of checksums.

    If `checksums` is None, the site answers a request for the list with 404.
    """

    archive: bytes
    checksums: str | None
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("pulumi", "pulumi-language-python"):
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.mode = 0o755
            archive.addfile(member, io.BytesIO())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    name = pulumi_cli._archive().rpartition("/")[2]
    others = f"{'0' * 64}  pulumi-v0.0.0-plan9-x64.tar.gz\n"
    site = Vendor(packed.getvalue(), f"{others}{digest}  {name}\n")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            site.requests.append(self.path.rpartition("/")[2])
            self.wfile.write(self._answer())

        def _answer(self) -> bytes:
            if not self.path.endswith("-checksums.txt"):
                content = site.archive
            elif site.checksums is None:
                self.send_error(404)
                return b""
            else:
                content = site.checksums.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setattr(pulumi_cli, "VENDOR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(pulumi_cli, "ANSWER_SECONDS", 60)
        yield site
        server.shutdown()
        serving.join()


@pytest.fixture
def blocked_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accept connections to the vendor's site without ever answering them."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as silent:
        monkeypatch.setattr(pulumi_cli, "VENDOR", f"http://127.0.0.1:{silent.server_port}")
        monkeypatch.setattr(pulumi_cli, "ANSWER_SECONDS", 0.05)
        yield


def test_each_pinned_version_is_the_same_everywhere() -> None:
    assert pulumi_cli.DOCKER_PLUGIN.version == version("pulumi-docker")
    built = {image.reference for image in images.IMAGES}
    assert {release.image for release in RELEASES.values()} <= built
    assert StackSettings().cache.image == images.REDIS
    assert images.registry_image(DEFAULT_RELEASE) == RELEASES[DEFAULT_RELEASE].image
    assert set(toolchain.TEST_IMAGES) < set(toolchain.ALL_IMAGES) == built
    modules = {
        pulumi_cli.CLI: "github.com/pulumi/pulumi/pkg/v3 v{}",
        images.IMAGES[0].program: "github.com/distribution/distribution/v3 v{}",
        images.IMAGES[1].program: "github.com/distribution/distribution/v3 v{}",
        images.IMAGES[2].program: "github.com/docker/distribution v{}+incompatible",
    }
    for program, module in modules.items():
        assert program is not None
        required = (program.sources / "go.mod").read_text()
        assert module.format(program.version) in required
        assert program.stamp.endswith(f"=v{program.version}")
    # The Makefile installs uv with requirements-dev.txt as its constraint.
    assert re.search(r"^uv==", (toolchain.PROJECT / "requirements-dev.txt").read_text(), re.M)
    assert PROGRAMS.keys() == RELEASES.keys()
    for release, reader in PROGRAMS.items():
        required = (reader.sources / reader.module / "go.mod").read_text()
        assert re.search(rf"/distribution(/v3)? v{re.escape(release)}[+\n]", required)


def test_a_pulumi_on_path_is_used_and_our_link_is_removed(bin_folder: Path, tmp_path: Path) -> None:
    installed = _fake_program(bin_folder, "pulumi", "true")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.environ["PATH"] += f":{link}"
    assert _install(pulumi_cli.cli_part(link)) == f"pulumi ({installed})"
    assert not link.is_symlink()


@pytest.mark.usefixtures("bin_folder", "vendor")
def test_a_downloaded_cli_with_the_published_checksum_is_used(tmp_path: Path) -> None:
    link = tmp_path / "link"
    assert "http://127.0.0.1" in _install(pulumi_cli.cli_part(link))
    assert sorted(program.name for program in link.iterdir()) == [
        "pulumi",
        "pulumi-language-python",
    ]


def test_a_downloaded_cli_with_another_checksum_is_an_error_and_no_build_follows(
    bin_folder: Path, vendor: Vendor, tmp_path: Path
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    vendor.archive += b"changed"
    with pytest.raises(
        Untrusted, match=r"has the SHA-256 [0-9a-f]{64}, but .*-checksums\.txt lists"
    ):
        pulumi_cli.cli_part(tmp_path / "link")
    assert not (tmp_path / "link").exists()
    assert not pulumi_cli._vendor_cli().path.exists()


def test_a_cli_without_a_published_checksum_is_not_downloaded(
    bin_folder: Path, vendor: Vendor, tmp_path: Path
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    vendor.checksums = f"{'0' * 64}  pulumi-v0.0.0-plan9-x64.tar.gz\n"
    with pytest.raises(Untrusted, match=r"lists no SHA-256 for pulumi-v.*\.tar\.gz"):
        pulumi_cli.cli_part(tmp_path / "link")
    assert vendor.requests == [f"pulumi-{pulumi_cli.CLI.version}-checksums.txt"]


def test_the_cli_is_built_if_the_list_of_checksums_cannot_be_downloaded(
    bin_folder: Path, vendor: Vendor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    vendor.checksums = None
    assert "built from mirrors" in _install(pulumi_cli.cli_part(tmp_path / "link"))
    assert "checksums.txt could not be fetched (HTTP Error 404" in capsys.readouterr().err


def test_two_checkouts_share_one_download_of_the_cli(
    bin_folder: Path, vendor: Vendor, tmp_path: Path
) -> None:
    for checkout in ("one", "two"):
        pulumi_cli.cli_part(tmp_path / checkout)
    assert len(vendor.requests) == 2
    assert (tmp_path / "one").resolve() == (tmp_path / "two").resolve()


@pytest.mark.usefixtures("vendor")
def test_the_pulumi_plugin_for_docker_is_downloaded_if_its_vendor_answers(
    bin_folder: Path, tmp_path: Path
) -> None:
    arguments = tmp_path / "arguments"
    _fake_program(bin_folder, "pulumi", f'echo "$@" > {arguments}')
    part = pulumi_cli.plugin_part(pulumi_cli.DOCKER_PLUGIN, tmp_path / "home")
    assert "its vendor" in _install(part)
    expected = f"plugin install resource docker {version('pulumi-docker')}\n"
    assert arguments.read_text() == expected


def test_our_own_link_does_not_count_as_a_cli_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi_cli, "cli_part", lambda link: Part(lambda: str(link)))
    (part,) = toolchain._pulumi_parts([])
    assert part.finish() == str(toolchain.PROJECT / ".state" / "bin")


@pytest.mark.parametrize(
    ("config", "plugins"),
    [
        ({}, ["docker"]),
        ({"oss-registry:storage": {"kind": "filesystem"}}, ["docker"]),
        ({"oss-registry:storage": {"kind": "oss"}}, ["docker", "alicloud"]),
    ],
)
def test_only_a_stack_with_oss_storage_needs_the_pulumi_plugin_for_alicloud(
    config: dict[str, object], plugins: list[str]
) -> None:
    plugins_of_stack = toolchain._plugins_for(config)
    assert [plugin.binary.rpartition("-")[2] for plugin in plugins_of_stack] == plugins
    assert pulumi_cli.ALICLOUD_PLUGIN.version == version("pulumi-alicloud")


@pytest.mark.usefixtures("blocked_network")
def test_without_network_access_the_cli_is_built_with_a_language_host_beside_it(
    bin_folder: Path, tmp_path: Path
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    link = tmp_path / "link"
    assert "built from mirrors" in _install(pulumi_cli.cli_part(link))
    assert (link / "pulumi").read_text() == "built\n"
    assert os.access(link / "pulumi-language-python", os.X_OK)


@pytest.mark.usefixtures("blocked_network")
def test_a_build_is_shared_between_checkouts(bin_folder: Path, tmp_path: Path) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    for checkout in ("one", "two"):
        home = tmp_path / f"home-{checkout}"
        _install(pulumi_cli.cli_part(tmp_path / checkout))
        part = pulumi_cli.plugin_part(pulumi_cli.DOCKER_PLUGIN, home)
        assert "built from mirrors" in _install(part)
        (plugin,) = home.glob("plugins/resource-docker-v*/pulumi-resource-docker")
        assert plugin.read_text() == "built\n"
        # A build would fail now, so the second checkout must reuse what the first one built.
        _fake_program(bin_folder, "go", "exit 1")


def test_changed_compiler_flags_rebuild_the_cli_and_the_registry_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def entries() -> set[Path]:
        built = [image for image in images.IMAGES if image.program]
        return {pulumi_cli._built_cli().path, *(images._entry(image).path for image in built)}

    before = entries()
    monkeypatch.setattr(golang, "COMPILER_FLAGS", ())
    assert not before & entries()


@pytest.mark.usefixtures("blocked_network")
def test_a_missing_go_is_reported_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match=r"^pulumi [\d.]+ is built from Go modules.*Install Go"):
        _install(pulumi_cli.cli_part(tmp_path / "link"))


def _go_programs(*names: str) -> list[GoProgram]:
    sources = golang.RECIPES / "crane"
    return [GoProgram(binary=name, sources=sources, version="1", minutes=2) for name in names]


def test_each_build_prints_its_number_and_the_remaining_time(
    bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    built_before, first, second = _go_programs("built-before", "first", "second")
    built_before.build()
    capsys.readouterr()
    with Builds() as builds:
        for program in (built_before, first, second, first):
            builds.add(program)
        builds.run()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith("…")]
    title = "toolchain: building {} 1 from Go modules"
    assert lines == [
        f"{title.format('first')} (1 of 2, about 2 min; about 4 min left in all) …",
        f"{title.format('second')} (2 of 2, about 2 min; about 2 min left in all) …",
    ]
    assert first.path.read_text() == second.path.read_text() == "built\n"


def test_a_single_build_prints_only_its_own_time(
    bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_program(bin_folder, "go", FAKE_GO)
    (program,) = _go_programs("only")
    program.build()
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "toolchain: building only 1 from Go modules (about 2 min) …"


def test_progress_lines_of_go_list_are_not_compiled_as_packages(
    bin_folder: Path, tmp_path: Path
) -> None:
    _fake_program(bin_folder, "go", f'echo "$@" >> {tmp_path}/calls\n{FAKE_GO}')
    (program,) = _go_programs("only")
    program.build()
    list_, compile_, link = (tmp_path / "calls").read_text().splitlines()
    assert list_.startswith("list ")
    assert compile_.endswith(" example.com/module/package")
    assert "downloading" not in compile_
    assert " -o=" in link


def test_a_failed_module_download_is_reported(bin_folder: Path) -> None:
    _fake_program(bin_folder, "go", "echo no such module >&2; exit 1")
    (program,) = _go_programs("only")
    with pytest.raises(Unavailable, match=r"^only 1 could not be built .*: no such module"):
        program.build()


def test_a_changed_time_estimate_does_not_rebuild_a_program() -> None:
    one, two = (
        GoProgram(binary="a", sources=golang.RECIPES / "crane", version="1", minutes=minutes)
        for minutes in (1, 2)
    )
    assert one.path == two.path


@pytest.mark.parametrize(
    ("minutes", "text"), [(0.5, "about 30 s"), (1.4, "about 84 s"), (1.6, "about 2 min")]
)
def test_time_estimates_are_rounded(minutes: float, text: str) -> None:
    assert progress.format_estimate(minutes) == text


def test_a_cache_entry_is_created_once_and_again_after_its_sources_change(tmp_path: Path) -> None:
    sources, created = tmp_path / "sources", []
    sources.mkdir()
    for text in ("one", "one", "two"):
        (sources / "main.go").write_text(text)
        Entry("part", "recipe", sources).get_or_create(lambda folder: created.append(folder.name))
    assert len(created) == 2


def test_a_cache_entry_that_failed_is_created_again() -> None:
    def fail_halfway(folder: Path) -> None:
        (folder / "half").touch()
        raise Unavailable("no")

    entry = Entry("part", "recipe")
    with pytest.raises(Unavailable):
        entry.get_or_create(fail_halfway)
    assert list(entry.get_or_create(lambda _: None).iterdir()) == []


def test_a_failed_command_is_reported_with_its_last_line_of_output(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as failure:
        progress.run(
            ["sh", "-c", "echo first; echo last; echo; exit 3"],
            log=tmp_path / "log",
            failure="it could not be built",
        )
    assert str(failure.value) == f"it could not be built: last (full output: {tmp_path / 'log'})"


def test_a_long_step_prints_reminders_and_its_duration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "REMINDER_SECONDS", 0.01)
    reminded, report = threading.Event(), progress.report

    def record(text: str) -> None:
        report(text)
        if "still" in text:
            reminded.set()

    monkeypatch.setattr(progress, "report", record)
    with progress.step("building"):
        assert reminded.wait(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "toolchain: building …"
    assert re.fullmatch(r"toolchain: building: still running after \d+ s", lines[1])
    assert re.fullmatch(r"toolchain: building: done in \d+ s", lines[-1])


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> images.Image:
    """Replace the list of known images with one image that has a recipe."""
    program = GoProgram(
        binary="demo", sources=golang.RECIPES / "registry-3.1", version="9.9.9", minutes=1
    )
    image = images.Image(
        reference="demo:9.9.9", packages="", links=(), changes=("EXPOSE 1",), program=program
    )
    monkeypatch.setattr(images, "IMAGES", (image,))
    return image


def _fake_docker(folder: Path, pull: str, **info: object) -> Path:
    """Create a `docker` whose engine has no images; `pull` is the script of `docker pull`.

    Returns a file with the first two words of each command, one command per line.
    """
    commands = folder / "commands"
    text = json.dumps({"RegistryConfig": {"Mirrors": []}, **info})
    _fake_program(
        folder,
        "docker",
        f"""
        echo "$1 $2" >> {commands}
        case "$1" in
        info) echo '{text}' ;;
        pull) {pull} ;;
        *) exit 1 ;;
        esac
        """,
    )
    return commands


@pytest.fixture
def open_port() -> Iterator[int]:
    """Return a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_slow_pull_prints_progress_lines(
    bin_folder: Path,
    tmp_path: Path,
    image: images.Image,
    open_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reminded, report = tmp_path / "reminded", progress.report

    def record(text: str) -> None:
        report(text)
        if "still running" in text:
            reminded.touch()

    monkeypatch.setattr(progress, "report", record)
    monkeypatch.setattr(progress, "REMINDER_SECONDS", 0.01)
    monkeypatch.setattr(images, "HUB", f"https://127.0.0.1:{open_port}")
    # The pull prints nothing and ends after the first reminder.
    _fake_docker(bin_folder, f"while [ ! -e {reminded} ]; do sleep 0.01; done")
    assert images.image_part(image.reference, login=False).finish() == "demo:9.9.9 (pulled)"
    assert "pulling demo:9.9.9: still running after" in capsys.readouterr().err


def test_an_unreachable_docker_hub_is_reported_once_and_no_pull_is_tried(
    bin_folder: Path,
    image: images.Image,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "HUB", f"https://127.0.0.1:{closed_port}")
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    commands = _fake_docker(bin_folder, "exit 0")
    for _ in range(2):
        assert images.image_part(image.reference, login=False).program == image.program
    assert "pull" not in commands.read_text()
    assert commands.read_text().count("info") == 1
    printed = capsys.readouterr().err
    assert "cannot be reached" in printed
    for fix in ("registry-mirrors", "registry.image", "cache.image"):
        assert fix in printed


def test_an_engine_with_a_mirror_or_a_proxy_pulls_even_if_docker_hub_is_unreachable(
    bin_folder: Path,
    image: images.Image,
    open_port: int,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "HUB", f"https://127.0.0.1:{closed_port}")
    mirror = {"RegistryConfig": {"Mirrors": [f"http://127.0.0.1:{open_port}/"]}}
    for info in (mirror, {"HttpsProxy": "http://proxy.example:3128"}):
        images._hub_is_reachable.cache_clear()
        _fake_docker(bin_folder, "exit 0", **info)
        assert images.image_part(image.reference, login=False).finish() == "demo:9.9.9 (pulled)"


def test_an_image_is_built_after_a_failed_pull(
    bin_folder: Path,
    image: images.Image,
    open_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "HUB", f"https://127.0.0.1:{open_port}")
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    _fake_docker(bin_folder, "echo toomanyrequests >&2; exit 1")
    assert images.image_part(image.reference, login=False).program == image.program
    printed = capsys.readouterr().err
    assert "demo:9.9.9 could not be pulled: toomanyrequests" in printed
    assert "registry-mirrors" in printed


def test_an_image_that_can_neither_be_pulled_nor_built_is_reported_with_a_fix(
    bin_folder: Path, image: images.Image, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "HUB", f"https://127.0.0.1:{closed_port}")
    monkeypatch.setattr(debian, "is_debian", lambda: False)
    _fake_docker(bin_folder, "exit 1")
    with pytest.raises(Unavailable, match=r"^demo:9\.9\.9 could not be pulled.*docker load"):
        images.image_part(image.reference, login=False)


def test_an_address_that_answers_too_late_counts_as_unreachable() -> None:
    test_is_over = threading.Event()
    assert network.succeeds(lambda: None, 60)
    assert not network.succeeds(test_is_over.wait, 0.01)
    test_is_over.set()


def test_an_image_is_built_again_after_its_recipe_changed(
    bin_folder: Path, image: images.Image
) -> None:
    _fake_program(bin_folder, "docker", f"echo {images._entry(image).path.name}")
    assert images._existing_origin(image) == "built from mirrors"
    _fake_program(bin_folder, "docker", "echo image-demo-9.9.9-another")
    assert images._existing_origin(image) is None
    _fake_program(bin_folder, "docker", "echo")
    assert images._existing_origin(image) == "pulled"


USERS_IMAGE = "registry.example/team/registry:3.1.2"


@pytest.mark.parametrize(
    ("pull", "login", "origin"),
    [
        ("exit 0", False, "pulled"),
        ("exit 1", False, "not pulled yet"),
        ("exit 1", True, "to be pulled with docker:registryAuth"),
    ],
)
def test_an_image_of_the_user_that_cannot_be_pulled_does_not_stop_the_run(
    bin_folder: Path, pull: str, login: bool, origin: str
) -> None:
    commands = _fake_docker(bin_folder, pull)
    part = images.image_part(USERS_IMAGE, login=login)
    assert (part.program, part.finish()) == (None, f"{USERS_IMAGE} ({origin})")
    assert ("pull " not in commands.read_text()) == login


def test_an_image_of_the_user_that_the_engine_has_is_not_pulled(bin_folder: Path) -> None:
    _fake_program(bin_folder, "docker", '[ "$1" = image ] && echo sha256:1')
    part = images.image_part(USERS_IMAGE, login=False)
    assert part.finish() == f"{USERS_IMAGE} (in the Docker engine)"


def test_a_failed_pull_of_an_image_of_the_user_is_reported_with_fixes(
    bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_docker(bin_folder, "echo denied >&2; exit 1")
    images.image_part(USERS_IMAGE, login=False)
    printed = capsys.readouterr().err
    assert f"{USERS_IMAGE} could not be pulled: denied" in printed
    for fix in ("docker load", "registry-mirrors", "registry.image", "cache.image"):
        assert fix in printed


def test_no_other_engine_is_started_if_the_one_in_docker_host_does_not_answer(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_program(bin_folder, "docker", "exit 1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(
        Unavailable, match=r"^The Docker engine at tcp://127\.0\.0\.1:1 does not answer"
    ):
        engine.ensure_running()


def test_without_root_a_missing_engine_is_reported_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match=r"^Install and start a Docker engine"):
        engine.ensure_running()


def test_without_root_a_stopped_engine_is_reported_with_the_command_that_starts_it(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_program(bin_folder, "docker", "exit 1")
    _fake_program(bin_folder, "dockerd", "exit 1")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="systemctl start docker"):
        engine.ensure_running()


@pytest.mark.parametrize(
    ("options", "elsewhere"),
    [
        ([], False),
        (["--host=unix:///tmp/other"], True),
        (["-H", "tcp://127.0.0.1:2375"], True),
        (["-H", "unix:///var/run/docker.sock", "-H", "tcp://127.0.0.1:2375"], False),
    ],
)
def test_an_engine_that_does_not_listen_on_the_default_socket_is_recognized(
    bin_folder: Path, options: list[str], elsewhere: bool
) -> None:
    dockerd = _fake_program(bin_folder, "dockerd", "echo ready; read line")
    with subprocess.Popen(
        [dockerd, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        assert engine._is_engine(running.pid)
        assert engine._is_elsewhere(running.pid) == elsewhere
        running.terminate()


def test_engine_stop_does_not_kill_another_process_that_reuses_the_engines_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        monkeypatch.setattr(engine, "PID_FILE", tmp_path / "pid")
        engine.PID_FILE.write_text(str(other.pid))
        engine.stop()
        assert other.poll() is None
        other.terminate()


def test_engine_stop_waits_until_the_engine_has_exited_even_if_its_pid_file_is_deleted(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exited = tmp_path / "exited"
    monkeypatch.setattr(engine, "PID_FILE", tmp_path / "pid")
    script = f"""
        trap 'rm {engine.PID_FILE}; sleep 0.1; touch {exited}; exit' TERM
        echo $$ > {tmp_path}/new && mv {tmp_path}/new {engine.PID_FILE}
        echo ready
        while :; do sleep 0.02; done
    """
    dockerd = _fake_program(bin_folder, "dockerd", script)
    with subprocess.Popen([dockerd], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        reaper = threading.Thread(target=running.wait)
        reaper.start()
        engine.stop()
        assert exited.exists()
        reaper.join()


def test_a_missing_stack_file_is_reported_with_the_names_of_existing_stacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert toolchain.main(["up", "nowhere"]) == 1
    printed = capsys.readouterr().err
    assert "stacks/Pulumi.nowhere.yaml does not exist" in printed
    assert "local" in printed


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the stack file of `mine`, which the test writes."""
    monkeypatch.setattr(toolchain, "PROJECT", tmp_path)
    file = tmp_path / "stacks" / "Pulumi.mine.yaml"
    file.parent.mkdir()
    return file


DEFAULT_IMAGES = [f"registry:{DEFAULT_RELEASE}", "redis:7.0.15"]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ("{}", DEFAULT_IMAGES),
        ('{registry: {release: "2.8.3"}}', ["registry:2.8.3", "redis:7.0.15"]),
        ('{registry: {release: "1.0"}}', ["redis:7.0.15"]),
        ('{registry: {release: "3.1.2", image: a.example/b}}', ["a.example/b", "redis:7.0.15"]),
        ("{cache: {image: a.example/c}}", [DEFAULT_IMAGES[0], "a.example/c"]),
        ("{cache: {enabled: false}}", DEFAULT_IMAGES[:1]),
        ("{cache: {address: 'redis.example:6379'}}", DEFAULT_IMAGES[:1]),
        ("{registry: [], cache: no}", DEFAULT_IMAGES),
        ("[]", DEFAULT_IMAGES),
        ("{", DEFAULT_IMAGES),
    ],
)
def test_the_images_of_a_stack_are_those_that_its_file_names_or_implies(
    stack_file: Path, sections: str, expected: list[str]
) -> None:
    stack_file.write_text(f"config: {sections}")
    assert toolchain._images_for(toolchain._stack_config("mine")) == expected


@pytest.mark.parametrize(
    ("command", "installed"),
    [
        ("test", ["_ensure_skopeo", "_ensure_compose"]),
        ("test-all", ["_ensure_skopeo", "_ensure_compose", "_ensure_sshd"]),
    ],
)
def test_make_test_prepares_fewer_images_and_programs_than_make_test_all(
    command: str, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("_ensure_skopeo", "_ensure_compose", "_ensure_sshd"):
        monkeypatch.setattr(toolchain, name, lambda name=name: calls.append(name))
    needed: list[object] = []
    monkeypatch.setattr(toolchain, "_pulumi_parts", lambda plugins: iter(plugins))
    monkeypatch.setattr(toolchain, "_engine_parts", lambda references: iter(references))

    def ready(parts: Iterator[object]) -> list[str]:
        needed.extend(parts)
        return []

    monkeypatch.setattr(toolchain, "_install", ready)
    assert toolchain.main([command]) == 0
    assert ("registry:3.0.0" in needed) == (command == "test-all")
    assert set(toolchain.PLUGINS) < set(needed)
    assert calls == installed


def test_a_key_without_a_namespace_belongs_to_the_project(stack_file: Path) -> None:
    stack_file.write_text("config: {storage: {kind: oss}}")
    assert len(toolchain._plugins_for(toolchain._stack_config("mine"))) == 2


def test_a_stack_on_another_machine_needs_no_local_engine(
    stack_file: Path, bin_folder: Path
) -> None:
    stack_file.write_text("config: {'docker:host': ssh://ops@example}")
    _fake_program(bin_folder, "docker", "exit 1")
    (part,) = toolchain._engine_parts_for(toolchain._stack_config("mine"))
    assert "Docker engine at ssh://ops@example" in part.finish()


@pytest.mark.parametrize(
    ("version", "is_used"),
    [("2.24.0", True), ("v2.40.3", True), ("5.0.1", True), ("2.23.3", False), ("1.29.2", False)],
)
def test_docker_compose_resolves_compose_files_unless_it_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_used: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {version}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert (compose.loader() == ["docker", "compose"]) == is_used
    assert (compose.loader_part().program is None) == is_used


def test_a_program_resolves_compose_files_on_a_machine_without_docker_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert compose.loader_part().program == compose.COMPOSE_CONFIG
    assert compose.loader() == [str(compose.COMPOSE_CONFIG.path)]
