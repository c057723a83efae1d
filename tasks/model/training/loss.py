"""Losses over rows: likelihood of what is learnt, and distance from the base model where it is to stay as it was.

Logits are computed at the learnt places only: with a vocabulary of tens of thousands they cost as much as the layers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.model.training.packing import PackedRow, attention_mask

if TYPE_CHECKING:
    import torch

NUM_KEPT_TOKENS = 64
"""Likeliest tokens of the base model that an anchor remembers; the rest counts as one."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the base model says of a row.

    Attributes:
        tokens: (num_learnt, NUM_KEPT_TOKENS) its likeliest next tokens.
        log_probs: (num_learnt, NUM_KEPT_TOKENS + 1) of those, and of all others together.
    """

    row: PackedRow
    tokens: "torch.Tensor"
    log_probs: "torch.Tensor"


def kept_logits(network: Any, row: PackedRow) -> "torch.Tensor":
    """Return logits (num_learnt, vocabulary) in float32 for the learnt tokens of a row."""
    import torch

    parameter = next(network.parameters())
    device = parameter.device
    output = network(
        input_ids=torch.from_numpy(row.tokens)[None].to(device),
        attention_mask=attention_mask(row, parameter.dtype, device),
        position_ids=torch.from_numpy(row.positions)[None].to(device),
        logits_to_keep=torch.from_numpy(row.kept).to(device),
        use_cache=False,
    )
    logits: torch.Tensor = output.logits[0].float()
    return logits


def log_likelihood(network: Any, row: PackedRow) -> "torch.Tensor":
    """Return log-probability (num_learnt,) of each learnt token."""
    import torch

    logits = kept_logits(network, row)
    targets = torch.from_numpy(row.targets).to(logits.device)
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def anchor(network: Any, row: PackedRow) -> Anchor:
    """Remember what the network says of a row."""
    import torch

    with torch.no_grad():
        log_probs = kept_logits(network, row).log_softmax(dim=-1)
    top = log_probs.topk(min(NUM_KEPT_TOKENS, log_probs.shape[-1] - 1), dim=-1)
    return Anchor(row, top.indices, _with_rest(top.values))


def divergence(network: Any, kept: Anchor) -> "torch.Tensor":
    """Return Kullback-Leibler divergence (num_learnt,) of the network from what the base model said, in nats."""
    log_probs = kept_logits(network, kept.row).log_softmax(dim=-1).gather(-1, kept.tokens)
    return (kept.log_probs.exp() * (kept.log_probs - _with_rest(log_probs))).sum(dim=-1)


def _with_rest(log_probs: "torch.Tensor") -> "torch.Tensor":
    import torch

    rest = (1 - log_probs.exp().sum(dim=-1, keepdim=True)).clamp(min=1e-6).log()
    return torch.cat([log_probs, rest], dim=-1)
