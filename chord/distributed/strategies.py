"""Strategies for several processes: each has the whole policy, or a shard of it.

Both are Lightning strategies; Lightning starts the processes and assigns their devices. The train
step reduces the gradients itself, so it is the same step with either strategy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn

from chord.distributed.collectives import all_sum, rank, world_size

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule


_BUCKET = 2**25
"""How many elements of the gradient are sent at once."""


class Replicated(DDPStrategy):
    """Each process has the whole policy, without a wrapper.

    DistributedDataParallel would store every gradient twice.
    """

    def configure_ddp(self) -> None:
        """Copy the weights of the first process to all others."""
        assert self.model is not None
        for tensor in self.model.state_dict().values():
            dist.broadcast(tensor, 0)


class Sharded(ModelParallelStrategy):
    """Each process has a shard of the weights, gradients and optimizer states (FSDP2).

    The first process gathers and writes checkpoints, which look like those of a single process.
    Weights are loaded before they are sharded; only the optimizer state is loaded afterwards.
    """

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Let Lightning restore the optimizer from the whole checkpoint."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole weights, on the first process only."""
        assert self.model is not None
        state: dict[str, Any] = _together(self.model.state_dict())
        return state

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Return the whole optimizer state, on the first process only."""
        state: dict[str, Any] = _together(getattr(optimizer, "_optimizer", optimizer).state_dict())
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shard of the optimizer state."""
        # Here and below: only sharded models need it.
        from torch.distributed.tensor import distribute_tensor

        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                number: {
                    name: distribute_tensor(
                        value.to(parameters[number].device),
                        parameters[number].device_mesh,
                        parameters[number].placements,
                    )
                    if isinstance(value, Tensor) and value.shape == parameters[number].shape
                    else value
                    for name, value in values.items()
                }
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load the file as it is."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only=weights_only)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Write one file, from the first process."""
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options=storage_options)


def shard(policy: nn.Module, layers: Sequence[nn.Module], mesh: DeviceMesh) -> None:
    """Shard the `layers` of a policy and the modules around them, in place.

    Outside `whole`, all ranks must run the policy equally often.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    for method in ("hidden", "hidden_shared", "hidden_packed"):
        register_fsdp_forward_method(policy, method)
    for part in shards(policy):
        # Gloo cannot average.
        part.set_force_sum_reduction_for_comms(mesh.device_type == "cpu")


def shards(policy: nn.Module) -> list[FSDPModule]:
    """Return the sharded modules of a policy; empty if it is not sharded."""
    if world_size() == 1:
        return []
    from torch.distributed.fsdp import FSDPModule

    return [part for part in policy.modules() if isinstance(part, FSDPModule)]


@contextmanager
def whole(policy: nn.Module) -> Iterator[None]:
    """Gather all weights on each rank, which may then run the policy as often as it likes.

    Only for use without gradients. All ranks must enter and leave together.
    """
    parts: Sequence[Any] = shards(policy)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(part is not policy, recurse=False)
            part.reshard()


def whole_weights(policy: nn.Module) -> dict[str, Tensor]:
    """Return the whole weights of a sharded policy on every rank, in main memory."""
    return {name: _whole(value).cpu() for name, value in policy.state_dict().items()}


def free(policy: nn.Module) -> None:
    """Free the memory of shards and their gradients, even if something still refers to them."""
    for parameter in policy.parameters():
        parameter.grad = None
        local(parameter.detach()).untyped_storage().resize_(0)


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part of a sharded tensor; return any other tensor as it is."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks; sharded gradients already are means.

    Averaging twice does no harm.
    """
    found = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or any(hasattr(gradient, "to_local") for gradient in found):
        return
    for bucket in _buckets(found):
        joint = torch.cat([gradient.flatten() for gradient in bucket])
        joint = all_sum(joint) / world_size()
        sizes = [gradient.numel() for gradient in bucket]
        for gradient, mean in zip(bucket, joint.split(sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of the gradient; for shards, the sum of squares covers all ranks."""
    found = [p.grad for p in parameters if p.grad is not None]
    if not any(hasattr(gradient, "to_local") for gradient in found):
        return torch.nn.utils.get_total_norm(found)
    parts = [local(gradient) for gradient in found]
    squares = torch.stack([part.double().square().sum() for part in parts]).sum()
    return all_sum(squares).sqrt()


def scale_gradients(parameters: Sequence[nn.Parameter], limit: float, norm: Tensor) -> None:
    """Scale the gradient, whose `norm` is finite, so that its norm is at most `limit`."""
    found = [p.grad for p in parameters if p.grad is not None]
    if not any(hasattr(gradient, "to_local") for gradient in found):
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return
    for part in (local(gradient) for gradient in found):
        part.mul_((limit / (norm + 1e-6)).clamp(max=1.0))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups of gradients with the same dtype that are sent together."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(each.numel() for each in bucket) + gradient.numel() > _BUCKET
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def _together(state: Any) -> Any:
    """A state with its sharded tensors gathered on the first rank; empty on the others."""
    if isinstance(state, dict):
        values = {name: _together(value) for name, value in state.items()}
        return values if rank() == 0 else {}
    if isinstance(state, Tensor):
        value = _whole(state)
        return value.cpu() if rank() == 0 else None
    return state


def _whole(tensor: Tensor) -> Tensor:
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach()
