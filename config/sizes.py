"""Check the sizes of files and variables, including the values of their placeholders."""

from collections.abc import Iterator, Mapping

from config import plan
from config.render import Text, holds_secret, quote
from config.stack import CA_CERTIFICATES_PATH, RegistryConfig
from config.tree import Placeholder

# The smallest sizes in bytes that are refused: by Docker for secrets and configs (swarmkit:
# MaxSecretSize and MaxConfigSize), and by Linux for variables (MAX_ARG_STRLEN, with the final NUL).
SECRET, CONFIG, VARIABLE = 500 * 1024, 1000 * 1024, 128 * 1024
GENERATED = 60  # bytes of a bcrypt hash, the longest value that this program generates


def problems(
    registry: RegistryConfig, secrets: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the setting, the problem and the fix of each text that is too large.

    `secrets` are the values that the user provides, by name, if they are known.
    """
    if registry.settings.runtime == "swarm":
        for path, text in registry.files.items():
            noun, limit = ("secret", SECRET) if holds_secret(text) else ("config", CONFIG)
            size = resolved_size(text, secrets)
            if size >= limit:
                setting = _setting_of_file(registry, path)
                problem = (
                    f"makes {path} a Docker {noun} of {size} bytes, and {limit - 1} are the most"
                )
                yield setting, problem, "make it shorter"
    for name, text in registry.environment.items():
        size = resolved_size((f"{name}=", *text), secrets)
        if size >= VARIABLE:
            problem = (
                f"makes the variable {name} {size} bytes long, and {VARIABLE - 1} are the most"
            )
            if name in registry.settings.environment:
                yield f"registry.environment.{name}", problem, "make it shorter"
            else:
                yield "registry.config", problem, "set registry.delivery: file"


def resolved_size(text: Text, secrets: Mapping[str, str]) -> int:
    """Return the size of `text` in bytes, including the values of its placeholders."""
    return sum(_size(piece, secrets) for piece in text)


def _size(piece: str | Placeholder, secrets: Mapping[str, str]) -> int:
    if isinstance(piece, Placeholder):
        if piece.label not in secrets:
            return GENERATED
        value = secrets[piece.label]
        piece = quote(value) if piece.quoted else value
    return len(piece.encode(errors="surrogatepass"))


def _setting_of_file(registry: RegistryConfig, path: str) -> str:
    """Return the setting that determines the content of the file at `path`."""
    settings = {
        registry.release.config_path: "registry.config",
        CA_CERTIFICATES_PATH: "registry.ca_certificates",
        plan.USERS_PATH: "auth.users",
        plan.TLS_PATHS["certificate"]: "tls.certificate",
        plan.TLS_PATHS["key"]: f"secrets.{plan.TLS_KEY.label}",
    }
    return settings.get(path, f"registry.files.{path}")
