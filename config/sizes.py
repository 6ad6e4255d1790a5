"""How large files and variables may be, with the values of placeholders in them."""

from collections.abc import Iterator, Mapping

from config import releases
from config.problems import Problem
from config.render import Text, holds_secret, quote
from config.settings import PROJECT
from config.stack import CERTIFICATES, Stack
from config.tree import Placeholder

# Bytes that Docker refuses (swarmkit: MaxSecretSize and MaxConfigSize), and Linux (MAX_ARG_STRLEN,
# which counts the NUL at the end).
SECRET, CONFIG, VARIABLE = 500 * 1024, 1000 * 1024, 128 * 1024
GENERATED = 60  # bytes of a bcrypt hash, the longest value that this program generates


def problems(stack: Stack, secrets: Mapping[str, str]) -> Iterator[Problem]:
    """What is too large in `stack`; `secrets` are those of the user whose values are known."""
    if stack.settings.registry.runtime == "swarm":
        for path, text in stack.files.items():
            noun, limit = ("secret", SECRET) if holds_secret(text) else ("config", CONFIG)
            if (size := resolved_size(text, secrets)) >= limit:
                rule = f"makes {path} a Docker {noun} of {size} bytes, and {limit - 1} are the most"
                yield Problem(f"{PROJECT}:{_key_of_file(stack, path)}", rule, "make it shorter")
    for name, text in stack.environment.items():
        if (size := resolved_size((f"{name}=", *text), secrets)) >= VARIABLE:
            rule = f"makes the variable {name} {size} bytes long, and {VARIABLE - 1} are the most"
            if name in stack.settings.registry.environment:
                key, fix = f"registry.environment.{name}", "make it shorter"
            else:
                key, fix = "registry.config", "set registry.delivery: file"
            yield Problem(f"{PROJECT}:{key}", rule, fix)


def resolved_size(text: Text, secrets: Mapping[str, str]) -> int:
    """Return the bytes of `text` with `secrets`, by label, in place of their placeholders."""
    return sum(_size_of(piece, secrets) for piece in text)


def _size_of(piece: str | Placeholder, secrets: Mapping[str, str]) -> int:
    if isinstance(piece, Placeholder):
        if piece.label not in secrets:
            return GENERATED
        value = secrets[piece.label]
        piece = quote(value) if piece.quoted else value
    return len(piece.encode(errors="surrogatepass"))


def _key_of_file(stack: Stack, path: str) -> str:
    """Return the key of the stack file that the file at `path` comes from."""
    keys = {
        stack.release.config_path: "registry.config",
        CERTIFICATES: "registry.ca_certificates",
        releases.USERS_PATH: "auth.users",
        releases.TLS_PATHS["certificate"]: "tls.certificate",
        releases.TLS_PATHS["key"]: releases.TLS_KEY.label,
    }
    return keys.get(path, f"registry.files.{path}")
