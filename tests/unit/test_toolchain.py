"""The toolchain where it decides: what is found, fetched, built, or said to be missing."""

import http.server
import io
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from components.distribution import RELEASES
from components.settings import StackSettings
from tests.oracle.oracle import PROGRAMS
from toolchain import __main__ as toolchain
from toolchain import cache, debian, engine, golang, images, progress, pulumi_cli
from toolchain.cache import Entry
from toolchain.golang import GoProgram
from toolchain.progress import Unavailable


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "DIRECTORY", tmp_path / "cache")
    for module in (debian, golang, images, pulumi_cli):
        monkeypatch.setattr(module, "LOGS", tmp_path / "logs")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, but for the system's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _program(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """A vendor's site on loopback, with an archive of one program at every address."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("pulumi", "pulumi-language-python"):
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.mode = 0o755
            archive.addfile(member, io.BytesIO())

    class Site(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed.getvalue())))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(packed.getvalue())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setattr(pulumi_cli, "VENDOR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(pulumi_cli, "ANSWER_SECONDS", 60)
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A vendor's address that takes connections and never says a word."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as silent:
        monkeypatch.setattr(pulumi_cli, "VENDOR", f"http://127.0.0.1:{silent.server_port}")
        monkeypatch.setattr(pulumi_cli, "ANSWER_SECONDS", 0.05)
        yield


def test_the_pins_of_one_thing_agree_wherever_they_stand() -> None:
    assert pulumi_cli.DOCKER_PLUGIN.version == version("pulumi-docker")
    built = {image.reference for image in images.IMAGES}
    assert {release.image for release in RELEASES.values()} <= built
    assert StackSettings().cache.image in built
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
    assert PROGRAMS.keys() == RELEASES.keys()
    for version_asked, oracle in PROGRAMS.items():
        required = (oracle.sources / oracle.module / "go.mod").read_text()
        assert re.search(rf"/distribution(/v3)? v{re.escape(version_asked)}[+\n]", required)


def test_pulumi_on_path_is_used_and_ours_steps_aside(path: Path, tmp_path: Path) -> None:
    theirs = _program(path, "pulumi", "true")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.environ["PATH"] += f":{link}"
    assert pulumi_cli.cli_ready(link) == f"pulumi ({theirs})"
    assert not link.is_symlink()


@pytest.mark.usefixtures("path", "vendor")
def test_the_cli_is_fetched_where_its_vendor_answers(tmp_path: Path) -> None:
    link = tmp_path / "link"
    assert "http://127.0.0.1" in pulumi_cli.cli_ready(link)
    assert sorted(program.name for program in link.iterdir()) == [
        "pulumi",
        "pulumi-language-python",
    ]


@pytest.mark.usefixtures("vendor")
def test_the_docker_plugin_is_fetched_where_its_vendor_answers(path: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    _program(path, "pulumi", f'echo "$@" > {asked}')
    assert "its vendor" in pulumi_cli.plugin_ready(pulumi_cli.DOCKER_PLUGIN, tmp_path / "home")
    assert asked.read_text() == f"plugin install resource docker {version('pulumi-docker')}\n"


def test_no_folder_of_path_is_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi_cli, "cli_ready", lambda link: str(link))
    assert toolchain._pulumi([]) == [str(toolchain.PROJECT / ".state" / "bin")]


@pytest.mark.parametrize(
    ("config", "plugins"),
    [
        ({}, ["docker"]),
        ({"oss-registry:storage": {"kind": "filesystem"}}, ["docker"]),
        ({"oss-registry:storage": {"kind": "oss"}}, ["docker", "alicloud"]),
    ],
)
def test_only_a_stack_in_the_cloud_waits_for_its_plugin(
    config: dict[str, object], plugins: list[str]
) -> None:
    asked = toolchain._plugins_of(config)
    assert [plugin.binary.rpartition("-")[2] for plugin in asked] == plugins
    assert pulumi_cli.ALICLOUD_PLUGIN.version == version("pulumi-alicloud")


@pytest.mark.usefixtures("closed_network")
def test_on_a_closed_network_the_cli_is_built_and_has_a_language_host_beside_it(
    path: Path, tmp_path: Path
) -> None:
    _program(path, "go", 'while [ "$1" != -o ]; do shift; done; echo built > "$2"')
    link = tmp_path / "link"
    assert "built from mirrors" in pulumi_cli.cli_ready(link)
    assert (link / "pulumi").read_text() == "built\n"
    assert os.access(link / "pulumi-language-python", os.X_OK)


@pytest.mark.usefixtures("closed_network")
def test_what_is_built_once_is_not_built_for_the_next_checkout(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "go", 'while [ "$1" != -o ]; do shift; done; echo built > "$2"')
    for checkout in ("one", "two"):
        pulumi_cli.cli_ready(tmp_path / checkout)
        home = tmp_path / f"home-{checkout}"
        assert "built from mirrors" in pulumi_cli.plugin_ready(pulumi_cli.DOCKER_PLUGIN, home)
        (plugin,) = home.glob("plugins/resource-docker-v*/pulumi-resource-docker")
        assert plugin.read_text() == "built\n"
        # The second time nothing may be built.
        _program(path, "go", "exit 1")


@pytest.mark.usefixtures("closed_network")
def test_without_go_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match=r"^install Go .* or put pulumi on PATH$"):
        pulumi_cli.cli_ready(tmp_path / "link")


def test_an_entry_is_made_once_and_again_when_its_sources_change(tmp_path: Path) -> None:
    sources, made = tmp_path / "sources", []
    sources.mkdir()
    for text in ("one", "one", "two"):
        (sources / "main.go").write_text(text)
        Entry("part", "recipe", sources).kept(lambda folder: made.append(folder.name))
    assert len(made) == 2


def test_a_make_that_dies_leaves_nothing_that_counts_as_made() -> None:
    def dies(folder: Path) -> None:
        (folder / "half").touch()
        raise Unavailable("no")

    entry = Entry("part", "recipe")
    with pytest.raises(Unavailable):
        entry.kept(dies)
    assert list(entry.kept(lambda _: None).iterdir()) == []


def test_a_command_that_fails_is_one_sentence_with_its_last_word(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as failure:
        progress.run(
            ["sh", "-c", "echo first; echo last; echo; exit 3"],
            log=tmp_path / "log",
            failure="it could not be built",
        )
    assert str(failure.value) == (
        f"it could not be built (last; the whole output is in {tmp_path / 'log'})"
    )


def test_long_work_says_that_it_is_going_on_and_how_long_it_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "REMINDER", 0.01)
    reminded, say = threading.Event(), progress.say

    def listen(text: str) -> None:
        say(text)
        if "still" in text:
            reminded.set()

    monkeypatch.setattr(progress, "say", listen)
    with progress.step("building"):
        assert reminded.wait(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "toolchain: building …"
    assert re.fullmatch(r"toolchain: building: still at it after \d+ s", lines[1])
    assert re.fullmatch(r"toolchain: building: done in \d+ s", lines[-1])


@pytest.fixture
def image() -> images.Image:
    program = GoProgram(
        binary="demo",
        sources=golang.RECIPES / "registry-3.1",
        version="9.9.9",
        stamp="a=b",
        minutes=1,
    )
    return images.Image(
        reference="demo:9.9.9", packages="", links=(), changes=("EXPOSE 1",), program=program
    )


def test_an_image_is_pulled_where_its_registry_answers(
    path: Path, image: images.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FIRST_WORD_SECONDS", 60)
    _program(path, "docker", 'echo "9.9.9: Pulling from library/demo"')
    assert images._pulled(image) == "pulled"


def test_an_image_whose_registry_stays_silent_is_given_up(
    path: Path, image: images.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FIRST_WORD_SECONDS", 0.05)
    _program(path, "docker", "exec sleep 60")
    assert images._pulled(image) is None


def test_an_image_that_is_not_to_be_had_is_one_sentence(
    path: Path, image: images.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "docker", "exit 1")
    monkeypatch.setattr(images, "IMAGES", (image,))
    monkeypatch.setattr(debian, "is_debian", lambda: False)
    with pytest.raises(Unavailable, match=r"^load demo:9\.9\.9 into the Docker engine"):
        images.ready(["demo:9.9.9"])


def test_an_image_is_built_again_when_its_recipe_has_changed(
    path: Path, image: images.Image
) -> None:
    _program(path, "docker", f"echo {images._entry(image).path.name}")
    assert images._present(image) == "built from mirrors"
    _program(path, "docker", "echo image-demo-9.9.9-another")
    assert images._present(image) is None
    _program(path, "docker", "echo")
    assert images._present(image) == "pulled"


def test_an_image_of_the_users_own_is_left_to_the_engine(path: Path) -> None:
    _program(path, "docker", "exit 1")
    assert images.ready(["registry.example/team/registry:3.1.2"]) == []


def test_a_silent_engine_that_was_named_is_not_replaced_by_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "docker", "exit 1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(
        Unavailable, match=r"^the Docker engine at tcp://127\.0\.0\.1:1 does not answer"
    ):
        engine.ready()


def test_without_root_a_missing_engine_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match=r"^install and start a Docker engine"):
        engine.ready()


def test_a_stopped_engine_is_the_users_to_start_without_root(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(path, "docker", "exit 1")
    _program(path, "dockerd", "exit 1")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="start it"):
        engine.ready()


def test_engine_stop_ends_no_process_that_only_has_the_engines_old_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        monkeypatch.setattr(engine, "PID_FILE", tmp_path / "pid")
        engine.PID_FILE.write_text(str(other.pid))
        engine.stop()
        assert other.poll() is None
        other.terminate()


def test_engine_stop_waits_for_the_engine_and_not_only_for_its_pid_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setattr(engine, "PID_FILE", tmp_path / "pid")
    script = f"""
        trap 'rm {engine.PID_FILE}; sleep 0.1; touch {gone}; exit' TERM
        echo $$ > {tmp_path}/new && mv {tmp_path}/new {engine.PID_FILE}
        echo ready
        while :; do sleep 0.02; done
    """
    dockerd = _program(path, "dockerd", script)
    with subprocess.Popen([dockerd], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        reaper = threading.Thread(target=running.wait)
        reaper.start()
        engine.stop()
        assert gone.exists()
        reaper.join()


def test_a_stack_without_a_file_is_told_with_those_that_have_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert toolchain.main(["up", "nowhere"]) == 1
    assert "there is no stacks/Pulumi.nowhere.yaml: STACK is one of" in capsys.readouterr().err


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of the stack mine goes."""
    monkeypatch.setattr(toolchain, "PROJECT", tmp_path)
    file = tmp_path / "stacks" / "Pulumi.mine.yaml"
    file.parent.mkdir()
    return file


def test_a_stack_needs_redis_and_the_registry_of_its_release(stack_file: Path) -> None:
    stack_file.write_text('config: {"oss-registry:registry": {release: "2.8.3"}}')
    config = toolchain._config_of("mine")
    assert toolchain._images_of(config) == ["registry:2.8.3", "redis:7.0.15"]
    for broken in ("", "config: []", 'config: {"oss-registry:registry": no}', "{", "a: b: c"):
        stack_file.write_text(broken)
        config = toolchain._config_of("mine")
        assert len(toolchain._images_of(config)) == len(images.IMAGES)


def test_a_key_without_a_namespace_is_the_projects_own(stack_file: Path) -> None:
    stack_file.write_text("config: {storage: {kind: oss}}")
    assert len(toolchain._plugins_of(toolchain._config_of("mine"))) == 2


def test_a_stack_on_another_machine_needs_no_engine_here(stack_file: Path, path: Path) -> None:
    stack_file.write_text("config: {'docker:host': ssh://ops@example}")
    _program(path, "docker", "exit 1")
    (said,) = toolchain._engine_of(toolchain._config_of("mine"))
    assert "Docker engine at ssh://ops@example" in said
