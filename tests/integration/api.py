"""The registry's HTTP API, call by call, where a client would hide which of them fails."""

import base64
import hashlib
import http.client
import json
import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


class Refusal(AssertionError):
    """The registry did not do what was asked; says which call, and its answer.

    `status` is 0 where the connection broke, `codes` are the registry's own.
    """

    def __init__(self, text: str, status: int = 0, codes: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.status, self.codes = status, codes


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """The API at `endpoint`. Each method raises Refusal where the registry refuses.

    `login` is a user and a password; `authority` is PEM text, and nothing else is trusted. With
    `chunked`, bodies are sent without their length (Transfer-Encoding: chunked).
    """

    def __init__(
        self,
        endpoint: str,
        login: tuple[str, str] | None = None,
        authority: str = "",
        *,
        chunked: bool = False,
    ) -> None:
        self._chunked = chunked
        self._host = urlsplit(endpoint).netloc
        basic = base64.b64encode(":".join(login).encode()).decode() if login else ""
        self.headers = {"Authorization": f"Basic {basic}"} if login else {}
        secure = urlsplit(endpoint).scheme == "https"
        self._tls = ssl.create_default_context(cadata=authority or None) if secure else None

    def connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, timeout=60)
        return http.client.HTTPSConnection(self._host, timeout=60, context=self._tls)

    def call(
        self,
        method: str,
        address: str,
        expected: Sequence[int],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        # Also where another address of the same registry is named.
        path = re.sub(r"^\w+://[^/]+", "", address)
        connection = self.connection()
        try:
            # http.client knows no length of an iterator, and sends each item as one chunk.
            sent = iter(_halves(body)) if self._chunked and body else body
            connection.request(method, path, sent, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, found, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Refusal(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status not in expected:
            text = answer.body.decode(errors="replace")
            codes = re.findall(r'"code":"(\w+)"', text)
            raise Refusal(f"{method} {path}: {answer.status} {text[:200]}", answer.status, codes)
        return answer

    def begin(self, repository: str) -> str:
        """The address of a new upload."""
        answer = self.call("POST", f"/v2/{repository}/blobs/uploads/", [202])
        return answer.headers["location"]

    def push_blob(self, repository: str, chunks: Sequence[bytes]) -> str:
        """Upload a blob, each of `chunks` by a call of its own; gives its digest."""
        address, sent = self.begin(repository), 0
        *first, last = chunks
        for chunk in first:
            span = f"{sent}-{sent + len(chunk) - 1}"
            headers = {"Content-Type": "application/octet-stream", "Content-Range": span}
            answer = self.call("PATCH", address, [202], chunk, headers)
            address, sent = answer.headers["location"], sent + len(chunk)
        digest = digest_of(b"".join(chunks))
        address += ("&" if "?" in address else "?") + urlencode({"digest": digest})
        headers = {"Content-Type": "application/octet-stream"}
        self.call("PUT", address, [201], last, headers)
        return digest

    def push_manifest(self, repository: str, layers: Mapping[str, int], tag: str = "1") -> str:
        """Tag an image of `layers` (sizes by digest); gives its digest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "x": secrets.token_hex(8)})
        config_digest = self.push_blob(repository, [config.encode()])
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": config_digest,
            },
            "layers": [
                {"mediaType": LAYER, "size": size, "digest": digest}
                for digest, size in layers.items()
            ],
        }
        return self.put(repository, tag, json.dumps(manifest).encode(), MANIFEST)

    def put(self, repository: str, tag: str, body: bytes, kind: str) -> str:
        """Tag the manifest `body`, where all that it names is there; gives its digest."""
        digest = digest_of(body)
        address = f"/v2/{repository}/manifests/{tag or digest}"
        self.call("PUT", address, [201], body, {"Content-Type": kind})
        return digest

    def push(self, repository: str, content: bytes, chunks: int = 1, tag: str = "1") -> str:
        """Push an image of one layer in so many chunks; gives its digest. It may be without tag."""
        size = -(-len(content) // chunks)
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        layers = {self.push_blob(repository, pieces): len(content)}
        return self.push_manifest(repository, layers, tag)

    def push_index(self, repository: str, contents: Mapping[str, bytes], tag: str = "1") -> str:
        """Push an image for several architectures, each with one layer; gives its digest."""
        children = []
        for architecture, content in contents.items():
            digest = self.push(repository, content, tag="")
            child = self.manifest(repository, digest)
            platform = {"architecture": architecture, "os": "linux"}
            entry = {"mediaType": MANIFEST, "size": len(child), "digest": digest}
            children.append({**entry, "platform": platform})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return self.put(repository, tag, json.dumps(index).encode(), INDEX)

    def manifest(self, repository: str, reference: str) -> bytes:
        headers = {"Accept": f"{MANIFEST}, {INDEX}"}
        return self.call(
            "GET", f"/v2/{repository}/manifests/{reference}", [200], headers=headers
        ).body

    def mount(self, repository: str, digest: str, origin: str) -> None:
        """Have the blob of another repository in this one."""
        query = urlencode({"mount": digest, "from": origin})
        self.call("POST", f"/v2/{repository}/blobs/uploads/?{query}", [201])

    def pull(self, repository: str, reference: str = "1") -> None:
        """Pull an image, of each architecture, each of its digests checked."""
        body = self.manifest(repository, reference)
        if ":" in reference and digest_of(body) != reference:
            raise ValueError(f"{reference} came wrong: {len(body)} bytes")
        manifest = json.loads(body)
        for child in manifest.get("manifests", ()):
            self.pull(repository, child["digest"])
        if "manifests" in manifest:
            return
        for blob in (manifest["config"], *manifest["layers"]):
            content = self.call("GET", f"/v2/{repository}/blobs/{blob['digest']}", [200]).body
            if digest_of(content) != blob["digest"]:
                raise ValueError(f"{blob['digest']} came wrong: {len(content)} bytes")

    def delete(self, repository: str, digest: str) -> None:
        self.call("DELETE", f"/v2/{repository}/manifests/{digest}", [202])

    def cancel(self, repository: str, content: bytes) -> None:
        """Begin an upload, and call it off."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = self.call("PATCH", self.begin(repository), [202], content, headers)
        self.call("DELETE", answer.headers["location"], [204])


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _halves(content: bytes) -> Sequence[bytes]:
    middle = len(content) // 2
    return [half for half in (content[:middle], content[middle:]) if half]
