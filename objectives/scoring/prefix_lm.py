"""lm-eval's Hugging Face model with log-likelihoods that compute a shared prefix once.

Tokens, truncation and every other kind of request are lm-eval's own (lm_eval 0.4.13, `HFLM`).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import MutableMapping
from collections.abc import Sequence
import hashlib
from typing import Any

from lm_eval.models.huggingface import HFLM

from objectives.errors import UserError
from objectives.scoring.prefix_forward import Likelihood
from objectives.scoring.prefix_forward import log_likelihoods
from objectives.scoring.prefix_forward import plan_for
from objectives.scoring.prefix_forward import takes_trees
from objectives.scoring.prefix_tree import Plan
from objectives.scoring.prefix_tree import Request


__all__ = ["Plans", "PrefixLM"]

Texts = tuple[str, str]  # context, continuation
Encoded = tuple[Texts, list[int], list[int]]  # and the tokens of either
Plans = MutableMapping[bytes, Plan]


class PrefixLM(HFLM):  # type: ignore[misc]
    """`HFLM`, with its arguments; models that take no tree of tokens are scored as it does.

    Args:
        plans: Of requests met before, by digest; grows. Tokenising takes longer than a small
            model's forwards, so keep it for as long as tokenizer and base are the same.
    """

    def __init__(self, *, plans: Plans, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._plans = plans

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[Likelihood]:
        plan = self._plans.get(self._digest(request.args for request in requests))
        if plan is not None and takes_trees(self.model):
            return log_likelihoods(self.model, plan)
        # tokenises and comes back below
        result: list[Likelihood] = super().loglikelihood(requests, disable_tqdm)
        return result

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Encoded],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Likelihood]:
        rolling = override_bs is not None  # windows of one long text share nothing
        if rolling or not takes_trees(self.model):
            plain: list[Likelihood] = super()._loglikelihood_tokens(
                requests, disable_tqdm, override_bs
            )
            return plain
        asked = [_request(tokens, targets, self.max_length) for _, tokens, targets in requests]
        plan = plan_for(self.model, asked, batch=self.batch_size)
        self._plans[self._digest(texts for texts, _, _ in requests)] = plan
        return log_likelihoods(self.model, plan)

    def _digest(self, requests: Iterable[Texts]) -> bytes:
        """Of all that a plan depends on, but tokenizer and base."""
        hasher = hashlib.sha256(repr((self.max_length, self.batch_size)).encode())
        for texts in requests:
            hasher.update(repr(texts).encode())
        return hasher.digest()


def _request(context: list[int], continuation: list[int], max_length: int) -> Request:
    """What is too long loses its first tokens; the last token is predicted and never read."""
    if not 0 < len(continuation) <= max_length:
        raise UserError(
            f"a choice of the task has {len(continuation)} tokens: there must be one, and no more "
            f"than the {max_length} that the model takes; leave such questions out of the task"
        )
    whole = (context + continuation)[-(max_length + 1) :]
    return Request(tuple(whole[:-1]), tuple(continuation))
