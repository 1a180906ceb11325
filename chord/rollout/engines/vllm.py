"""Responses from vLLM in this process, which receives the weights directly from memory."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from chord.distributed.collectives import rank, world_size
from chord.errors import ConfigError, first_line
from chord.models.hf.merged import merged_weights
from chord.rollout.engines.base import Draft, Foreign, Request

if TYPE_CHECKING:
    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms

OURS = ("model", "load_format", "skip_tokenizer_init", "logprobs_mode", "generation_config")
"""Arguments of vllm.LLM that are set here."""
ENVIRONMENT = {
    # Weights are passed directly, which needs one address space.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # For the CPU build: gigabytes of keys and values, and no thread bound to a core.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class Vllm(Foreign):
    """`vllm.LLM`; call `start` before anything else."""

    llm: Any = None

    def check(self) -> None:
        """Raise ConfigError if vLLM is not installed, or if given an argument that is set here."""
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "rollout=vllm: vLLM is not installed in this environment; install it, or name a "
                "server of another one as rollout.server=http://HOST:PORT"
            )
        for name, value in self.config.vllm.items():
            if name in OURS:
                raise ConfigError(f"rollout.vllm.{name}={value}: is decided by the configuration")

    def start(self, policy: Policy, *, longest: int) -> None:
        """Build the engine without weights, for sequences of at most `longest` tokens.

        Each of several processes has its own engine. Raises ConfigError if vLLM can't run
        the model.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with tempfile.TemporaryDirectory() as directory:
            self.model.causal(policy).config.save_pretrained(directory)
            arguments: dict[str, Any] = {
                "dtype": dtype_name(policy),
                "max_model_len": min(policy.context, longest),
                "seed": 0,
                "disable_log_stats": True,
            }
            if world_size() > 1:
                # vLLM joins the existing processes, numbered as torchrun numbers them.
                arguments["distributed_executor_backend"] = "external_launcher"
                os.environ.setdefault("RANK", str(rank()))
                os.environ.setdefault("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
            try:
                # Here and below: an optional package.
                import vllm

                self.llm = vllm.LLM(
                    model=directory,
                    load_format="dummy",
                    skip_tokenizer_init=True,
                    logprobs_mode=logprobs_mode(self.config.temperature),
                    generation_config="vllm",
                    **(arguments | self.config.vllm),
                )
            except Exception as error:  # it raises whatever its parts do
                raise ConfigError(
                    f"rollout=vllm: vLLM does not run this model ({first_line(error)})"
                ) from error

    def sync(self, policy: Policy) -> None:
        """Pass the weights to vLLM, adapters merged, and drop what was computed with old ones."""
        weights = merged_weights(self.model.causal(policy))
        # Only this way are the processor-specific layouts of a backend updated.
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        self.llm.reset_prefix_cache()

    def generate(
        self, policy: Policy, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        from vllm import SamplingParams

        config = self.config
        outputs = self.llm.generate(
            [{"prompt_token_ids": request.prompt} for request in requests],
            [
                SamplingParams(
                    seed=request.seed,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    top_k=config.top_k,
                    max_tokens=request.limit,
                    stop_token_ids=sorted(self.tokenizer.stop_ids),
                    ignore_eos=True,
                    logprobs=0,
                    detokenize=False,
                )
                for request in requests
            ],
            use_tqdm=False,
        )
        drafts = []
        for output in outputs:
            (answer,) = output.outputs
            tokens = list(answer.token_ids)
            told = [
                values[token].logprob for values, token in zip(answer.logprobs, tokens, strict=True)
            ]
            drafts.append(Draft(tokens, told, answer.finish_reason == "stop"))
        return drafts

    def close(self) -> None:
        """Release the engine and its memory."""
        self.llm = None


def dtype_name(policy: Policy) -> str:
    """The engine's data type: that of the weights, or float32 if they are in float64."""
    dtype = next(policy.parameters()).dtype
    return "float32" if dtype == torch.float64 else str(dtype).removeprefix("torch.")


def logprobs_mode(temperature: float) -> str:
    """What vLLM reports: at temperature 1, log-probabilities of the untruncated distribution."""
    return "raw_logprobs" if temperature == 1 else "processed_logprobs"
