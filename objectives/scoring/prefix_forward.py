"""Log-likelihoods of requests under a model, every shared token computed once; no lm-eval.

The mask of a row lets each token see the group's prefix and its own ancestors, and its position is
the one it has in its request: so a token's logits are those of a forward of that request alone, to
float rounding. `lm_head` runs at the positions that predict a target and nowhere else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Sequence
import inspect
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch import Tensor
from transformers import DynamicCache

from objectives.scoring.output_head import head_at
from objectives.scoring.prefix_tree import Group
from objectives.scoring.prefix_tree import make_plan
from objectives.scoring.prefix_tree import Plan
from objectives.scoring.prefix_tree import Request
from objectives.scoring.prefix_tree import Row


__all__ = ["Likelihood", "log_likelihoods", "plan_for", "takes_trees"]

Likelihood = tuple[float, bool]
"""Nats; whether every target is the likeliest token."""
KeysAndValues = list[tuple[Tensor, Tensor]]
"""Per layer, each (1, heads, tokens, width of a head)."""

CPU_BATCH = 2048  # tokens; larger batches leave a CPU's cache and took up to 1.8 times as long


def takes_trees(model: Any) -> bool:
    """Whether tokens can be laid out as a tree for this model.

    It must use a mask of its callers' making (flash-attention takes none), read positions from
    `position_ids`, and carry nothing but full attention from token to token.

    Args:
        model: A causal language model of transformers, with or without an adapter.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.get_text_config()
    return (
        config._attn_implementation in ("sdpa", "eager")
        and "position_ids" in inspect.signature(base.forward).parameters
        and not base._is_stateful
        and not getattr(config, "alibi", False)
        and getattr(config, "sliding_window", None) is None
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    )


def plan_for(model: Any, requests: Sequence[Request], *, batch: int) -> Plan:
    """The plan by which `log_likelihoods` scores requests; good for all adapters on one base.

    Args:
        model: One that `takes_trees`.
        requests: Each with at least one target and one token of context.
        batch: A forward takes no more tokens than this many of the longest request.
    """
    limit = batch * max((len(request.tokens) for request in requests), default=0)
    return make_plan(
        requests,
        width=_text_config(model).hidden_size,
        row=limit,
        batch=min(limit, CPU_BATCH) if model.device.type == "cpu" else limit,
    )


@torch.no_grad()
def log_likelihoods(model: nn.Module, plan: Plan) -> list[Likelihood]:
    """Log-likelihoods of the plan's requests, in their order.

    The same to float rounding however the plan packs them.

    Args:
        model: In evaluation mode; with an adapter or without one.
        plan: From `plan_for`.
    """
    result: dict[int, Likelihood] = {}
    for group in plan.groups:
        prefix = _prefix(model, group)
        for batch in group.batches:
            result.update(_score(model, batch, prefix))
    return [result[number] for number in plan.numbers]


def _text_config(model: Any) -> Any:
    return model.config.get_text_config()


def _prefix(model: Any, group: Group) -> KeysAndValues:
    """Keys and values of the group's prefix."""
    if not group.prefix:
        return []
    tokens = torch.tensor([group.prefix], device=model.device)
    cache = DynamicCache()
    model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in cache.layers]


def _score(
    model: Any, batch: Sequence[Row], prefix: KeysAndValues
) -> Iterable[tuple[int, Likelihood]]:
    """One forward: numbers of the batch's requests, and their log-likelihoods."""
    numbers, sizes = zip(*chain.from_iterable(row.requests for row in batch), strict=True)
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    logits, nodes = _asked_logits(model, batch, prefix)
    targets = torch.tensor([*chain.from_iterable(row.targets for row in batch)])
    targets = targets.to(logits.device)
    nats = (logits[nodes, targets] - logits.logsumexp(-1)[nodes]).double().cpu()
    missed = (logits.argmax(-1)[nodes] != targets).double().cpu()
    zeros = torch.zeros(len(sizes), dtype=torch.float64)
    sums = zeros.index_add(0, owner, nats).tolist()
    greedy = (zeros.index_add(0, owner, missed) == 0).tolist()
    return zip(numbers, zip(sums, greedy, strict=True), strict=True)


def _asked_logits(
    model: Any, batch: Sequence[Row], prefix: KeysAndValues
) -> tuple[Tensor, Tensor]:
    """Logits, (positions asked, vocabulary), float32; each target's index in them."""
    longest = len(batch[0].tokens)  # rows come longest first
    flat = [i * longest + node for i, row in enumerate(batch) for node in row.asked]
    is_asked = torch.zeros(len(batch) * longest, dtype=torch.bool)
    is_asked[flat] = True
    index = (is_asked.cumsum(0) - 1)[flat]
    mask = _mask(model, _padded([row.ends for row in batch]), prefix)
    with head_at(model, is_asked.nonzero().flatten()):
        logits = model(
            input_ids=_padded([row.tokens for row in batch]).to(model.device),
            position_ids=_padded([row.positions for row in batch]).to(model.device),
            attention_mask=mask,
            past_key_values=_expanded(prefix, len(batch)),
            use_cache=bool(prefix),
        ).logits
    return logits.float(), index.to(logits.device)


def _padded(rows: Sequence[array[int]]) -> Tensor:
    """(rows, tokens), filled with 0 at the end of short ones."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _expanded(prefix: KeysAndValues, n: int) -> DynamicCache | None:
    """A cache of the prefix for each of `n` rows; a forward adds to it, never to the prefix."""
    if not prefix:
        return None
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefix):
        cache.update(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), layer)
    return cache


def _mask(model: Any, ends: Tensor, prefix: KeysAndValues) -> Tensor:
    """Which tokens each token sees: (rows, 1, tokens, prefix + tokens).

    Node j is node i or above it if j <= i < ends[j]. Padding (end 0) sees itself alone, for a
    softmax over nothing is not a number.
    """
    ends = ends.to(model.device)
    node = torch.arange(ends.shape[1], device=model.device)
    above = (node[None, None, :] <= node[None, :, None]) & (node[None, :, None] < ends[:, None, :])
    seen = above | (node[None, None, :] == node[None, :, None])
    if prefix:
        seen = nn.functional.pad(seen, (prefix[0][0].shape[-2], 0), value=True)
    seen = seen[:, None]
    if _text_config(model)._attn_implementation == "sdpa":
        return seen
    least = torch.finfo(model.dtype).min
    return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill(~seen, least)
