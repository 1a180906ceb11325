"""Responses from a vLLM server, which reads the weights from a directory."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from safetensors.torch import save_file

from chord.distributed.collectives import rank, world_size
from chord.errors import ConfigError, first_line
from chord.io.reading import parse_json, read_json
from chord.models.hf.merged import merged_weights
from chord.rollout.engines.base import Draft, Foreign, Request
from chord.rollout.engines.vllm import logprobs_mode

if TYPE_CHECKING:
    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms

REQUESTS = 64
"""Responses requested at a time."""
PATIENCE = 600.0
"""Seconds within which a server must reply or load weights."""
LARGEST, CHUNK, REASON = 64 * 2**20, 2**16, 200
"""Bytes of a reply, of what is read of it at a time, and of the reason for a refusal."""
SHAPE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
"""Entries of a model's configuration that must be equal on the server and in the policy."""


class Server(Foreign):
    """`vllm serve MODEL` with VLLM_SERVER_DEV_MODE=1; call `start` before anything else.

    The server has to see the files that chord writes under the same path: a server on another
    machine needs a `server_directory` that both share.
    """

    name: str = ""
    directory: Path | None = None

    @property
    def shown(self) -> str:
        """The setting, for messages."""
        return f"rollout.server={self.config.server}"

    def start(self, policy: Policy, *, longest: int) -> None:
        """Check that the server is there, accepts weights, and runs the policy's model.

        Raises a one-line ConfigError otherwise.
        """
        models = self.ask("/v1/models")
        with self.understood("/v1/models"):
            self.name = str(models["data"][0]["id"])
        try:
            found = self.ask("/server_info?config_format=json")
        except RefusedError as error:
            raise ConfigError(
                f"{self.shown}: takes no weights; start it with VLLM_SERVER_DEV_MODE=1"
            ) from error
        with self.understood("/server_info"):
            info = found["vllm_config"]["model_config"]
            theirs, longest_there = shape_at(str(info["model"])), int(info["max_model_len"])
            there = info["logprobs_mode"]
        ours = self.model.causal(policy).config.to_dict()
        for name, value in theirs.items():
            if value != ours.get(name):
                raise ConfigError(
                    f"{self.shown}: runs another model than model.path "
                    f"({name} {value}, not {ours.get(name)})"
                )
        if longest_there < min(policy.context, longest):
            raise ConfigError(
                f"{self.shown}: start it with --max-model-len {longest} or more, for the longest "
                "prompt with its answer"
            )
        mode = logprobs_mode(self.config.temperature)
        if there != mode:
            raise ConfigError(
                f"{self.shown}: start it with --logprobs-mode {mode} for "
                f"rollout.temperature={self.config.temperature}"
            )

    def sync(self, policy: Policy) -> None:
        """Write the weights, adapters merged, and let the server read them."""
        if rank() == 0:
            self._sync(policy)
        if world_size() > 1:
            dist.barrier()

    def generate(
        self, policy: Policy, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(self.answer, requests))

    def answer(self, request: Request) -> Draft:
        """One response; each is requested separately, because each has its own seed."""
        config = self.config
        found = self.ask(
            "/v1/completions",
            {
                "model": self.name,
                "prompt": request.prompt,
                "seed": request.seed,
                "temperature": config.temperature,
                "top_p": config.top_p,
                "top_k": config.top_k,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "max_tokens": request.limit,
                "stop_token_ids": sorted(self.tokenizer.stop_ids),
                "ignore_eos": True,
                "logprobs": 0,
                "return_token_ids": True,
            },
        )
        with self.understood("/v1/completions"):
            one = found["choices"][0]
            tokens, logprobs = one["token_ids"], one["logprobs"]["token_logprobs"]
            numbers = all(isinstance(each, int | float) for each in logprobs)
            known = all(type(each) is int and each >= 0 for each in tokens)
            if not numbers or not known or not len(tokens) == len(logprobs) <= request.limit:
                raise TypeError("not one token and one log-probability for each")
            return Draft(tokens, logprobs, one["finish_reason"] == "stop")

    def close(self) -> None:
        """Remove the weights that were written."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _sync(self, policy: Policy) -> None:
        if self.directory is None:
            self.directory = new_directory(self.config.server_directory)
        causal = self.model.causal(policy)
        causal.config.save_pretrained(self.directory)
        weights = {name: value.contiguous().cpu() for name, value in merged_weights(causal)}
        save_file(weights, self.directory / "model.safetensors", metadata={"format": "pt"})
        self.ask(
            "/collective_rpc",
            {"method": "reload_weights", "kwargs": {"weights_path": str(self.directory)}},
        )
        self.ask("/reset_prefix_cache", {})

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST with a body; ConfigError if the server is not there or refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{str(self.config.server).rstrip('/')}{path}",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                text = _body(response)
        except urllib.error.HTTPError as error:
            # It is the response too, and as a cause it would hold the connection open.
            with error, suppress(OSError, HTTPException):
                reason = error.read1(REASON).decode(errors="replace")
                raise RefusedError(f"{self.shown}: {path} says {error.code} ({reason})") from error
            raise RefusedError(f"{self.shown}: {path} says {error.code}") from error
        except (OSError, HTTPException) as error:
            raise ConfigError(
                f"{self.shown}: no vLLM server answers there ({first_line(error)})"
            ) from error
        try:
            return parse_json(text) if text else None
        except ValueError as error:
            raise ConfigError(f"{self.shown}: {path} answers no JSON; is it vLLM's?") from error

    @contextmanager
    def understood(self, path: str) -> Iterator[None]:
        """Context in which the server's reply at `path` is parsed; a one-line ConfigError
        if it is not what vLLM replies."""
        try:
            yield
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"{self.shown}: {path} does not answer as vLLM does ({type(error).__name__}: "
                f"{first_line(error)})"
            ) from error


def _body(response: HTTPResponse) -> bytes:
    """The whole reply of a server, within limits of size and time; OSError beyond them."""
    parts, size, end = [], 0, time.monotonic() + PATIENCE
    while part := response.read1(CHUNK):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise OSError(f"its answer is larger than {LARGEST >> 20} MiB")
        if time.monotonic() > end:
            raise OSError(f"its answer has not ended after {PATIENCE:g} seconds")
    return b"".join(parts)


class RefusedError(ConfigError):
    """The server is there but refuses the request."""


def new_directory(parent: str | None) -> Path:
    """A directory for weights; a one-line ConfigError if none can be made in `parent`."""
    try:
        made = Path(tempfile.mkdtemp(prefix="chord-weights-", dir=parent)).absolute()
    except OSError as error:
        raise ConfigError(
            f"rollout.server_directory={parent}: must be a directory that can be written to "
            f"({first_line(error)})"
        ) from error
    if parent is not None:
        # A server elsewhere may belong to another user.
        made.chmod(0o755)
    return made


def shape_at(path: str) -> dict[str, Any]:
    """Sizes of the model in a directory; empty if it is not in a directory."""
    file = Path(path) / "config.json"
    found = read_json(file) if file.is_file() else {}
    return {name: found[name] for name in SHAPE if name in found}
