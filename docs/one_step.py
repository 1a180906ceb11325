"""One CHORD step in plain PyTorch, from the shipped base to the optimizer: python docs/one_step.py

It is the first step of `python -m chord.train weighting=phi`, built from chord's public functions,
without Lightning and Hydra, in one process. A test compares its gradient with that of chord's own
step.

Sizes: P problems, K responses to each, B rows, L tokens in the longest row, V in the vocabulary.
"""

import torch
from torch import Tensor

from chord import (
    Advantage,
    Grpo,
    Phi,
    WarmupDecay,
    aggregate,
    denominator,
    mix,
    sft_loss,
    token_stats,
)
from chord.data.batch import TokenBatch, collate, collate_pairs
from chord.data.testbed import Testbed, TestbedConfig
from chord.models.policy import Policy
from chord.models.tiny import Tiny
from chord.rewards import Verifier
from chord.rollout import draw_uniforms, sample

STEPS, SEED = 120, 0
P, K, LONGEST, PAIRS = 24, 8, 48, 32

schedule = WarmupDecay(peak=0.9, valley=0.05, warmup=0.0, decay=2 / 15, total_steps=STEPS)
weighting, objective, advantage, verifier = Phi(), Grpo(), Advantage(), Verifier()


def logits_of(policy: Policy, batch: TokenBatch) -> Tensor:
    """Logits (B, L - 1, V): those at a position predict the token that follows it."""
    return policy.head(policy.hidden(batch.input_ids[:, :-1], batch.attention_mask[:, :-1]))


def sft_branch(policy: Policy, data: Testbed, step: int) -> Tensor:
    """The expert's responses, imitated token by token."""
    batch = collate_pairs(data.pairs(step, SEED, PAIRS), data.tokenizer)
    # `targets` (B, L - 1) are the tokens to predict; `mask` marks those of responses.
    stats = token_stats(logits_of(policy, batch), batch.targets)
    # phi weighs each expert token by p (1 - p), without gradient.
    weights = weighting(stats, batch.mask)
    # Divided by the number of expert tokens in the step, not by the sum of the weights.
    return sft_loss(stats.logprobs, weights, batch.mask, total=denominator(batch.mask))


def rl_branch(policy: Policy, data: Testbed, step: int) -> Tensor:
    """The policy's own responses, made likelier if they score above others to the same problem."""
    problems, tokenizer = data.problems(step, SEED, P), data.tokenizer
    prompts = [tokenizer.prompt(problem) for problem in problems]
    # Random numbers (P * K, LONGEST), determined by seed, step and problem.
    keys = [problem.key for problem in problems]
    uniforms = draw_uniforms(SEED, step, keys=keys, group_size=K, max_new_tokens=LONGEST)
    rollouts = sample(
        policy,
        prompts,
        group_size=K,
        max_new_tokens=LONGEST,
        stop_ids=tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
        uniforms=uniforms,
    )
    # A response that was cut off before its end token scores 0.
    scores = [
        verifier.score(problems[row // K], tokenizer.decode(tokens) if finished else "")
        for row, (tokens, finished) in enumerate(
            zip(rollouts.responses, rollouts.finished, strict=True)
        )
    ]
    # Each response is compared with its group (P, K); then one advantage per row (B = P * K).
    advantages = advantage(torch.tensor(scores, dtype=torch.float64).reshape(P, K)).flatten()
    batch = collate(
        [prompt for prompt in prompts for _ in range(K)],
        rollouts.responses,
        pad_id=tokenizer.pad_id,
    )
    logprobs = token_stats(logits_of(policy, batch), batch.targets).logprobs
    # This is the first update on these responses, so the ratio is 1.
    losses, _ = objective.token_losses(logprobs, logprobs.detach(), advantages, batch.mask)
    # Divided by the number of tokens that were sampled in the step.
    return aggregate(losses, batch.mask, total=denominator(batch.mask))


def add_gradient(policy: Policy, data: Testbed, step: int) -> tuple[float, float, float]:
    """Add the gradient of alpha * SFT + (1 - alpha) * RL; returns alpha and both losses."""
    alpha = schedule(step)
    sft, rl = sft_branch(policy, data, step), rl_branch(policy, data, step)
    mix(alpha, sft, rl).backward()
    return alpha, sft.item(), rl.item()


def main() -> None:
    """Load the base, take one step, print what happened."""
    torch.manual_seed(SEED)
    model, data = Tiny(path=None, pretraining_seed=0), TestbedConfig().build()
    policy = model.build().eval()  # no dropout: rollouts and ratios must see one policy
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0)
    alpha, sft, rl = add_gradient(policy, data, step=0)
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    print(f"alpha {alpha:.3f}  sft {sft:.4f}  rl {rl:+.4f}  gradient norm {norm:.4f}")


if __name__ == "__main__":
    main()
