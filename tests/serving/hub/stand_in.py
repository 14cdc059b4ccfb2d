"""A Hub on the loopback: repositories of files in memory, over the calls that huggingface_hub makes.

It knows lists of files, downloads, and commits whose large files (`LARGE_BYTES`) come by git LFS.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE_BYTES = 1000
TOKEN = "hf_of_a_test"  # noqa: S105

Files = dict[str, bytes]


@dataclass
class StandIn:
    """The repositories of a Hub.

    Attributes:
        repositories: files of each, by `models/OWNER/NAME` or `datasets/OWNER/NAME`, and branch.
        private: those that want a token.
        failing: the status of every answer, where it is ill.
        requests: what was asked.
    """

    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    failing: int | None = None
    requests: list[str] = field(default_factory=list)
    uploads: Files = field(default_factory=dict)
    url: str = ""

    def put(self, repository: str, files: Files, branch: str = "main") -> None:
        self.repositories.setdefault(repository, {})[branch] = files

    def commit_of(self, repository: str, revision: str) -> tuple[str, Files] | None:
        """The id of a revision, which depends on its files, and these."""
        for branch, files in self.repositories[repository].items():
            listing = json.dumps([(name, hashlib.sha1(data).hexdigest()) for name, data in files.items()])  # noqa: S324
            commit = hashlib.sha1(listing.encode()).hexdigest()  # noqa: S324
            if revision in (branch, commit):
                return commit, files
        return None


@contextmanager
def running_hub() -> Iterator[StandIn]:
    """Run a Hub on a free port until the block ends."""
    hub = StandIn()

    class Handler(_Handler):
        stand_in = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._is_ill():
            return None
        path = unquote(urlsplit(self.path).path)
        for pattern, answer in (
            (r"/api/(models|datasets)/([^/]+/[^/]+)/revision/(.+)", self._revision),
            (r"/api/(models|datasets)/([^/]+/[^/]+)/tree/(.+)", self._tree),
            (r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            if matched := re.fullmatch(pattern, path):
                kind, name, revision, *rest = matched.groups()
                repository = f"{kind or 'models'}/{name}"
                missing = repository not in self.stand_in.repositories
                if missing or (repository in self.stand_in.private and not self._has_token()):
                    return self._say(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
                found = self.stand_in.commit_of(repository, revision.rstrip("/"))
                if found is None:
                    return self._say(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
                return answer(*found, *rest)
        return self._say(404, {"error": f"unknown {path}"})

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self._sized()
            else self._chunked()
        )
        if self._is_ill():
            return
        if not self._has_token():
            self._say(403, {"error": "no token"})
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"models/{asked['organization']}/{asked['name']}"
            exists = repository in self.stand_in.repositories
            self.stand_in.repositories.setdefault(repository, {"main": {}})
            url = f"{self.stand_in.url}/{asked['organization']}/{asked['name']}"
            self._say(409 if exists else 200, {"url": url, "error": "You already created this model repo"})
        elif matched := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            branches = self.stand_in.repositories[f"models/{matched[1]}"]
            branches.setdefault(matched[2], dict(branches["main"]))
            self._say(200, {})
        elif path == "/api/validate-yaml":
            self._say(200, {"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.stand_in.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._say(200, {"transfer": "basic", "objects": objects})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/.+", path):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] > LARGE_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._say(200, {"files": files})
        elif matched := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(matched[1], matched[2], [json.loads(line) for line in body.splitlines()])
        else:
            self._say(404, {"error": f"unknown {path}"})

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        self.stand_in.uploads[oid] = data
        self._say(200 if hashlib.sha256(data).hexdigest() == oid else 400, {})

    def _commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files = dict(self.stand_in.repositories[f"models/{name}"][branch])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stand_in.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.stand_in.put(f"models/{name}", files, branch)
        found = self.stand_in.commit_of(f"models/{name}", branch)
        assert found is not None
        self._say(
            200,
            {
                "success": True,
                "commitOid": found[0],
                "commitUrl": f"{self.stand_in.url}/{name}/commit/{found[0]}",
            },
        )

    def _revision(self, commit: str, files: Files) -> None:
        self._say(200, {"id": "x/y", "sha": commit, "siblings": [{"rfilename": name} for name in files]})

    def _tree(self, commit: str, files: Files) -> None:
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324
            for name, data in files.items()
        ]
        self._say(200, [*entries, {"type": "directory", "path": "a-folder", "oid": "0"}])

    def _file(self, commit: str, files: Files, name: str) -> None:
        data = files[name]
        etag = hashlib.sha256(data).hexdigest()
        self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def _sized(self) -> bool:
        return self.headers.get("Transfer-Encoding") != "chunked"

    def _chunked(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _is_ill(self) -> bool:
        self.stand_in.requests.append(f"{self.command} {self.path}")
        if self.stand_in.failing is None:
            return False
        self._say(self.stand_in.failing, {"error": "ill"})
        return True

    def _say(self, status: int, said: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(said).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
