"""A Hub on the loopback address: what `huggingface_hub` needs of models and data sets, with nothing behind it.

Repositories can be made, deleted, made private or public, written to (plain files and LFS), tagged, listed and read,
by tokens, at revisions, with ranges. Clients have to set `HF_ENDPOINT` and `HF_HUB_DISABLE_XET=1` before they import
`huggingface_hub`. `python hub_server.py FOLDER` starts one by hand and prints where; it ends with its standard input.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


# What each token lets in as. Everybody owns the repositories under their own name.
USERS = {"hf_owner": "org", "hf_stranger": "stranger"}

_LFS_SUFFIXES = (".bin", ".h5", ".jpg", ".onnx", ".parquet", ".png", ".pt", ".pth", ".safetensors")
_REPO = r"(?P<kind>model|dataset|space)s/(?P<repo_id>[^/]+/[^/]+)"
_GIT_REPO = r"(?:(?P<kind>dataset|space)s/)?(?P<repo_id>[^/]+/[^/]+)"


class HubServer:
    """A running server, in a process of its own.

    Args:
        folder: Where it keeps what it is given.
    """

    token = "hf_owner"
    stranger_token = "hf_stranger"

    def __init__(self, folder: Path):
        self.folder = folder
        command = [sys.executable, __file__, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Environment variables of a client with its own caches under `home`, logged in by `token`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return inherited | own | quiet | ({} if token is None else {"HF_TOKEN": token})

    def requests(self) -> list[str]:
        """All requests so far, as `"METHOD path status"`."""
        with urllib.request.urlopen(f"{self.endpoint}/_double/requests") as response:
            return json.load(response)

    def limit_uploads(self, number: int | None) -> None:
        """Lets this many more uploads succeed before all others fail, None to heal."""
        body = json.dumps(number).encode()
        request = urllib.request.Request(f"{self.endpoint}/_double/uploads-left", body, method="PUT")
        urllib.request.urlopen(request).close()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=10)


# What the server keeps


class HubError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit; its content is a blob under `sha256`."""

    size: int
    sha1: str
    sha256: str
    is_lfs: bool

    def info(self, path: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 130}} if self.is_lfs else {}
        return {"type": "file", "path": path, "size": self.size, "oid": self.sha1, **lfs}


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    date: str
    files: dict[str, StoredFile]

    def info(self) -> dict[str, str]:
        return {"id": self.oid, "title": self.title, "date": self.date}


@dataclass
class Repository:
    kind: str
    repo_id: str
    is_private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    def add_commit(self, title: str, files: dict[str, StoredFile]) -> Commit:
        date = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        parent = self.commits[-1].oid if self.commits else self.repo_id
        oid = _sha1(f"{parent} {title} {date} {len(self.commits)}".encode())
        self.commits.append(Commit(oid, title, date, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        oid = self.tags.get(revision, revision)
        for commit in reversed(self.commits):
            if oid == "main" or (len(oid) >= 7 and commit.oid.startswith(oid)):
                return commit
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")


class Store:
    """Repositories in memory, contents in a folder."""

    def __init__(self, folder: Path):
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        # How many more uploads are taken before they fail; None for all.
        self.uploads_left: int | None = None
        self.lock = threading.Lock()

    def repository(self, kind: str, repo_id: str, user: str | None, is_write: bool = False) -> Repository:
        found = self.repositories.get((kind, repo_id))
        is_owner = found is not None and found.owner == user
        if found is None or (found.is_private and not is_owner):
            # Without a token nobody is told whether it exists.
            raise HubError(401 if user is None else 404, "RepoNotFound", "Repository not found")
        if is_write and not is_owner:
            raise HubError(403, "Forbidden", f"{user} may not write to {repo_id}")
        return found

    def put_blob(self, content: bytes) -> StoredFile:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.blobs / sha256).write_bytes(content)
        sha1 = _git_sha1(content)
        return StoredFile(len(content), sha1, sha256, is_lfs=False)

    def lfs_file(self, sha256: str, size: int) -> StoredFile:
        if not (self.blobs / sha256).exists():
            raise HubError(400, "BadRequest", f"LFS object {sha256} was never uploaded")
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        sha1 = _git_sha1(pointer)
        return StoredFile(size, sha1, sha256, is_lfs=True)


# What it answers


@dataclass
class Request:
    """What a client asks: query and body are decoded, `user` is whom its token belongs to."""

    method: str
    query: dict[str, str]
    headers: Any
    body: bytes
    user: str | None
    endpoint: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Registers what is called for an address: with the store, the request and the groups of the pattern."""

    def register(function: Route) -> Route:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


@route("GET", "/api/whoami-v2")
def whoami(store: Store, request: Request) -> Any:
    if request.user is None:
        raise HubError(401, "Unauthorized", "Invalid username or password.")
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return {"type": "user", "id": "0", "name": request.user, "fullname": request.user, "orgs": [], "auth": access}


@route("POST", "/api/validate-yaml")
def validate_card(store: Store, request: Request) -> Any:
    try:
        metadata = _front_matter(request.json["content"])
    except yaml.YAMLError as error:
        messages = [str(error)]
    else:
        messages = list(_flaws(metadata))
    errors = [{"message": message} for message in messages]
    # The Hub answers 400 where there are errors.
    return Answer(json.dumps({"errors": errors, "warnings": []}).encode(), 400 if errors else 200)


def _flaws(metadata: dict[str, Any]) -> Iterator[str]:
    """The Hub's rules that cards of this package could break."""
    tags, index = metadata.get("tags", []), metadata.get("model-index", [])
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        yield '"tags" must be an array of strings'
    if metadata.get("license") == "other" and not metadata.get("license_name"):
        yield '"license_name" is required where "license" is "other"'
    for model in index:
        if not (isinstance(model.get("name"), str) and isinstance(model.get("results"), list)):
            yield '"model-index[0].results" must be an array, and "name" a string'
            continue
        for result in model["results"]:
            task, dataset = result.get("task", {}), result.get("dataset", {})
            if not (task.get("type") and dataset.get("type") and dataset.get("name")):
                yield '"model-index[0].results[0]" needs task.type, dataset.type and dataset.name'
            if not all(metric.get("type") and "value" in metric for metric in result.get("metrics", [{}])):
                yield '"model-index[0].results[0].metrics[0]" needs type and value'


@route("POST", "/api/repos/create")
def create_repository(store: Store, request: Request) -> Any:
    options = request.json
    kind, owner = options.get("type", "model"), options.get("organization") or request.user
    repo_id = f"{owner}/{options['name']}"
    if request.user is None or owner != request.user:
        raise HubError(401 if request.user is None else 403, "Forbidden", f"{request.user} may not create {repo_id}")
    address = {"url": f"{request.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{repo_id}", "name": repo_id}
    if (kind, repo_id) in store.repositories:
        return Answer(json.dumps({"error": f"You already created this {kind} repo", **address}).encode(), 409)
    repository = Repository(kind, repo_id, _is_private(options))
    repository.add_commit("initial commit", {})
    store.repositories[kind, repo_id] = repository
    return address


@route("DELETE", "/api/repos/delete")
def delete_repository(store: Store, request: Request) -> Any:
    options = request.json
    kind, repo_id = options.get("type", "model"), f"{options.get('organization') or request.user}/{options['name']}"
    store.repository(kind, repo_id, request.user, is_write=True)
    del store.repositories[kind, repo_id]
    return {}


@route("PUT", f"/api/{_REPO}/settings")
def change_settings(store: Store, request: Request, kind: str, repo_id: str) -> Any:
    repository = store.repository(kind, repo_id, request.user, is_write=True)
    repository.is_private = _is_private(request.json)
    return {"private": repository.is_private}


def _is_private(options: dict[str, Any]) -> bool:
    return options.get("visibility") == "private" or bool(options.get("private"))


@route("GET", f"/api/{_REPO}(?:/revision/(?P<revision>.+))?")
def repository_info(store: Store, request: Request, kind: str, repo_id: str, revision: str | None) -> Any:
    repository = store.repository(kind, repo_id, request.user)
    commit = repository.at(revision or "main")
    card = commit.files.get("README.md")
    metadata = _front_matter((store.blobs / card.sha256).read_text()) if card else {}
    first = repository.commits[0]
    return {
        "_id": "0",
        "id": repo_id,
        "author": repository.owner,
        "sha": commit.oid,
        "private": repository.is_private,
        "disabled": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "lastModified": commit.date,
        "createdAt": first.date,
        "tags": metadata.get("tags") or [],
        "pipeline_tag": metadata.get("pipeline_tag"),
        "library_name": metadata.get("library_name"),
        "cardData": metadata,
        "siblings": [{"rfilename": path} for path in sorted(commit.files)],
    }


def _front_matter(card: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    return (yaml.safe_load(match[1]) or {}) if match else {}


@route("GET", f"/api/{_REPO}/refs")
def references(store: Store, request: Request, kind: str, repo_id: str) -> Any:
    repository = store.repository(kind, repo_id, request.user)
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1].oid}
    tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repository.tags.items()]
    return {"branches": [main], "converts": [], "tags": tags}


@route("GET", f"/api/{_REPO}/commits/(?P<revision>.+)")
def commits(store: Store, request: Request, kind: str, repo_id: str, revision: str) -> Any:
    repository = store.repository(kind, repo_id, request.user)
    until = repository.commits.index(repository.at(revision))
    shared = {"authors": [], "message": ""}
    return [{**commit.info(), **shared} for commit in reversed(repository.commits[: until + 1])]


@route("POST", f"/api/{_REPO}/tag/(?P<revision>.+)")
def create_tag(store: Store, request: Request, kind: str, repo_id: str, revision: str) -> Any:
    repository = store.repository(kind, repo_id, request.user, is_write=True)
    tag = request.json["tag"]
    if tag in repository.tags:
        raise HubError(409, "Conflict", f"Tag {tag} exists")
    repository.tags[tag] = repository.at(revision).oid
    return {}


@route("DELETE", f"/api/{_REPO}/tag/(?P<tag>.+)")
def delete_tag(store: Store, request: Request, kind: str, repo_id: str, tag: str) -> Any:
    repository = store.repository(kind, repo_id, request.user, is_write=True)
    if repository.tags.pop(tag, None) is None:
        raise HubError(404, "RevisionNotFound", f"No tag {tag}")
    return {}


@route("GET", f"/api/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?")
def tree(store: Store, request: Request, kind: str, repo_id: str, revision: str, folder: str | None) -> Any:
    commit = store.repository(kind, repo_id, request.user).at(revision)
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    entries = [entry for entry in _entries(commit) if entry["path"].startswith(prefix)]
    if folder and not entries:
        raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
    if request.query.get("recursive", "").lower() not in ("1", "true"):
        entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(prefix)]
    return entries


@route("POST", f"/api/{_REPO}/paths-info/(?P<revision>.+)")
def paths_info(store: Store, request: Request, kind: str, repo_id: str, revision: str) -> Any:
    commit = store.repository(kind, repo_id, request.user).at(revision)
    is_form = "form" in request.headers.get("Content-Type", "")
    paths = urllib.parse.parse_qs(request.body.decode())["paths"] if is_form else request.json["paths"]
    return [entry for entry in _entries(commit) if entry["path"] in paths]


def _entries(commit: Commit) -> list[dict[str, Any]]:
    """Files and folders of a commit, sorted by path."""
    folders = {str(parent) for path in commit.files for parent in PurePosixPath(path).parents if parent.name}
    entries = [{"type": "directory", "path": path, "size": 0, "oid": _sha1(path.encode())} for path in folders]
    entries += [file.info(path) for path, file in commit.files.items()]
    last_commit = {"lastCommit": commit.info()}
    return [entry | last_commit for entry in sorted(entries, key=lambda entry: entry["path"])]


@route("POST", f"/api/{_REPO}/preupload/(?P<revision>.+)")
def preupload(store: Store, request: Request, kind: str, repo_id: str, revision: str) -> Any:
    commit = store.repository(kind, repo_id, request.user, is_write=True).at(revision)
    files = []
    for entry in request.json["files"]:
        known = commit.files.get(entry["path"])
        answer = {"path": entry["path"], "shouldIgnore": False, "oid": known.sha1 if known else None}
        # The client compares an LFS file by its SHA-256.
        if entry["path"].endswith(_LFS_SUFFIXES):
            answer |= {"uploadMode": "lfs", "oid": known.sha256 if known else None}
        else:
            answer |= {"uploadMode": "regular"}
        files.append(answer)
    return {"files": files}


@route("POST", rf"/{_GIT_REPO}\.git/info/lfs/objects/batch")
def lfs_batch(store: Store, request: Request, kind: str, repo_id: str) -> Any:
    store.repository(kind, repo_id, request.user, is_write=True)
    objects = []
    for entry in request.json["objects"]:
        upload = {"upload": {"href": f"{request.endpoint}/_lfs/{entry['oid']}"}}
        is_known = (store.blobs / entry["oid"]).exists()
        objects.append({"oid": entry["oid"], "size": entry["size"]} | ({} if is_known else {"actions": upload}))
    return {"transfer": "basic", "objects": objects}


@route("PUT", "/_lfs/(?P<sha256>[0-9a-f]{64})")
def lfs_upload(store: Store, request: Request, sha256: str) -> Any:
    if store.uploads_left == 0:
        raise HubError(403, "Forbidden", "The connection to the storage was cut")
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise HubError(422, "BadChecksum", f"What came is not {sha256}")
    store.put_blob(request.body)
    if store.uploads_left is not None:
        store.uploads_left -= 1
    return {}


@route("POST", f"/api/{_REPO}/commit/(?P<revision>.+)")
def create_commit(store: Store, request: Request, kind: str, repo_id: str, revision: str) -> Any:
    repository = store.repository(kind, repo_id, request.user, is_write=True)
    head = repository.at(revision)
    files, title = dict(head.files), ""
    for line in request.body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        match entry["key"]:
            case "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, head.oid):
                    raise HubError(
                        412, "PreconditionFailed", "A commit has happened since. Please refresh and try again."
                    )
            case "file":
                files[value["path"]] = store.put_blob(base64.b64decode(value["content"]))
            case "lfsFile":
                files[value["path"]] = store.lfs_file(value["oid"], value["size"])
            case "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise HubError(404, "EntryNotFound", f"{value['path']} does not exist")
            case "deletedFolder":
                files = {path: file for path, file in files.items() if not path.startswith(value["path"])}
            case key:
                raise HubError(400, "BadRequest", f"{key} is not known here")
    commit = repository.add_commit(title, files)
    return {"success": True, "commitOid": commit.oid, "commitUrl": f"{request.endpoint}/{repo_id}/commit/{commit.oid}"}


@route("GET HEAD", f"/{_GIT_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(store: Store, request: Request, kind: str, repo_id: str, revision: str, path: str) -> Any:
    commit = store.repository(kind, repo_id, request.user).at(revision)
    file = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if file is None:
        return _error_answer(HubError(404, "EntryNotFound", f"{path} does not exist on {revision}"), headers)
    headers["ETag"] = f'"{file.sha256 if file.is_lfs else file.sha1}"'
    if file.is_lfs:
        headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(file.size)}
    content = (store.blobs / file.sha256).read_bytes()
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if wanted is None:
        return Answer(content, headers=headers)
    start, end = int(wanted[1]), min(int(wanted[2] or file.size - 1), file.size - 1)
    if start > end:
        return Answer(status=416, headers=headers | {"Content-Range": f"bytes */{file.size}"})
    return Answer(content[start : end + 1], 206, headers | {"Content-Range": f"bytes {start}-{end}/{file.size}"})


@route("GET", "/_double/requests")
def list_requests(store: Store, request: Request) -> Any:
    return list(store.requests)


@route("PUT", "/_double/uploads-left")
def limit_uploads(store: Store, request: Request) -> Any:
    """Lets this many more uploads succeed, `null` for all."""
    store.uploads_left = request.json
    return {}


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _git_sha1(content: bytes) -> str:
    return _sha1(b"blob %d\0" % len(content) + content)


def _error_answer(error: HubError, headers: dict[str, str] | None = None) -> Answer:
    told = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
    return Answer(json.dumps({"error": str(error)}).encode(), error.status, told | (headers or {}))


# How it listens


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def answer(self) -> None:
        body = self._read_body()
        try:
            answer = self._call_route(body)
        except HubError as error:
            answer = _error_answer(error)
        self.store.requests.append(f"{self.command} {self.path} {answer.status}")
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def _call_route(self, body: bytes) -> Answer:
        address = urllib.parse.urlsplit(self.path)
        endpoint = f"http://{self.headers['Host']}"
        query = dict(urllib.parse.parse_qsl(address.query))
        request = Request(self.command, query, self.headers, body, self._user(), endpoint)
        for method, pattern, function in ROUTES:
            match = pattern.fullmatch(urllib.parse.unquote(address.path))
            if match and method == self.command:
                groups = match.groupdict()
                if "kind" in groups:
                    # Models have no prefix in addresses of files.
                    groups["kind"] = groups["kind"] or "model"
                with self.store.lock:
                    result = function(self.store, request, **groups)
                if isinstance(result, Answer):
                    return result
                return Answer(json.dumps(result).encode(), headers={"Content-Type": "application/json"})
        raise HubError(404, "NotFound", f"Nothing answers to {self.command} {self.path}")

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in USERS:
            raise HubError(401, "Unauthorized", "Invalid credentials in Authorization header")
        return USERS.get(token)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *args: object) -> None:
        """The store keeps the requests; standard output is for the address."""


def main() -> None:
    Handler.store = Store(Path(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    # Whoever started it has gone when this returns.
    sys.stdin.read()


if __name__ == "__main__":
    main()
