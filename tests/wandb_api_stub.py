"""A W&B server on this machine: what `wandb.Api` 0.31 asks for runs, and wandb-workspaces 0.4 to
save a workspace or a report."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from compare_runs import VERSIONS

from chord.run.recorder import Recorder
from chord.tracking.base import Tracker, numbers


@dataclass
class Remote(Tracker):
    """A run as W&B holds it; a tracker, so that a run directory can be replayed into it."""

    id: str
    name: str
    config: dict[str, Any]
    state: str = "finished"
    group: str = ""
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def log(self, step: int, row: Any) -> None:
        self.rows.setdefault(step, {"_step": step}).update(numbers(row))
        self.values.update(numbers(row))

    def summary(self, values: Any) -> None:
        self.values.update(numbers(values))

    def node(self) -> dict[str, Any]:
        config = {key: {"value": value} for key, value in self.config.items()}
        return {
            "id": self.id, "projectId": "7", "name": self.id, "displayName": self.name,
            "tags": [], "sweepName": None, "state": self.state, "group": self.group,
            "jobType": None, "commit": None, "readOnly": False, "description": "", "notes": None,
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00",
            "config": json.dumps(config), "systemMetrics": "{}",
            "summaryMetrics": json.dumps(self.values), "historyLineCount": len(self.rows),
            "user": {"name": "me", "username": "me"}, "historyKeys": None,
        }  # fmt: skip


def replayed(path: Any, **fields: Any) -> Remote:
    """The run directory `path` as W&B would hold it."""
    facts = json.loads((path / "run.json").read_text())
    config = yaml.safe_load((path / "config.yaml").read_text())
    recorded = {key: facts[key] for key in ("overrides", "options", "schemas") if key in facts}
    recorded |= {key: facts[key] for key in ("lengths", "contents", "changes") if key in facts}
    config["run"] = recorded | {"versions": VERSIONS}
    remote = Remote(**{"id": path.name, "name": facts["name"], "config": config, **fields})
    remote.replay(Recorder(path).history())
    return remote


class Server(ThreadingHTTPServer):
    """Serves these runs, two a page, and keeps the variables of each query."""

    daemon_threads = True

    def __init__(self, runs: Sequence[Remote]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs = runs
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        found = re.search(r"(query|mutation) (\w+)", body.get("query", ""))
        name, variables = found[2] if found else "", body.get("variables") or {}
        self.server.asked.append((name, variables))
        answer = json.dumps({"data": getattr(self, f"_{name}", lambda _: {})(variables)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        teams: dict[str, Any] = {"edges": []}
        viewer = {"id": "U", "entity": "me", "username": "me", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": teams}}

    def _Runs(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if asked["project"] != "chord":
            return {"project": None}
        first = int(asked.get("cursor") or 0)
        page = self.server.runs[first : first + 2]
        edges = [{"node": run.node(), "cursor": str(first + len(page))} for run in page]
        more = first + 2 < len(self.server.runs)
        runs = {"edges": edges, "pageInfo": {"endCursor": str(first + 2), "hasNextPage": more}}
        count = len(self.server.runs)
        return {"project": {"internalId": "7", "runCount": count, "readOnly": True, "runs": runs}}

    def _RunFullHistory(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = next(run for run in self.server.runs if run.id == asked["name"])
        rows = [json.dumps(run.rows[step]) for step in sorted(run.rows)][: asked["samples"]]
        return {"project": {"run": {"history": rows}}}

    def _UpsertView2(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"upsertView": {"view": {"id": "V", "name": asked["name"]}, "inserted": True}}

    def _upsertView(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        fields = {key: asked[key] for key in ("type", "name", "displayName", "description", "spec")}
        project = {"id": "P", "name": asked["projectName"], "entityName": asked["entityName"]}
        view = {"id": "VR", **fields, "project": project, "updatedAt": "2026-01-01T00:00:00"}
        return {"upsertView": {"view": view, "inserted": True}}

    def _ProjectInternalId(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"id": "P", "internalId": "7"}}

    def _GetProjects(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        node = {
            "__typename": "Project", "id": "P", "name": "chord", "entityName": "me",
            "createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None,
        }  # fmt: skip
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node}]}}

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@contextmanager
def serving(runs: Sequence[Remote]) -> Iterator[Server]:
    server = Server(runs)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
