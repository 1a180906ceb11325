"""The versions of what decides a run's numbers: packages, and what torch's libraries are told."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from chord.config.plugins import versions as plugin_versions

PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "numpy", "safetensors", "wandb")
NAMED_LATER = (
    "transformers", "tokenizers", "peft", "datasets", "reasoning-gym", "math-verify", "sympy",
    "vllm",
)  # fmt: skip
"""Packages of models, data, rewards and engines; the first runs do not say which they had."""
ENVIRONMENT = "environment"
VARIABLES = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""What tells torch's libraries to calculate in another way, as far as a setting does not decide."""


def versions() -> dict[str, str]:
    """Versions of this package, Python, and the packages that decide the numbers.

    And which of `VARIABLES` are set.
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("chord-posttraining", *PACKAGES, *NAMED_LATER):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    return found | {ENVIRONMENT: " ".join(given) or "default"} | plugin_versions()


def equal_versions(theirs: Any, here: Mapping[str, str]) -> bool:
    """Whether a run was made with the versions `here`, as far as one of its time says."""
    since = {name: here[name] for name in (*NAMED_LATER, ENVIRONMENT)}
    return isinstance(theirs, Mapping) and {**since, **theirs} == here
