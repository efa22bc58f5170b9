"""Scoring with shared prefixes: against separate forwards, and against lm-eval's own `HFLM`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
import warnings

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import get_peft_model
from peft import LoraConfig
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import LlamaConfig
from transformers import LlamaForCausalLM
from transformers import MambaConfig
from transformers import MambaForCausalLM
from transformers import MistralConfig
from transformers import MistralForCausalLM
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast

from objectives.errors import UserError
from objectives.scoring import prefix_tree
from objectives.scoring.prefix_forward import log_likelihoods
from objectives.scoring.prefix_forward import plan_for
from objectives.scoring.prefix_forward import takes_trees
from objectives.scoring.prefix_lm import PrefixLM
from objectives.scoring.prefix_tree import Request


SMALL: dict[str, Any] = {
    "vocab_size": 11,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
EXAMPLES = "Name the apple. Count the river. Describe the engine. " * 8
PAIRS = [
    *[
        (f"{EXAMPLES}Sort the song {i}.", f" {n} and a garden")
        for i in range(9)
        for n in "abcdefgh"
    ],
    *[(EXAMPLES, word) for word in ("a", "b", " window", "")][:3],
    ("Name the planet. ", "garden"),  # its last space belongs to the answer
    ("Name the planet.", " garden and teacher"),
    ("Name the planet.", " garden and teacher"),  # twice
    ("Name the planet.", " garden and window"),
    ("", "Name the apple"),  # no context: BOS stands for it
    ("<s>Name the", " apple"),  # with BOS in the text
    ("Because of the apple", " it is so"),  # contexts differ, the answer does not
    ("Because of the river", " it is so"),
    *[("Count " * 200 + "the river.", f" the {'song ' * n}") for n in (1, 2, 9)],  # too long
]
REQUESTS = [Instance("loglikelihood", {}, pair, 0) for pair in PAIRS]


def small_llama(attention: str) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(**SMALL, initializer_range=0.5, attn_implementation=attention)
        model: PreTrainedModel = LlamaForCausalLM(config).eval()
    return model.double()


MODELS = {name: small_llama(name) for name in ("sdpa", "eager")}


@pytest.fixture(params=["base", "adapter"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Path) -> Iterator[Any]:
    """The tiny Llama, in which 384 tokens are about equally likely, or with a random adapter."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    if request.param == "base":
        yield base
    else:
        torch.manual_seed(1)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        with warnings.catch_warnings():  # of peft, on every model of transformers 5
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
            adapted = get_peft_model(base, config)
        yield adapted


def prefix_lm(model: Any, tokenizer: Any, **arguments: Any) -> PrefixLM:
    return PrefixLM(plans={}, pretrained=model, tokenizer=tokenizer, **arguments)


def separately(model: PreTrainedModel, request: Request) -> tuple[float, bool]:
    """One forward for one request, all logits."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([request.tokens])).logits[0]
    chosen = logits[-len(request.targets) :].double().log_softmax(-1)
    targets = torch.tensor(request.targets)
    greedy = bool((chosen.argmax(-1) == targets).all())
    return chosen.gather(1, targets[:, None]).sum().item(), greedy


tokens = st.integers(0, 3)
continuations = st.lists(st.integers(0, 10), min_size=1, max_size=4)
trees = st.lists(
    st.tuples(st.lists(tokens, min_size=1, max_size=9), continuations), min_size=1, max_size=10
)


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(1, 6), st.sampled_from([0, 512]), st.sampled_from(["sdpa", "eager"]))
def test_a_tree_gives_what_separate_forwards_give(
    pairs: list[tuple[list[int], list[int]]], batch: int, forward: int, attention: str
) -> None:
    """In float64 but for the last step: at most 4 logits below 16, and sums of 11 exponentials."""
    model = MODELS[attention]
    requests = [Request(tuple((c + e)[:-1]), tuple(e)) for c, e in pairs]
    with mock.patch.object(prefix_tree, "FORWARD", forward):
        plan = plan_for(model, requests, batch=batch)
    likelihoods = log_likelihoods(model, plan)
    for request, (nats, greedy) in zip(requests, likelihoods, strict=True):
        expected, likeliest = separately(model, request)
        assert nats == pytest.approx(expected, abs=1e-5)
        assert greedy == likeliest


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_likelihoods_are_lm_evals(
    model: Any, tiny_tokenizer: PreTrainedTokenizerFast, batch: int
) -> None:
    """With examples in front, odd contexts, and texts cut from the left at 300 tokens.

    With its cache of logits lm-eval 0.4.13 takes "<s>Name the" + " apple" and "" + "Name the
    apple" for one, and gives the former the log-likelihood of another token.
    """
    arguments = {"tokenizer": tiny_tokenizer, "max_length": 300}
    lm = prefix_lm(model, **arguments, batch_size=batch)
    reference = HFLM(pretrained=model, **arguments, batch_size=8, logits_cache=False)
    expected = reference.loglikelihood(REQUESTS)
    for _ in range(2):  # planned, and by the plan that was kept
        found = lm.loglikelihood(REQUESTS)
        assert [nats for nats, _ in found] == pytest.approx([n for n, _ in expected], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_the_batch_does_not_change_a_likelihood(
    model: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    each = [
        prefix_lm(model, tiny_tokenizer, batch_size=n).loglikelihood(REQUESTS) for n in (1, 3, 32)
    ]
    for other in each[1:]:
        assert [n for n, _ in other] == pytest.approx([n for n, _ in each[0]], abs=1e-5)


def test_greedy_is_not_always_false(tiny_tokenizer: PreTrainedTokenizerFast, model: Any) -> None:
    """The likeliest first token, asked for, is greedy; the next likeliest is not."""
    lm = prefix_lm(model, tiny_tokenizer)
    context = lm.tok_encode("Name the planet.")
    best = model(input_ids=torch.tensor([context])).logits[0, -1].topk(2).indices.tolist()
    found = lm._loglikelihood_tokens([(("", str(token)), context, [token]) for token in best])
    assert [greedy for _, greedy in found] == [True, False]


def test_shared_tokens_are_read_once(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """9 questions of 8 choices behind the same examples, 20 times less than lm-eval reads."""
    model = LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": len(tiny_tokenizer)}))
    read = []
    model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: read.append(inputs[0].numel())
    )
    lm = prefix_lm(model, tiny_tokenizer, batch_size=32)
    lm.loglikelihood(REQUESTS[:72])
    ours = sum(read)
    read.clear()
    HFLM(pretrained=model, tokenizer=tiny_tokenizer, batch_size=32).loglikelihood(REQUESTS[:72])
    assert ours < sum(read) / 20
    examples = len(lm.tok_encode(EXAMPLES.rstrip()))
    question = len(lm.tok_encode(PAIRS[0][0])) - examples
    assert ours <= examples + 9 * (question + 8 * len(lm._encode_pair(*PAIRS[0])[1]))


def test_a_kept_plan_needs_no_tokens(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": len(tiny_tokenizer)}))
    lm = prefix_lm(model, tiny_tokenizer)
    first = lm.loglikelihood(REQUESTS)
    monkeypatch.setattr(HFLM, "tok_encode", None)
    assert lm.loglikelihood(REQUESTS) == first
    with pytest.raises(TypeError):
        lm.loglikelihood(REQUESTS[1:])


def test_a_plan_is_for_one_length(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Texts are cut where the model's length says so, also when the plans are shared."""
    model = LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": len(tiny_tokenizer)}))
    arguments: dict[str, Any] = {"pretrained": model, "tokenizer": tiny_tokenizer, "plans": {}}
    long = PrefixLM(**arguments, max_length=300).loglikelihood(REQUESTS[:8])
    short = PrefixLM(**arguments, max_length=40).loglikelihood(REQUESTS[:8])
    assert short != long
    assert short == prefix_lm(model, tiny_tokenizer, max_length=40).loglikelihood(REQUESTS[:8])


def test_long_texts_are_scored_as_lm_eval_does(
    model: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = [Instance("loglikelihood_rolling", {}, (EXAMPLES * n,), 0) for n in (1, 2)]
    arguments = {"tokenizer": tiny_tokenizer, "max_length": 64}
    expected = HFLM(pretrained=model, **arguments).loglikelihood_rolling(texts, True)
    assert prefix_lm(model, **arguments).loglikelihood_rolling(texts, True) == expected


def test_a_model_that_takes_no_tree_is_scored_as_lm_eval_does(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Layers that see eight tokens back would see eight nodes back, and not eight ancestors."""
    config = {**SMALL, "vocab_size": len(tiny_tokenizer), "sliding_window": 8}
    model = MistralForCausalLM(MistralConfig(**config))
    assert not takes_trees(model)
    expected = HFLM(pretrained=model, tokenizer=tiny_tokenizer).loglikelihood(REQUESTS)
    assert prefix_lm(model, tiny_tokenizer).loglikelihood(REQUESTS) == expected


def test_which_models_take_trees(model: Any) -> None:
    assert takes_trees(model)
    assert takes_trees(MODELS["eager"])
    model.config._attn_implementation = "flash_attention_2"
    assert not takes_trees(model)
    assert not takes_trees(MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1)))


@pytest.mark.parametrize("n", [0, 5])
def test_a_choice_of_no_or_too_many_tokens_is_named(
    tiny_tokenizer: PreTrainedTokenizerFast, n: int
) -> None:
    lm = prefix_lm(MODELS["sdpa"], tiny_tokenizer, max_length=4)
    with pytest.raises(UserError, match=f"has {n} tokens: .* no more than the 4 that the model"):
        lm._loglikelihood_tokens([(("a", "b"), [1, 5], [1] * n)])
