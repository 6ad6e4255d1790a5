"""A client of the registry's HTTP API that shows which request failed."""

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


class RequestError(AssertionError):
    """A failed request. The message contains the request and the registry's response.

    `status` is the HTTP status, or 0 if the connection failed. `codes` are the registry's error
    codes, such as `MANIFEST_BLOB_UNKNOWN`.
    """

    def __init__(self, message: str, status: int = 0, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status, self.codes = status, codes


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """The API of the registry at `endpoint`. Each method raises RequestError if a request fails.

    `login` is a user name and a password. `authority` is the PEM certificate of the only trusted
    authority; if it is empty, the system's authorities are trusted. With `chunked`, bodies are sent
    without their length (Transfer-Encoding: chunked).
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
        self.headers: dict[str, str] = {}
        if login:
            basic = base64.b64encode(":".join(login).encode()).decode()
            self.headers["Authorization"] = f"Basic {basic}"
        self._tls: ssl.SSLContext | None = None
        if urlsplit(endpoint).scheme == "https":
            self._tls = ssl.create_default_context(cadata=authority or None)

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        if self._tls is None:
            return http.client.HTTPConnection(self._host, timeout=60)
        return http.client.HTTPSConnection(self._host, timeout=60, context=self._tls)

    def call(
        self,
        method: str,
        url: str,
        expected: Sequence[int],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and return the response.

        Raises RequestError if the status is not in `expected`. The request goes to this endpoint,
        even if `url` has another host.
        """
        path = re.sub(r"^\w+://[^/]+", "", url)
        connection = self.connection()
        try:
            # http.client sends an iterator in chunks: one for each item, and no Content-Length.
            sent = iter(_halves(body)) if self._chunked and body else body
            connection.request(method, path, sent, {**self.headers, **(headers or {})})
            received = connection.getresponse()
            found = {name.lower(): value for name, value in received.getheaders()}
            response = Response(received.status, found, received.read())
        except (OSError, http.client.HTTPException) as error:
            raise RequestError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if response.status not in expected:
            text = response.body.decode(errors="replace")
            codes = re.findall(r'"code":"(\w+)"', text)
            raise RequestError(
                f"{method} {path}: {response.status} {text[:200]}", response.status, codes
            )
        return response

    def start_upload(self, repository: str) -> str:
        """Start an upload and return its URL."""
        response = self.call("POST", f"/v2/{repository}/blobs/uploads/", [202])
        return response.headers["location"]

    def push_blob(self, repository: str, chunks: Sequence[bytes]) -> str:
        """Upload a blob, with one request for each of `chunks`, and return its digest."""
        url, sent = self.start_upload(repository), 0
        *first, last = chunks
        for chunk in first:
            span = f"{sent}-{sent + len(chunk) - 1}"
            headers = {"Content-Type": "application/octet-stream", "Content-Range": span}
            response = self.call("PATCH", url, [202], chunk, headers)
            url, sent = response.headers["location"], sent + len(chunk)
        digest = digest_of(b"".join(chunks))
        url += ("&" if "?" in url else "?") + urlencode({"digest": digest})
        headers = {"Content-Type": "application/octet-stream"}
        self.call("PUT", url, [201], last, headers)
        return digest

    def push_manifest(self, repository: str, layers: Mapping[str, int], tag: str = "1") -> str:
        """Push the configuration and the manifest of an image, and return the manifest's digest.

        `layers` has the sizes of the layers in bytes, by digest. The layers must exist.
        """
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
        return self.put_manifest(repository, tag, json.dumps(manifest).encode(), MANIFEST)

    def put_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Upload the manifest `body`, whose blobs must exist, and return its digest.

        With an empty `tag`, the manifest stays untagged.
        """
        digest = digest_of(body)
        path = f"/v2/{repository}/manifests/{tag or digest}"
        self.call("PUT", path, [201], body, {"Content-Type": media_type})
        return digest

    def push(self, repository: str, content: bytes, chunks: int = 1, tag: str = "1") -> str:
        """Push an image whose only layer is `content`, and return its digest.

        The layer is uploaded in `chunks` requests. With an empty `tag`, the image stays untagged.
        """
        size = -(-len(content) // chunks)
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        layers = {self.push_blob(repository, pieces): len(content)}
        return self.push_manifest(repository, layers, tag)

    def push_index(self, repository: str, contents: Mapping[str, bytes], tag: str = "1") -> str:
        """Push an image for several architectures and return its digest.

        `contents` has the content of the only layer, by architecture.
        """
        children = []
        for architecture, content in contents.items():
            digest = self.push(repository, content, tag="")
            child = self.manifest(repository, digest)
            platform = {"architecture": architecture, "os": "linux"}
            entry = {"mediaType": MANIFEST, "size": len(child), "digest": digest}
            children.append({**entry, "platform": platform})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return self.put_manifest(repository, tag, json.dumps(index).encode(), INDEX)

    def manifest(self, repository: str, reference: str) -> bytes:
        """Return the manifest of `reference`, which is a tag or a digest."""
        headers = {"Accept": f"{MANIFEST}, {INDEX}"}
        return self.call(
            "GET", f"/v2/{repository}/manifests/{reference}", [200], headers=headers
        ).body

    def mount(self, repository: str, digest: str, origin: str) -> None:
        """Make a blob of the repository `origin` available in `repository` without an upload."""
        query = urlencode({"mount": digest, "from": origin})
        self.call("POST", f"/v2/{repository}/blobs/uploads/?{query}", [201])

    def pull(self, repository: str, reference: str = "1") -> None:
        """Pull an image, for all of its architectures, and check the digests.

        Raises ValueError if the content does not match a digest.
        """
        body = self.manifest(repository, reference)
        if ":" in reference and digest_of(body) != reference:
            raise ValueError(f"the content of {reference} is wrong: {len(body)} bytes")
        manifest = json.loads(body)
        for child in manifest.get("manifests", ()):
            self.pull(repository, child["digest"])
        if "manifests" in manifest:
            return
        for blob in (manifest["config"], *manifest["layers"]):
            content = self.call("GET", f"/v2/{repository}/blobs/{blob['digest']}", [200]).body
            if digest_of(content) != blob["digest"]:
                raise ValueError(f"the content of {blob['digest']} is wrong: {len(content)} bytes")

    def delete(self, repository: str, digest: str) -> None:
        """Delete the manifest with `digest`."""
        self.call("DELETE", f"/v2/{repository}/manifests/{digest}", [202])

    def cancel_upload(self, repository: str, content: bytes) -> None:
        """Start an upload with `content` and cancel it."""
        headers = {"Content-Type": "application/octet-stream"}
        response = self.call("PATCH", self.start_upload(repository), [202], content, headers)
        self.call("DELETE", response.headers["location"], [204])


def digest_of(content: bytes) -> str:
    """Return the digest of `content` in the form `sha256:…`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _halves(content: bytes) -> Sequence[bytes]:
    """Split `content` in the middle, and return the parts that are not empty."""
    middle = len(content) // 2
    return [half for half in (content[:middle], content[middle:]) if half]
