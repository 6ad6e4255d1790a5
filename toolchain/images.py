"""The images: pulled where an image registry answers the engine, else built from mirrors.

A built image keeps the contract of the official one of the same name (entrypoint, command, paths,
default configuration, volume, `wget` or `redis-cli` for the health check) and carries the label
`built-from=mirrors`.
"""

import select
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import debian
from toolchain.cache import LOGS, Entry
from toolchain.golang import RECIPES, GoProgram
from toolchain.progress import Unavailable, run, say, step

LABEL = "oss-registry.recipe"  # the cache entry that a built image was made from
FIRST_WORD_SECONDS = 5.0  # a registry that is there has named the image by then


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
        return self.reference.replace(":", "-").replace("/", "-")


ENTRYPOINT = """#!/bin/sh
# What the registry understands goes to it; anything else is run as it is.
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
        minutes=1,
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
        reference="redis:7.0.15",
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


def ready(references: Sequence[str]) -> list[str]:
    """Have `references` in the engine; says of each where it is from. Raises Unavailable.

    One that is not in IMAGES is left to the engine.
    """
    return [
        f"{image.reference} ({_present(image) or _pulled(image) or _built(image)})"
        for image in IMAGES
        if image.reference in references
    ]


def _present(image: Image) -> str | None:
    command = ["docker", "image", "inspect", image.reference, "--format"]
    label = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    found = subprocess.run([*command, label], capture_output=True, text=True, check=False)
    recipe = found.stdout.strip()
    if found.returncode or recipe not in ("", _entry(image).path.name):
        return None  # not there, or built by another version of its recipe
    return "built from mirrors" if recipe else "pulled"


def _pulled(image: Image) -> str | None:
    """Let the engine pull, as long as the registry says its first word in time."""
    with (
        step(f"asking the registry of {image.reference} for it"),
        subprocess.Popen(
            ["docker", "pull", image.reference],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as pull,
    ):
        if pull.stdout and not select.select([pull.stdout], [], [], FIRST_WORD_SECONDS)[0]:
            pull.kill()
        pull.communicate()
    if pull.returncode:
        say(f"the registry of {image.reference} does not give it: building it instead")
        return None
    return "pulled"


def _entry(image: Image) -> Entry:
    sources = image.program.sources if image.program else None
    return Entry(f"image-{image.name}", (image, ENTRYPOINT), sources)


def _built(image: Image) -> str:
    log = LOGS / f"image-{image.name}.log"

    def make(folder: Path) -> None:
        if not debian.is_debian():
            raise Unavailable(
                f"load {image.reference} into the Docker engine (docker pull or docker load): "
                "no image registry answers, and it can be built only on Debian"
            )
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
        failure=f"the Docker engine does not take the image {image.reference}",
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
