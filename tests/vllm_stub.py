"""What a vLLM server says and does, as far as a run asks it; its answers are those of the model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

INFO = "/server_info?config_format=json"


class Stub:
    """A server in threads of its own.

    `said`: what it answers to each path; 404 to all others. `loads`: how often it was given
    weights; `places`: where from. An answer depends on weights, prompt and seed, and on nothing
    else that is asked.
    """

    def __init__(self) -> None:
        self.said: dict[str, Any] = {"/v1/models": {"data": [{"id": "m"}]}}
        self.loads = 0
        self.places: set[Path] = set()
        self.model: Any = None
        self.busy = threading.Lock()

    def takes_weights(self, context: int) -> None:
        """From here on it does all that a server does."""
        info = {"model": "m", "max_model_len": context, "logprobs_mode": "raw_logprobs"}
        self.said[INFO] = {"vllm_config": {"model_config": info}}
        self.said |= {"/collective_rpc": {}, "/reset_prefix_cache": {}, "/v1/completions": {}}

    def answer(self, path: str, asked: dict[str, Any]) -> Any:
        """To a POST."""
        with self.busy:
            if path == "/collective_rpc":
                self.loads += 1
                place = asked["kwargs"]["weights_path"]
                self.places.add(Path(place))
                self.model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float64)
            if path == "/v1/completions":
                return {"choices": [self.sampled(asked)]}
            return self.said[path]

    @torch.no_grad()
    def sampled(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A token after the other, without a cache."""
        generator = torch.Generator().manual_seed(asked["seed"] % 2**63)
        tokens: list[int] = []
        told = []
        while len(tokens) < asked["max_tokens"]:
            ids = torch.tensor([[*asked["prompt"], *tokens]])
            logprobs = self.model(ids).logits[0, -1].double().log_softmax(-1)
            drawn = torch.rand((), generator=generator, dtype=torch.float64)
            # The last one ends at 1 but for rounding.
            tokens.append(int((logprobs.exp().cumsum(0)[:-1] < drawn).sum()))
            told.append(float(logprobs[tokens[-1]]))
            if tokens[-1] in asked["stop_token_ids"]:
                break
        ended = tokens[-1] in asked["stop_token_ids"]
        return {
            "token_ids": tokens,
            "logprobs": {"token_logprobs": told},
            "finish_reason": "stop" if ended else "length",
        }


@contextmanager
def serving() -> Iterator[tuple[str, Stub]]:
    """The address of a stub, and the stub."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(stub.said.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send(stub.answer(self.path, body) if self.path in stub.said else None)

        def send(self, found: Any) -> None:
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", stub
        finally:
            server.shutdown()
