"""As much of a W&B server as an online run needs: it keeps each run's history lines, and says how many on resume."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        """Rows by run id, as they came."""
        self.config: dict[str, Any] = {}
        self.files: set[str] = set()
        """Names of files that were to be uploaded."""
        self.received: list[str] = []
        """Every body, for what must not be in any."""
        self.go_on = threading.Event()
        """While it is not set, rows that arrive wait before they are kept: they are in flight."""
        self.go_on.set()
        self.in_flight = threading.Event()
        """Set by rows that wait."""
        self.losing = False
        """Whether rows that have waited are lost."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None: ...

    def do_PUT(self) -> None:
        self._body()
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/file_stream"):
            run = self.path.split("/")[-2]
            rows = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            if rows and self._arrives():
                lines = self.server.history.setdefault(run, [])
                del lines[rows["offset"] :]
                lines += [json.loads(line) for line in rows["content"]]
            self._reply({"exitcode": None, "limits": {}})
        elif self.path.endswith("/graphql"):
            query = json.loads(body)
            self._reply({"data": self._answer(query["query"], query.get("variables") or {})})
        else:
            self._reply({})

    def _arrives(self) -> bool:
        if self.server.go_on.is_set():
            return True
        self.server.in_flight.set()
        self.server.go_on.wait()
        return not self.server.losing

    def _answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "name": "envgen", "entity": {"id": "e", "name": "someone"}}
        if "query RunResumeStatus" in query:
            rows = self.server.history.get(variables["name"])
            if rows is None:
                return {"model": None}
            bucket = {
                "id": "b",
                "name": variables["name"],
                "summaryMetrics": json.dumps(rows[-1]),
                "displayName": "run",
                "logLineCount": 0,
                "historyLineCount": len(rows),
                "eventsLineCount": 0,
                "historyTail": json.dumps([json.dumps(rows[-1])]),
                "eventsTail": "[]",
                "config": "{}",
                "tags": [],
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),  # a run without telemetry counts as never started
            }
            return {"model": {**project, "bucket": bucket}}
        if "mutation UpsertBucket" in query:
            self.server.config |= json.loads(variables.get("config") or "{}")
            lines = len(self.server.history.get(variables["name"], []))
            bucket = {
                "id": "b",
                "name": variables["name"],
                "displayName": "run",
                "description": None,
                "config": "{}",
                "sweepName": None,
                "project": project,
                "historyLineCount": lines,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": not lines}}
        if "mutation CreateRunFiles" in query:
            self.server.files.update(variables["files"])
            url = f"{self.server.url}/upload"
            files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "query ArtifactType" in query:
            return {"project": None}
        if "mutation CreateArtifact (" in query:  # a table: says that it is here already, so that nothing is uploaded
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if "query Viewer" in query:
            teams: dict[str, Any] = {"edges": []}
            return {
                "viewer": {
                    "id": "u",
                    "entity": "someone",
                    "username": "someone",
                    "email": None,
                    "flags": "{}",
                    "teams": teams,
                }
            }
        return {}

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append(body.decode(errors="replace"))
        return body

    def _reply(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def wandb_server() -> Iterator[Server]:
    """A server for as long as the block runs."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
