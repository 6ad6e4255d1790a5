"""The images. Each is pulled, or built from mirrors if Docker Hub cannot be reached.

A built image keeps the contract of the official one of the same name (entrypoint, command, paths,
default configuration, volume, `wget` or `redis-cli` for the health check) and carries the label
`built-from=mirrors`.
"""

import functools
import json
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from toolchain import debian
from toolchain.cache import LOGS, Entry
from toolchain.golang import RECIPES, GoProgram, Part
from toolchain.network import succeeds
from toolchain.progress import Unavailable, run, say, step

LABEL = "oss-registry.recipe"  # the cache entry that a built image was made from
HUB = "https://registry-1.docker.io"
CONNECT_SECONDS = 5.0
ELSEWHERE = (
    "To pull from another registry, set `registry-mirrors` in the Docker engine's daemon.json, or "
    "set registry.image and cache.image in the stack file."
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """How the image `reference` is built: Debian's packages, one Go program, links and metadata.

    `links` maps a path in the image to what it points at; `configuration` is where the recipe's
    config.yml goes; `changes` are Dockerfile instructions as `docker import` takes them.
    """

    reference: str
    packages: str
    links: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]
    program: GoProgram | None = None
    configuration: str = ""

    @property
    def name(self) -> str:
        return _file_name(self.reference)


ENTRYPOINT = """#!/bin/sh
# Commands and flags of the registry go to it. Any other command is run as it is.
case "$1" in
help | serve | garbage-collect | -*) exec registry "$@" ;;
*.yml | *.yaml) exec registry serve "$@" ;;
*) exec "$@" ;;
esac
"""


def _registry_3(version: str) -> Image:
    program = GoProgram(
        binary="registry",
        sources=RECIPES / f"registry-{version.rpartition('.')[0]}",
        version=version,
        package="github.com/distribution/distribution/v3/cmd/registry",
        stamp=f"github.com/distribution/distribution/v3/version.version=v{version}",
        minutes=1.5,
    )
    return _registry(program, "etc/distribution/config.yml")


def _registry(program: GoProgram, configuration: str) -> Image:
    return Image(
        reference=f"registry:{program.version}",
        packages="busybox-static ca-certificates",
        links=tuple((f"bin/{applet}", "busybox") for applet in ("find", "sh", "stat", "wget")),
        program=program,
        configuration=configuration,
        changes=(
            "ENV PATH=/bin",
            'ENTRYPOINT ["/entrypoint.sh"]',
            f'CMD ["/{configuration}"]',
            "EXPOSE 5000",
            "VOLUME /var/lib/registry",
        ),
    )


REDIS = "redis:7.0.15"
IMAGES = (
    _registry_3("3.1.2"),
    _registry_3("3.0.0"),
    _registry(
        GoProgram(
            binary="registry",
            sources=RECIPES / "registry-2.8",
            version="2.8.3",
            stamp="github.com/docker/distribution/version.Version=v2.8.3",
            tags="include_oss",
            minutes=1,
        ),
        "etc/docker/registry/config.yml",
    ),
    Image(
        reference=REDIS,
        packages=(
            "redis-server=5:7.0.15* redis-tools=5:7.0.15* libatomic1 libc6 libcap2 libgcc-s1 "
            "libgcrypt20 libgpg-error0 libjemalloc2 liblz4-1 liblzf1 liblzma5 libssl3 libstdc++6 "
            "libsystemd0 libzstd1"
        ),
        links=(
            ("usr/local/bin/redis-server", "/usr/bin/redis-server"),
            ("usr/local/bin/redis-cli", "/usr/bin/redis-cli"),
        ),
        changes=(
            "ENV PATH=/usr/local/bin:/usr/bin",
            'CMD ["redis-server"]',
            "EXPOSE 6379",
            "WORKDIR /data",
            "VOLUME /data",
        ),
    ),
)


def registry(release: object) -> str | None:
    """The image of a registry's `release`, or None if it is not one of IMAGES."""
    return next((i.reference for i in IMAGES if i.program and i.program.version == release), None)


def image(reference: str, *, login: bool) -> Part:
    """Have the image `reference` in the Docker engine. Raises Unavailable.

    An image that is not one of IMAGES is the user's. If it cannot be pulled here, or if the stack
    has a `login` for images, which only the docker plugin uses, it is left to the plugin.
    """
    recipe = next((image for image in IMAGES if image.reference == reference), None)
    origin = _users(reference, login) if recipe is None else _pulled(recipe)
    if recipe is None or origin is not None:
        return Part(lambda: f"{reference} ({origin})")
    if not debian.is_debian():
        raise Unavailable(
            f"{reference} could not be pulled, and it can be built only on Debian. "
            f"Load it with `docker load`. {ELSEWHERE}"
        )
    program = None if _entry(recipe).path.is_dir() else recipe.program
    return Part(lambda: f"{reference} ({_built(recipe)})", program)


def _pulled(image: Image) -> str | None:
    """Where the engine's image is from, after a pull if it is missing. None if it must be built."""
    origin = _present(image)
    if origin is None and _hub_answers():
        try:
            return _pull(image.reference)
        except Unavailable as failed:
            say(f"{failed}. Building it from mirrors instead. {ELSEWHERE}")
    return origin


def _users(reference: str, login: bool) -> str:
    if _inspect(reference, "{{.Id}}") is not None:
        return "in the Docker engine"
    if login:
        return "to be pulled with docker:registryAuth"
    try:
        return _pull(reference)
    except Unavailable as failed:
        say(
            f"{failed}. The docker plugin tries again when the container is created. "
            "Check the name and your access to its registry, or load the image with "
            f"`docker load`. {ELSEWHERE}"
        )
        return "not pulled yet"


def _pull(reference: str) -> str:
    with step(f"pulling {reference}"):
        run(
            ["docker", "pull", reference],
            log=LOGS / f"pull-{_file_name(reference)}.log",
            failure=f"{reference} could not be pulled",
        )
    return "pulled"


@functools.cache
def _hub_answers() -> bool:
    """Whether Docker Hub or a mirror of it takes connections.

    Asked once in a run and before a pull, because the engine needs up to a minute to give up on a
    host that drops its packets. An engine behind a proxy is left to find out itself.
    """
    command = ["docker", "info", "--format", "{{json .}}"]
    info = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if info.get("HttpProxy") or info.get("HttpsProxy"):
        return True
    addresses = [HUB, *info["RegistryConfig"]["Mirrors"]]
    if any(_takes_connections(address) for address in addresses):
        return True
    say(f"{' and '.join(addresses)} cannot be reached. Building images from mirrors. {ELSEWHERE}")
    return False


def _takes_connections(address: str) -> bool:
    parts = urllib.parse.urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)

    def connect() -> None:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()

    return succeeds(connect, CONNECT_SECONDS)


def _file_name(reference: str) -> str:
    return re.sub(r"[^\w.]", "-", reference)


def _inspect(reference: str, template: str) -> str | None:
    """What `template` gives for an image, or None if the engine does not have it."""
    command = ["docker", "image", "inspect", reference, "--format", template]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if found.returncode else found.stdout.strip()


def _present(image: Image) -> str | None:
    """Where the engine's image is from. None if it has none, or one of another recipe."""
    label = _inspect(image.reference, f'{{{{index .Config.Labels "{LABEL}"}}}}')
    if label not in ("", _entry(image).path.name):
        return None
    return "built from mirrors" if label else "pulled"


def _entry(image: Image) -> Entry:
    program = image.program.entry.path.name if image.program else ""
    return Entry(f"image-{image.name}", (image, ENTRYPOINT, program))


def _built(image: Image) -> str:
    log = LOGS / f"image-{image.name}.log"

    def make(folder: Path) -> None:
        with (
            step(f"building the image {image.reference} from Debian's packages"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            root = Path(scratch, "root")
            _lay_out(image, root)
            pack = ["tar", "--create", "--owner=0", "--group=0", "--numeric-owner"]
            run(
                [*pack, "--file", folder / "image.tar", "--directory", root, "."],
                log=log,
                failure=f"the image {image.reference} could not be packed",
            )

    entry = _entry(image)
    archive = entry.kept(make) / "image.tar"
    labels = ("LABEL built-from=mirrors", f"LABEL {LABEL}={entry.path.name}")
    changes = [f"--change={change}" for change in (*image.changes, *labels)]
    run(
        ["docker", "import", *changes, archive, image.reference],
        log=log,
        failure=f"the image {image.reference} could not be imported into the Docker engine",
    )
    return "built from mirrors"


def _lay_out(image: Image, root: Path) -> None:
    packages = root.with_name("packages")
    packages.mkdir()
    for folder in ("tmp", "data", "etc", "bin", "var/lib/registry"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    debian.unpack(image.packages.split(), root, packages)
    for unused in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(root / "usr/share" / unused, ignore_errors=True)
    for path, target in image.links:
        link = root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    if image.program:
        shutil.copy(image.program.build(), root / "bin/registry")
        entrypoint = root / "entrypoint.sh"
        entrypoint.write_text(ENTRYPOINT)
        entrypoint.chmod(0o755)
        configuration = root / image.configuration
        configuration.parent.mkdir(parents=True)
        shutil.copy(image.program.sources / "config.yml", configuration)
        authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(authority.read_bytes() for authority in authorities))
