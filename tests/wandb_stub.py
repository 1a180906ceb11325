"""A W&B server on this machine: as much of it as a run needs to be uploaded and resumed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Keeps the history lines it was sent, by their offset, and the names of uploaded files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lines: dict[int, dict[str, Any]] = {}
        self.resent = 0
        self.files: set[str] = set()
        self.exit_code: int | None = None
        self.answers: Callable[[int], int] = lambda _: 200
        """The HTTP status of the n-th upload of rows, from 0; 0 hangs up without an answer."""
        self.uploads = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def history(self) -> list[dict[str, Any]]:
        return [self.lines[offset] for offset in sorted(self.lines)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self._body())
        if self.path == "/graphql":
            variables = body.get("variables") or {}
            answer = getattr(self, f"_{body.get('operationName')}", lambda _: {})
            return self._send({"data": answer(variables)})
        sent = body.get("files", {}).get("wandb-history.jsonl")
        if sent:
            status = self.server.answers(self.server.uploads)
            self.server.uploads += 1
            if status == 0:
                self.close_connection = True
                return None
            if status != 200:
                return self._send({}, status)
            for offset, line in enumerate(sent["content"], start=sent["offset"]):
                self.server.resent += offset in self.server.lines
                self.server.lines[offset] = json.loads(line)
        if body.get("complete"):
            self.server.exit_code = body["exitcode"]
        return self._send({})

    def do_PUT(self) -> None:
        self._body()
        self.server.files.add(self.path.rsplit("/", 1)[-1])
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        entity = {"id": "E", "name": "someone"}
        bucket = {
            "id": "R",
            "name": asked["name"],
            "displayName": asked["displayName"],
            "config": "{}",
            "project": {"id": "P", "name": asked["project"], "entity": entity},
            "historyLineCount": len(self.server.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": not self.server.lines}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if not self.server.lines:
            return {"model": None}
        bucket = {
            "id": "R",
            "name": asked["name"],
            "displayName": "run",
            "summaryMetrics": "{}",
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyLineCount": len(self.server.lines),
            "historyTail": json.dumps([json.dumps(self.server.history()[-1])]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": json.dumps({"t": {"value": 1}}),
        }
        entity = {"id": "E", "name": "someone"}
        return {"model": {"id": "P", "name": "chord", "entity": entity, "bucket": bucket}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": n, "uploadUrl": f"{self.server.url}/up/{n}"} for n in asked["files"]]
        return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
