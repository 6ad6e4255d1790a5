"""Three machines, all managers of one swarm: network namespaces, each with an engine of its own.

A bridge is the network between them; this machine is on it, too, with the images' registry and
whatever else the tests put there. The kernel may have no IPVS, so what is published is so on each
machine alone, and names lead to the replicas' own addresses.
"""

import random
import secrets
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import bcrypt

from config.releases import RELEASES
from config.settings import PROJECT
from config.stack import STACK_LABEL
from tests.aliyun.aliyun import Aliyun
from tests.integration.api import Api
from tests.integration.clients import skopeo
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import command, eventually, free_port, run
from tests.integration.engine import MISSING as NO_ENGINE
from tests.integration.engine import Engine
from tests.integration.leftovers import RUN

# Why there can be none here; None where there can.
MISSING = (
    None
    if NO_ENGINE is None and all(map(shutil.which, ("nsenter", "iptables")))
    else "a swarm of three machines needs root, dockerd, ip, nsenter and iptables: left out"
)
PULLER, PASSWORD = "puller", "only for tests"


class Node:
    """One machine."""

    def __init__(self, number: int, name: str, network: str) -> None:
        self.name = f"{name}-{number}"
        self.address = f"{network}.{number + 1}"
        self._outside, inside = f"{name}-{number}", f"{name}-{number}in"
        command("ip", "netns", "add", self.name)
        pair = ("type", "veth", "peer", "name", inside)
        command("ip", "link", "add", self._outside, *pair)
        command("ip", "link", "set", inside, "netns", self.name)
        command("ip", "link", "set", self._outside, "master", name, "up")
        here = ("nsenter", f"--net=/run/netns/{self.name}", "ip")
        command(*here, "address", "add", f"{self.address}/24", "dev", inside)
        command(*here, "link", "set", inside, "up")
        command(*here, "route", "add", "default", "via", f"{network}.1")
        insecure = f"--insecure-registry={network}.0/24"
        self.engine = Engine(insecure, namespace=self.name)

    def docker(self, *words: str) -> str:
        return command("docker", "--host", self.engine.host, *words)

    def join(self, first: "Node | None") -> None:
        """Make a swarm, or become a manager of the first one's."""
        address = f"--advertise-addr={self.address}"
        if first is None:
            self.docker("swarm", "init", address)
        else:
            token = first.docker("swarm", "join-token", "--quiet", "manager").strip()
            self.docker("swarm", "join", address, "--token", token, f"{first.address}:2377")

    def containers(self, stack: str, part: str = "", *more: str) -> list[str]:
        """The ids of the stack's containers that run here, of one part or all."""
        filters = (f"label={STACK_LABEL}={stack}", f"name={PROJECT}-{stack}-{part}", *more)
        return self.docker("ps", "--quiet", *(f"--filter={one}" for one in filters)).split()

    def cut_off(self) -> None:
        command("ip", "link", "set", self._outside, "down")

    def connect(self) -> None:
        command("ip", "link", "set", self._outside, "up")

    def remove(self) -> None:
        self.engine.kill()
        self.engine.remove()
        run("ip", "link", "delete", self._outside)
        run("ip", "netns", "delete", self.name)


class Swarm:
    """The machines, and a registry that gives them their images to who logs in."""

    def __init__(self, folder: Path) -> None:
        name = f"or-{RUN}{secrets.token_hex(1)}"  # of an interface: it may have 15 letters
        network = f"198.18.{random.randrange(1, 255)}"  # for tests (RFC 2544): no engine's own
        self.address = f"{network}.1"
        self.nodes: list[Node] = []
        self.images = f"{self.address}:{free_port()}"
        with ExitStack() as undo:
            command("ip", "link", "add", name, "type", "bridge")
            undo.callback(run, "ip", "link", "delete", name)
            command("ip", "address", "add", f"{self.address}/24", "dev", name)
            command("ip", "link", "set", name, "up")
            for way in ("-i", "-o"):
                rule = ("FORWARD", way, name, "-j", "ACCEPT")
                command("iptables", "-I", *rule)
                undo.callback(run, "iptables", "-D", *rule)
            for number in range(1, 4):
                node = Node(number, name, network)
                undo.callback(node.remove)
                node.engine.start()
                node.join(self.nodes[0] if self.nodes else None)
                self.nodes.append(node)
            seed = f"{name}-images"
            undo.callback(run, "docker", "rm", "--force", "--volumes", seed)
            self._start_images(seed, folder)
            self.remove = undo.pop_all().close

    @property
    def addresses(self) -> list[str]:
        """All that clients may come to."""
        return [self.address, *(node.address for node in self.nodes)]

    def _start_images(self, seed: str, folder: Path) -> None:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
        (folder / "users").write_text(f"{PULLER}:{hashed}\n")
        auth = {"HTPASSWD_REALM": "images", "HTPASSWD_PATH": "/users"}
        variables = [f"--env=REGISTRY_AUTH_{name}={value}" for name, value in auth.items()]
        published = f"--publish={self.images}:5000"
        command("docker", "create", f"--name={seed}", published, *variables, "registry:3.1.2")
        command("docker", "cp", folder / "users", f"{seed}:/users")
        command("docker", "start", seed)
        api = Api(f"http://{self.images}", (PULLER, PASSWORD))
        eventually(lambda: _answers(api))

    def give(self, image: str, name: str = "") -> str:
        """Have an image of this machine's engine where the machines get theirs; its name there."""
        there = f"{self.images}/{name or image}"
        flags = ("--dest-tls-verify=false", f"--dest-creds={PULLER}:{PASSWORD}")
        skopeo("copy", *flags, f"docker-daemon:{image}", f"docker://{there}")
        return there


class SwarmDeployment(CloudDeployment):
    """A stack of three replicas, each published by its own machine, images in the double's OSS."""

    def __init__(self, folder: Path, aliyun: Aliyun, swarm: Swarm) -> None:
        super().__init__(folder, aliyun, host=swarm.nodes[0].engine.host)
        self.images = {release: swarm.give(f"registry:{release}") for release in RELEASES}
        self._manager = swarm.nodes[0]
        self.configure(
            registry={
                "runtime": "swarm",
                "exposure": "open",
                "replicas": 3,
                "swarm": {"publish_mode": "host", "endpoint_mode": "dnsrr"},
            },
            storage={"protect": False, "force_destroy": True},
            cache={"image": swarm.give("redis:7.0.15")},
        )
        self.as_release("3.1.2")
        self.write({"docker:registryAuth": [{"address": swarm.images, "username": PULLER}]})
        self.secret("docker:registryAuth[0].password", PASSWORD, "--path")

    def remove(self) -> None:
        """Remove what the stack made from all machines, which takes Pulumi."""
        self.end_processes()
        self.give_up()
        self.pulumi("destroy", "--yes")

    def as_release(self, release: str) -> CloudDeployment:
        self.configure(registry={"image": self.images[release]})
        return super().as_release(release)

    def machines(self, manager: Node | None = None) -> int:
        """How many machines are ready, as a manager sees it."""
        words = ("node", "ls", "--format", "{{.Status}}")
        with suppress(AssertionError):
            return (manager or self._manager).docker(*words).split().count("Ready")
        return 0

    def healthy_on(self, nodes: Sequence[Node], part: str) -> int:
        """How many replicas of `part` are healthy there, as these machines' engines see it."""
        found = (node.containers(self.stack, part, "health=healthy") for node in nodes)
        return sum(map(len, found))

    def settled(self) -> bool:
        """Whether no replica of the registry is being replaced."""
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        words = ("service", "inspect", f"{self.prefix}-registry", "--format", state)
        return self._manager.docker(*words).strip() not in ("updating", "rollback_started")

    def generations(self, part: str) -> int:
        """Of how many versions of `part` there are secrets."""
        words = ("secret", "ls", f"--filter=name={self.prefix}-{part}-", "--format", "{{.Name}}")
        names = self._manager.docker(*words).split()
        return len({name.rsplit("-", 1)[0] for name in names})


def _answers(api: Api) -> bool:
    try:
        api.call("GET", "/v2/", [200])
    except AssertionError:
        return False
    return True
