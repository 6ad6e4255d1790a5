"""Container images: pull them, or build them from mirrors if Docker Hub cannot be reached.

A built image keeps the contract of the official image of the same name: entrypoint, command, paths,
default configuration, volume, and `wget` or `redis-cli` for the health check. Its label is
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
from toolchain.progress import Unavailable, report, run, step

LABEL = "oss-registry.recipe"  # Its value is the cache entry of a built image.
HUB = "https://registry-1.docker.io"
CONNECT_SECONDS = 5.0
OTHER_SOURCES = (
    "To pull from another registry, set `registry-mirrors` in the Docker engine's daemon.json, or "
    "set registry.image and cache.image in the stack file."
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """The recipe of the image `reference`: Debian packages, a Go program, links and metadata.

    `links` are pairs of a path in the image and its target. `configuration` is the path of the
    recipe's config.yml in the image. `changes` are Dockerfile instructions for `docker import`. The
    repr is a part of the cache key.
    """

    reference: str
    packages: str
    links: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]
    program: GoProgram | None = None
    configuration: str = ""

    @property
    def name(self) -> str:
        """The reference as a part of a file name."""
        return _file_name(self.reference)


ENTRYPOINT = """#!/bin/sh
# Commands and flags of the registry go to it. Any other command is run as it is.
case "$1" in
help | serve | garbage-collect | -*) exec registry "$@" ;;
*.yml | *.yaml) exec registry serve "$@" ;;
*) exec "$@" ;;
esac
"""


def _registry_3_recipe(version: str) -> Image:
    """The recipe of a release 3.x of the registry."""
    program = GoProgram(
        binary="registry",
        sources=RECIPES / f"registry-{version.rpartition('.')[0]}",
        version=version,
        package="github.com/distribution/distribution/v3/cmd/registry",
        stamp=f"github.com/distribution/distribution/v3/version.version=v{version}",
        minutes=1.5,
    )
    return _registry_recipe(program, "etc/distribution/config.yml")


def _registry_recipe(program: GoProgram, configuration: str) -> Image:
    """The recipe of a registry that reads `configuration`, a path below the root."""
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
    _registry_3_recipe("3.1.2"),
    _registry_3_recipe("3.0.0"),
    _registry_recipe(
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


def registry_image(release: object) -> str | None:
    """The image of a registry's `release`, or None if IMAGES has none."""
    for recipe in IMAGES:
        if recipe.program and recipe.program.version == release:
            return recipe.reference
    return None


def image_part(reference: str, *, login: bool) -> Part:
    """Pull the image `reference` now, or return a part that builds it. Raises Unavailable.

    An image that is not in IMAGES belongs to the user. If it cannot be pulled here, Pulumi's Docker
    provider pulls it later. The provider also pulls it if the stack has a `login`, because nothing
    else uses that login.
    """
    recipe = next((image for image in IMAGES if image.reference == reference), None)
    origin = _user_image_origin(reference, login) if recipe is None else _find_or_pull(recipe)
    if recipe is None or origin is not None:
        return Part(lambda: f"{reference} ({origin})")
    if not debian.is_debian():
        raise Unavailable(
            f"{reference} could not be pulled, and it can be built only on Debian. "
            f"Load it with `docker load`. {OTHER_SOURCES}"
        )
    program = None if _entry(recipe).path.is_dir() else recipe.program
    return Part(lambda: f"{reference} ({_build(recipe)})", program)


def _find_or_pull(image: Image) -> str | None:
    """Pull `image` if it is missing, and return its origin. Returns None if it must be built."""
    origin = _existing_origin(image)
    if origin is None and _hub_is_reachable():
        try:
            return _pull(image.reference)
        except Unavailable as failed:
            report(f"{failed}. Building it from mirrors instead. {OTHER_SOURCES}")
    return origin


def _user_image_origin(reference: str, login: bool) -> str:
    """Try to pull the user's image `reference`, and return its origin. See `image_part`."""
    if _inspect(reference, "{{.Id}}") is not None:
        return "in the Docker engine"
    if login:
        return "to be pulled with docker:registryAuth"
    try:
        return _pull(reference)
    except Unavailable as failed:
        report(
            f"{failed}. The docker plugin tries again when the container is created. "
            "Check the name and your access to its registry, or load the image with "
            f"`docker load`. {OTHER_SOURCES}"
        )
        return "not pulled yet"


def _pull(reference: str) -> str:
    """Pull `reference`, and return its origin. Raises Unavailable."""
    with step(f"pulling {reference}"):
        run(
            ["docker", "pull", reference],
            log=LOGS / f"pull-{_file_name(reference)}.log",
            failure=f"{reference} could not be pulled",
        )
    return "pulled"


@functools.cache
def _hub_is_reachable() -> bool:
    """Whether Docker Hub or a mirror of it accepts connections.

    This is checked once per run, before the first pull: the engine needs up to a minute to give up
    on a host that drops its packets. With a proxy, the engine is assumed to reach Docker Hub.
    """
    command = ["docker", "info", "--format", "{{json .}}"]
    info = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if info.get("HttpProxy") or info.get("HttpsProxy"):
        return True
    addresses = [HUB, *info["RegistryConfig"]["Mirrors"]]
    if any(_accepts_connections(address) for address in addresses):
        return True
    hosts = " and ".join(addresses)
    report(f"{hosts} cannot be reached. Building images from mirrors. {OTHER_SOURCES}")
    return False


def _accepts_connections(address: str) -> bool:
    """Whether the host of the URL `address` accepts connections within CONNECT_SECONDS."""
    parts = urllib.parse.urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)

    def connect() -> None:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()

    return succeeds(connect, CONNECT_SECONDS)


def _file_name(reference: str) -> str:
    return re.sub(r"[^\w.]", "-", reference)


def _inspect(reference: str, template: str) -> str | None:
    """The output of `template` for an image, or None if the engine does not have the image."""
    command = ["docker", "image", "inspect", reference, "--format", template]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if found.returncode else found.stdout.strip()


def _existing_origin(image: Image) -> str | None:
    """The origin of `image` in the engine, or None if it is missing or of another recipe."""
    label = _inspect(image.reference, f'{{{{index .Config.Labels "{LABEL}"}}}}')
    if label not in ("", _entry(image).path.name):
        return None
    return "built from mirrors" if label else "pulled"


def _entry(image: Image) -> Entry:
    """The cache entry of a built image, which holds `image.tar`."""
    program = image.program.entry.path.name if image.program else ""
    return Entry(f"image-{image.name}", (image, ENTRYPOINT, program))


def _build(image: Image) -> str:
    """Build `image` if it is not in the cache, import it, and return its origin.

    Raises Unavailable.
    """
    log = LOGS / f"image-{image.name}.log"

    def make(folder: Path) -> None:
        with (
            step(f"building the image {image.reference} from Debian's packages"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            root = Path(scratch, "root")
            _create_root(image, root)
            pack = ["tar", "--create", "--owner=0", "--group=0", "--numeric-owner"]
            run(
                [*pack, "--file", folder / "image.tar", "--directory", root, "."],
                log=log,
                failure=f"the image {image.reference} could not be packed",
            )

    entry = _entry(image)
    archive = entry.get_or_create(make) / "image.tar"
    labels = ("LABEL built-from=mirrors", f"LABEL {LABEL}={entry.path.name}")
    changes = [f"--change={change}" for change in (*image.changes, *labels)]
    run(
        ["docker", "import", *changes, archive, image.reference],
        log=log,
        failure=f"the image {image.reference} could not be imported into the Docker engine",
    )
    return "built from mirrors"


def _create_root(image: Image, root: Path) -> None:
    """Create the file system of `image` in the new folder `root`. Raises Unavailable."""
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
