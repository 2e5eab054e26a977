"""A hub on loopback, in place of the Hugging Face Hub."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST = 40 * "1"  # a commit


class Hub(ThreadingHTTPServer):
    """What huggingface_hub asks of a hub, for the files of some repositories in memory.

    Attributes:
      files: (repository, commit) → name → content.
      names: (repository, branch or tag) → commit.
      closed: repository → the status and the error's code that its files are refused with.
      damage: what is sent in place of a content.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files, self.names, self.closed, self.damage = {}, {}, {}, lambda content: content
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def publish(self, repository, files, commit=FIRST, names=("main",)):
        self.files[repository, commit] = files
        self.names |= {(repository, name): commit for name in (*names, commit)}

    def stop(self):
        if self.thread.is_alive():
            self.shutdown()
            self.thread.join()
            self.server_close()


class _Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        hub, path = self.server, self.path
        asked = re.fullmatch(r"/api/models/(\w+/[\w-]+)(?:/revision/([\w.]+))?", path)
        file = re.fullmatch(r"/(\w+/[\w-]+)/resolve/([\w.]+)/([\w.]+)", path)
        repository, revision = (asked or file).group(1, 2) if asked or file else ("", "")
        if repository not in {known for known, _ in hub.files}:
            return self.refuse(401, "RepoNotFound")
        if (commit := hub.names.get((repository, revision or "main"))) is None:
            return self.refuse(404, "RevisionNotFound")
        if asked:
            return self.answer(json.dumps({"id": repository, "sha": commit}).encode())
        if repository in hub.closed:
            return self.refuse(*hub.closed[repository])
        if (content := hub.files[repository, commit].get(file[3])) is None:
            return self.refuse(404, "EntryNotFound", **{"X-Repo-Commit": commit})
        large = file[3] != "config.json"
        etag = (hashlib.sha256 if large else hashlib.sha1)(content).hexdigest()
        linked = {"X-Linked-Size": str(len(content))} if large else {}
        return self.answer(
            hub.damage(content), **{"X-Repo-Commit": commit, "ETag": f'"{etag}"', **linked}
        )

    do_GET = do_HEAD

    def refuse(self, status, code, **headers):
        self.answer(b"", status, **{"X-Error-Code": code, **headers})

    def answer(self, content, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass
