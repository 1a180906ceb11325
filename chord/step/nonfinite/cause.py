"""Where the first non-finite number of a train step appears: branch, tensor, row.

The step is repeated one row at a time, from the present rows and weights. None of this is computed
in a step with a finite gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from chord.data.batch import TokenBatch, micro_batches
from chord.models.models import Models
from chord.models.scoring import score
from chord.models.sharing import policy_batches
from chord.rollout.rows import RolloutRows
from chord.step.nonfinite.saved import SavedStep
from chord.step.rl import add_rl_gradient
from chord.step.rows import OffPolicy, TokenLog
from chord.step.sft import add_sft_gradient

if TYPE_CHECKING:
    from chord.config.root import TrainConfig

Backward = Callable[[Tensor], None]
SFT, RL = "SFT", "RL"
LARGE = 1e6
"""No working model has a weight this large."""
INPUTS = {
    "advantages": "the advantage",
    "old_logprobs": "the log-probability before the first update",
    "sampler_logprobs": "the log-probability at sampling",
    "correction": "the correction",
    "share": "the row's share",
    "signal": "the signal",
}


@dataclass
class RowTrace:
    """A row of a branch: its tokens, loss and gradient norm, and what is wrong, if anything.

    `norm` is None if no gradient was computed.
    """

    branch: str
    row: int
    tokens: int
    loss: float
    norm: float | None
    wrong: str = ""


def find_cause(
    models: Models, config: TrainConfig, step: SavedStep, *, gradients: bool = True
) -> tuple[str, list[RowTrace]]:
    """A short description of what becomes non-finite first, and the numbers of every row.

    Checked in this order: the models' weights, the rows' inputs, log-probabilities, token weights,
    each row's loss, its gradient, the sum of the gradients, their norm. `gradients`: whether
    gradients can be computed here. The trained parameters' gradients are overwritten.
    """
    for who, model in (
        ("policy", models.policy), ("teacher", models.teacher), ("reference", models.reference)
    ):  # fmt: skip
        if model is not None and (wrong := bad_weight(model)):
            return f"the {who}'s weight {wrong}", []
    large = large_weight(models.policy)
    for branch, rows in ((SFT, step.sft), (RL, step.rl)):
        if rows is not None and (wrong := _bad_input(rows)):
            return f"{branch} branch, {wrong}{large}", []
    traces = list(_traces(models, config, step, gradients=gradients))
    found = next((trace for trace in traces if trace.wrong), None)
    if found is not None:
        return f"{found.branch} branch, row {found.row}: {found.wrong}{large}", traces
    norms = [trace.norm for trace in traces if trace.norm is not None]
    if not norms:
        return "the loss of each row is finite, but a gradient is not", traces
    kind = str(models.dtype).removeprefix("torch.")
    return (
        "the gradient of each row is finite, but their sum or its norm is not (the largest of a "
        f"row is {max(norms):.3g}): too large for {kind}",
        traces,
    )


def bad_weight(model: nn.Module) -> str:
    """The first weight that is not finite: `layers.0.w (3 of 64 numbers are not finite)`."""
    for name, tensor in model.state_dict().items():
        count = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if count:
            return f"{name} ({count} of {tensor.numel()} numbers are not finite)"
    return ""


def large_weight(model: nn.Module) -> str:
    """The largest weight, if it is so large that products of weights can overflow."""
    sizes = {
        name: float(tensor.detach().abs().max())
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and tensor.numel()
    }
    name = max(sizes, key=lambda each: sizes[each], default="")
    if not name or sizes[name] < LARGE:
        return ""
    return f"; the policy's weight {name} has grown to {sizes[name]:.3g}: try a lower optimizer.lr"


def bad_state(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> str:
    """The first non-finite number in an optimizer's state; `names` are keyed by parameter id."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
                return f"{name} of {names.get(id(parameter), '?')}"
    return ""


def _bad_input(rows: Any) -> str:
    """The first non-finite input of the rows: advantages, old log-probabilities, shares, ..."""
    for name, said in INPUTS.items():
        values = getattr(rows, name, None)
        if values is None:
            continue
        per_token = values.dim() == 2
        counts = rows.tokens.mask if per_token else torch.ones_like(values, dtype=torch.bool)
        places = (~torch.isfinite(values) & counts).nonzero().tolist()
        if places:
            row, *column = places[0]
            token = f" of token {_token(rows.tokens, row, column[0])}" if column else ""
            return f"row {row}: {said}{token} is {float(values[tuple(places[0])]):g}"
    teacher = getattr(rows, "teacher", None)
    if teacher is not None and bool(teacher.logprobs.isnan().any()):
        row = int(teacher.logprobs.isnan().flatten(1).any(dim=1).nonzero()[0])
        return f"row {row}: the cached teacher's log-probabilities are not finite"
    return ""


def _token(tokens: TokenBatch, row: int, column: int) -> int:
    """The index of a column among its row's response tokens."""
    return int(tokens.mask[row, :column].sum())


def _traces(
    models: Models, config: TrainConfig, step: SavedStep, *, gradients: bool
) -> Iterator[RowTrace]:
    with _gradients(models.policy, gradients):
        if step.sft is not None:
            sft = step.sft
            yield from _branch(
                models, SFT, sft.tokens, list(micro_batches(sft.tokens, 1)), gradients,
                lambda backward: add_sft_gradient(
                    models, sft, config.weighting, share=step.shares[0], target=config.target,
                    micro_batch=1, backward=backward,
                ),
            )  # fmt: skip
        if step.rl is not None:
            yield from _rl(models, config, step, step.rl, gradients)


def _rl(
    models: Models, config: TrainConfig, step: SavedStep, rows: RolloutRows, gradients: bool
) -> Iterator[RowTrace]:
    rollout = config.rollout
    # In the branch's order: masked responses were removed before.
    kept = torch.arange(rows.tokens.mask.shape[0])
    if config.objective.overlong != "keep" and rows.finished is not None:
        kept = rows.finished.nonzero().squeeze(1).cpu()
    counted = rows.select(kept.to(rows.advantages.device))
    counted = counted.own() if rollout.off_policy_loss == "none" else counted
    order = [kept[index.cpu()] for index in policy_batches(models.policy, counted.tokens, 1)]
    yield from _branch(
        models, RL, rows.tokens, order, gradients,
        lambda backward: add_rl_gradient(
            models, rows, config.objective, config.weighting, share=step.shares[1],
            temperature=rollout.temperature, max_length=rollout.max_new_tokens,
            off_policy=OffPolicy(
                loss=rollout.off_policy_loss, coef=rollout.prefix_coef,
                weighting=config.off_policy,
            ),
            micro_batch=1, backward=backward, skip_idle=False,
        ),
    )  # fmt: skip


def _branch(
    models: Models,
    name: str,
    tokens: TokenBatch,
    order: Sequence[Tensor],
    gradients: bool,
    add: Callable[[Backward], TokenLog],
) -> list[RowTrace]:
    """Every row of a branch, in order; `add` calls back once for each of `order`."""
    losses: list[tuple[float, float | None, str]] = []

    def backward(loss: Tensor) -> None:
        norm, wrong = None, ""
        if gradients:
            for parameter in models.policy.parameters():
                parameter.grad = None
            loss.backward()
            norm, wrong = _norm(models.policy)
        losses.append((float(loss.detach()), norm, wrong))

    seen = add(backward)
    traces = []
    for at, (index, (loss, norm, gradient)) in enumerate(zip(order, losses, strict=True)):
        if not len(index):
            continue
        row = int(index[0])
        wrong = (
            _bad_logprobs(models, tokens, row)
            or _bad(seen.weights, at, "the weight")
            or _bad(seen.off_weights, at, "the off-policy weight")
            or _bad(seen.kl, at, "the KL")
            or ("" if math.isfinite(loss) else f"the loss is {loss:g}")
            or (gradient and f"the loss is {loss:g}, its gradient at {gradient} is not finite")
        )
        count = int(tokens.mask[row].sum())
        traces.append(RowTrace(name, row, count, loss, norm, wrong))
    return sorted(traces, key=lambda trace: trace.row)


def _norm(policy: nn.Module) -> tuple[float, str]:
    """The gradient's norm in float64, and the first weight whose gradient is not finite."""
    square = 0.0
    for name, parameter in policy.named_parameters():
        if parameter.grad is None:
            continue
        if not bool(torch.isfinite(parameter.grad).all()):
            return math.nan, name
        square += float(parameter.grad.double().square().sum())
    return math.sqrt(square), ""


def _bad(parts: Sequence[Tensor], at: int, what: str) -> str:
    values = parts[at] if at < len(parts) else None
    if values is None or bool(torch.isfinite(values).all()):
        return ""
    token = int((~torch.isfinite(values)).nonzero()[0])
    return f"{what} of token {token} is {float(values[token]):g}"


@torch.no_grad()
def _bad_logprobs(models: Models, tokens: TokenBatch, row: int) -> str:
    """The model whose log-probability of a token of this row is not finite, if there is one."""
    batch = tokens.select(slice(row, row + 1))
    for who, model in (
        ("policy", models.policy), ("teacher", models.teacher), ("reference", models.reference)
    ):  # fmt: skip
        if model is None:
            continue
        found = score(model, batch).logprobs(batch.targets[batch.mask])
        if wrong := _bad([found], 0, f"the {who}'s log-probability"):
            return wrong
    return ""


@contextmanager
def _gradients(policy: nn.Module, wanted: bool) -> Iterator[None]:
    with torch.set_grad_enabled(wanted):
        yield
    for parameter in policy.parameters():
        if wanted and parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
