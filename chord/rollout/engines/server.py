"""Answers from a vLLM server, which reads the weights from a directory."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from chord.distributed import rank, world_size
from chord.exits import first_line
from chord.models.hf.merged import merged_weights
from chord.rollout.engines.base import Draft, Foreign, Request
from chord.rollout.engines.vllm import logprobs_mode
from chord.untrusted import parse_json, read_json

if TYPE_CHECKING:
    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms

REQUESTS = 64
"""Answers asked for at a time."""
PATIENCE = 600.0
"""Seconds in which a server answers or loads weights."""
SHAPE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
"""Entries of a model's configuration that the server's must share with the policy's."""


class Server(Foreign):
    """`vllm serve MODEL` with VLLM_SERVER_DEV_MODE=1; `start` before anything else.

    It has to see what we write under the same path: one on another machine needs a
    `server_directory` that both share.
    """

    name: str = ""
    directory: Path | None = None

    @property
    def shown(self) -> str:
        """The setting, for messages."""
        return f"rollout.server={self.config.server}"

    def start(self, policy: Policy, *, longest: int) -> None:
        """See that the server is there, may be given weights, and runs the policy's model.

        Raises ValueError in one line where that is not so.
        """
        models = self.ask("/v1/models")["data"]
        self.name = models[0]["id"]
        try:
            info = self.ask("/server_info?config_format=json")["vllm_config"]["model_config"]
        except RefusedError as error:
            raise ValueError(
                f"{self.shown}: takes no weights; start it with VLLM_SERVER_DEV_MODE=1"
            ) from error
        theirs, ours = shape_at(info["model"]), self.model.causal(policy).config.to_dict()
        for name, value in theirs.items():
            if value != ours.get(name):
                raise ValueError(
                    f"{self.shown}: runs another model than model.path "
                    f"({name} {value}, not {ours.get(name)})"
                )
        if info["max_model_len"] < min(policy.context, longest):
            raise ValueError(
                f"{self.shown}: start it with --max-model-len {longest} or more, for the longest "
                "prompt with its answer"
            )
        mode = logprobs_mode(self.config.temperature)
        if info["logprobs_mode"] != mode:
            raise ValueError(
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
        """One answer; each is asked for by itself, as each has a seed of its own."""
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
        )["choices"][0]
        logprobs = found["logprobs"]["token_logprobs"]
        return Draft(found["token_ids"], logprobs, found["finish_reason"] == "stop")

    def close(self) -> None:
        """Remove the weights that were written."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _sync(self, policy: Policy) -> None:
        from safetensors.torch import save_file

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
        """GET, or POST with a body; ValueError where the server is not there or refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{str(self.config.server).rstrip('/')}{path}",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
            raise RefusedError(
                f"{self.shown}: {path} says {error.code} ({reason[:200]})"
            ) from error
        except OSError as error:
            raise ValueError(
                f"{self.shown}: no vLLM server answers there ({first_line(error)})"
            ) from error
        return parse_json(text) if text else None


class RefusedError(ValueError):
    """The server is there and does not do what it is asked."""


def new_directory(parent: str | None) -> Path:
    """A directory for weights; ValueError in one line where none can be made in `parent`."""
    try:
        made = Path(tempfile.mkdtemp(prefix="chord-weights-", dir=parent)).absolute()
    except OSError as error:
        raise ValueError(
            f"rollout.server_directory={parent}: must be a directory that can be written to "
            f"({first_line(error)})"
        ) from error
    if parent is not None:
        # The server elsewhere may be another user's.
        made.chmod(0o755)
    return made


def shape_at(path: str) -> dict[str, Any]:
    """Sizes of the model in a directory; none where it is somewhere else."""
    file = Path(path) / "config.json"
    found = read_json(file) if file.is_file() else {}
    return {name: found[name] for name in SHAPE if name in found}
