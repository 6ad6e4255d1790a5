"""A swarm of three machines, all of them managers.

The machines are network namespaces, each with its own Docker engine. A bridge connects them
with each other and with this machine, which runs a registry for the images of the services.

The kernel may have no IPVS. So services publish their ports on their own machines (mode `host`),
and their names resolve to the addresses of the replicas (mode `dnsrr`).
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
from operations.swarm import is_active
from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.clients import skopeo
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import free_port, run, run_checked, wait_until
from tests.integration.engine import ENGINE_UNAVAILABLE, Engine
from tests.integration.leftovers import RUN

# The reason why this machine cannot run such a swarm, or None.
SWARM_UNAVAILABLE = (
    None
    if ENGINE_UNAVAILABLE is None and all(map(shutil.which, ("nsenter", "iptables")))
    else "tests on a swarm are skipped: they need root, dockerd, unshare, ip, nsenter and iptables"
)
PULLER, PASSWORD = "puller", "only for tests"


class Node:
    """A machine of the swarm.

    `name` is the name of the bridge. `network` is the first three numbers of the IP addresses.
    """

    def __init__(self, number: int, name: str, network: str) -> None:
        self.name = f"{name}-{number}"
        self.address = f"{network}.{number + 1}"
        self._outside, inside = f"{name}-{number}", f"{name}-{number}in"
        run_checked("ip", "netns", "add", self.name)
        pair = ("type", "veth", "peer", "name", inside)
        run_checked("ip", "link", "add", self._outside, *pair)
        run_checked("ip", "link", "set", inside, "netns", self.name)
        run_checked("ip", "link", "set", self._outside, "master", name, "up")
        inside_ip = ("nsenter", f"--net=/run/netns/{self.name}", "ip")
        run_checked(*inside_ip, "address", "add", f"{self.address}/24", "dev", inside)
        run_checked(*inside_ip, "link", "set", inside, "up")
        run_checked(*inside_ip, "route", "add", "default", "via", f"{network}.1")
        insecure = f"--insecure-registry={network}.0/24"
        self.engine = Engine(insecure, namespace=self.name)

    def docker(self, *words: str) -> str:
        """Run docker on this machine's engine and return its output."""
        return run_checked("docker", "--host", self.engine.host, *words)

    def join(self, first: "Node | None") -> None:
        """Join the swarm of the machine `first` as a manager, or create one if it is None."""
        address = f"--advertise-addr={self.address}"
        if first is None:
            self.docker("swarm", "init", address)
        else:
            token = first.docker("swarm", "join-token", "--quiet", "manager").strip()
            self.docker("swarm", "join", address, "--token", token, f"{first.address}:2377")

    def containers(self, stack: str, part: str = "", *filters: str) -> list[str]:
        """Return the ids of the stack's running containers on this machine.

        `part` selects the registry or redis. `filters` are more filters of `docker ps`.
        """
        filters = (f"label={STACK_LABEL}={stack}", f"name={PROJECT}-{stack}-{part}", *filters)
        return self.docker("ps", "--quiet", *(f"--filter={one}" for one in filters)).split()

    def disconnect(self) -> None:
        """Disconnect the machine from the network."""
        run_checked("ip", "link", "set", self._outside, "down")

    def connect(self) -> None:
        """Connect the machine to the network again."""
        run_checked("ip", "link", "set", self._outside, "up")

    def remove(self) -> None:
        """Kill the engine and delete the network namespace."""
        self.engine.kill()
        self.engine.remove()
        run("ip", "link", "delete", self._outside)
        run("ip", "netns", "delete", self.name)


class Swarm:
    """The machines, and a registry with a login from which they pull the images of services.

    `image_registry` is the address of that registry (host:port).
    """

    def __init__(self, folder: Path) -> None:
        name = f"or-{RUN}{secrets.token_hex(1)}"  # of network interfaces: at most 15 characters
        network = f"198.18.{random.randrange(1, 255)}"  # reserved for tests by RFC 2544
        self.address = f"{network}.1"
        self.nodes: list[Node] = []
        self.image_registry = f"{self.address}:{free_port()}"
        with ExitStack() as undo:
            run_checked("ip", "link", "add", name, "type", "bridge")
            undo.callback(run, "ip", "link", "delete", name)
            run_checked("ip", "address", "add", f"{self.address}/24", "dev", name)
            run_checked("ip", "link", "set", name, "up")
            for direction in ("-i", "-o"):
                rule = ("FORWARD", direction, name, "-j", "ACCEPT")
                run_checked("iptables", "-I", *rule)
                undo.callback(run, "iptables", "-D", *rule)
            for number in range(1, 4):
                node = Node(number, name, network)
                undo.callback(node.remove)
                node.engine.start()
                node.join(self.nodes[0] if self.nodes else None)
                self.nodes.append(node)
            container = f"{name}-images"
            undo.callback(run, "docker", "rm", "--force", "--volumes", container)
            self._start_image_registry(container, folder)
            self.remove = undo.pop_all().close

    @property
    def addresses(self) -> list[str]:
        """The addresses at which clients can reach the replicas or a load balancer."""
        return [self.address, *(node.address for node in self.nodes)]

    def _start_image_registry(self, container: str, folder: Path) -> None:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
        (folder / "users").write_text(f"{PULLER}:{hashed}\n")
        auth = {"HTPASSWD_REALM": "images", "HTPASSWD_PATH": "/users"}
        variables = [f"--env=REGISTRY_AUTH_{name}={value}" for name, value in auth.items()]
        published = f"--publish={self.image_registry}:5000"
        run_checked(
            "docker", "create", f"--name={container}", published, *variables, "registry:3.1.2"
        )
        run_checked("docker", "cp", folder / "users", f"{container}:/users")
        run_checked("docker", "start", container)
        api = Api(f"http://{self.image_registry}", (PULLER, PASSWORD))
        wait_until(lambda: _answers(api))

    def push_image(self, image: str, name: str = "") -> str:
        """Copy an image of the default engine to the image registry, and return its reference.

        `name` replaces the repository and the tag.
        """
        reference = f"{self.image_registry}/{name or image}"
        flags = ("--dest-tls-verify=false", f"--dest-creds={PULLER}:{PASSWORD}")
        skopeo("copy", *flags, f"docker-daemon:{image}", f"docker://{reference}")
        return reference


class SwarmDeployment(CloudDeployment):
    """A stack with images in OSS and three replicas, each on its own machine.

    `images` has the references of the registry's images by release.
    """

    def __init__(self, folder: Path, emulator: Emulator, swarm: Swarm) -> None:
        super().__init__(folder, emulator, host=swarm.nodes[0].engine.host)
        self.images = {release: swarm.push_image(f"registry:{release}") for release in RELEASES}
        self._manager = swarm.nodes[0]
        self.configure(
            registry={
                "runtime": "swarm",
                "exposure": "open",
                "replicas": 3,
                "swarm": {"publish_mode": "host", "endpoint_mode": "dnsrr"},
            },
            storage={"protect": False, "force_destroy": True},
            cache={"image": swarm.push_image("redis:7.0.15")},
        )
        self.use_release("3.1.2")
        self.write_config(
            {"docker:registryAuth": [{"address": swarm.image_registry, "username": PULLER}]}
        )
        self.set_secret("docker:registryAuth[0].password", PASSWORD, "--path")

    def remove(self) -> None:
        """Remove the stack's objects from all machines with `pulumi destroy`."""
        self.kill_processes()
        self.allow_destroy()
        self.pulumi("destroy", "--yes")

    def use_release(self, release: str) -> CloudDeployment:
        """Set the release and its image in the stack file, and return this deployment."""
        self.configure(registry={"image": self.images[release]})
        return super().use_release(release)

    def ready_nodes(self, manager: Node | None = None) -> int:
        """Return how many nodes a manager reports as ready, or 0 if it does not answer."""
        words = ("node", "ls", "--format", "{{.Status}}")
        with suppress(AssertionError):
            return (manager or self._manager).docker(*words).split().count("Ready")
        return 0

    def healthy_replicas(self, nodes: Sequence[Node], part: str) -> int:
        """Return the number of replicas of `part` that the engines of `nodes` report as healthy."""
        found = (node.containers(self.stack, part, "health=healthy") for node in nodes)
        return sum(map(len, found))

    def is_update_finished(self) -> bool:
        """Return whether the last update of the registry is complete and its old replicas ended."""
        service = f"{self.prefix}-registry"
        docker = self._manager.docker
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        update = docker("service", "inspect", service, "--format", state).strip()
        # An update with the order start-first is complete before the last old replica has ended.
        old_replicas = ("--filter=desired-state=shutdown", "--format", "{{.CurrentState}}")
        states = docker("service", "ps", service, *old_replicas).splitlines()
        return update not in ("updating", "rollback_started") and not any(map(is_active, states))

    def count_secret_versions(self, part: str) -> int:
        """Return how many versions of the secrets of the service `part` exist."""
        words = ("secret", "ls", f"--filter=name={self.prefix}-{part}-", "--format", "{{.Name}}")
        names = self._manager.docker(*words).split()
        return len({name.rsplit("-", 1)[0] for name in names})


def _answers(api: Api) -> bool:
    try:
        api.call("GET", "/v2/", [200])
    except AssertionError:
        return False
    return True
