"""Any metric of lm-eval's as objective: against sums written here, with its direction."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rounding import LOSS
import torch
from transformers import AutoModelForCausalLM
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast

from objectives.errors import UserError
from objectives.scoring.score import Scorer
from objectives.settings.sections.scoring import ScoringSettings


TEXTS = ["Name the river.", "Count the apple and the song.", "Sort the window."]
FILE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: rows.jsonl}}}}
test_split: test
{body}
"""
PAGES = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
ANSWERS = """
output_type: generate_until
generation_kwargs: {until: ["."], max_gen_toks: 3}
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
"""
MATCHES = f"""{ANSWERS}
metric_list: [{{metric: exact_match}}]
filter_list:
  - {{name: whole, filter: [{{function: take_first}}]}}
  - {{name: letter, filter: [{{function: regex, regex_pattern: "(.)"}}, {{function: take_first}}]}}
"""
OWN = f"""{ANSWERS}
metric_list: [{{metric: !function own.overlap, aggregation: mean, higher_is_better: true}}]
"""
SILENT = f"""{ANSWERS}
metric_list: [{{metric: !function own.overlap, aggregation: mean}}]
"""
TWO = """
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: [" river", " song"]
doc_to_target: "{{gold}}"
target_delimiter: ""
metric_list: [{metric: f1}, {metric: acc}, {metric: brier_score}]
"""
OVERLAP = """
def overlap(references, predictions, **_):
    letters = set(predictions[0])
    return {"overlap@1": len(letters & set(references[0])) / max(1, len(letters))}
"""


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    return loaded.eval()


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """Tasks on three texts; the answer of the first is what the model says."""
    folder = tmp_path_factory.mktemp("metrics")
    answers = [said(model, tiny_tokenizer, TEXTS[0]), "river", "song"]
    rows = [
        {"text": text, "answer": answer, "gold": i % 2}
        for i, (text, answer) in enumerate(zip(TEXTS, answers, strict=True))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.py").write_text(OVERLAP)
    bodies = {"pages": PAGES, "matches": MATCHES, "own": OWN, "silent": SILENT, "two": TWO}
    for name, body in bodies.items():
        (folder / f"{name}.yaml").write_text(FILE.format(name=name, body=body))
    return folder


def said(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """Greedy, three tokens, cut at a full stop, without the white space around."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    answer = model.generate(input_ids=ids, max_new_tokens=3, do_sample=False)[0, ids.shape[1] :]
    return str(tokenizer.decode(answer, skip_special_tokens=True)).split(".")[0].strip()


def scorer(
    folder: Path, tokenizer: PreTrainedTokenizerFast, task: str, metric: str, **more: object
) -> Scorer:
    settings = ScoringSettings.model_validate(
        {"objective": task, "metric": metric, "tasks": str(folder), **more}
    )
    return Scorer.load(settings, tokenizer, [task])


def test_perplexity_of_whole_texts(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    nats = 0.0
    for text in TEXTS:
        bos = tiny_tokenizer.bos_token_id  # lm-eval puts one before what the tokenizer gives
        ids = torch.tensor([[bos, *tiny_tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0].double().log_softmax(-1)
        nats -= logs[:-1].gather(1, ids[0, 1:, None]).sum().item()
    words = sum(len(text.split()) for text in TEXTS)
    pages = scorer(folder, tiny_tokenizer, "pages", "word_perplexity")
    found = pages.score(model, "pages")
    # the relative error of exp(x) is the error of x
    assert math.log(found.value) == pytest.approx(nats / words, rel=LOSS)
    assert math.isnan(found.stderr) and pages.direction("pages") == "minimize"


def test_exact_match_of_answers_behind_the_filter_that_is_named(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    matches = scorer(folder, tiny_tokenizer, "matches", "exact_match")
    found = matches.score(model, "matches")
    assert (found.value, found.metric) == (pytest.approx(1 / 3), "exact_match (whole)")
    letters = scorer(folder, tiny_tokenizer, "matches", "exact_match,letter")
    assert letters.score(model, "matches").metric == "exact_match (letter)"
    assert letters.direction("matches") == "maximize"
    with pytest.raises(UserError, match="has no filter 'word'; choose one of whole, letter"):
        scorer(folder, tiny_tokenizer, "matches", "exact_match,word")


def test_a_test_task_without_the_filter_is_scored_by_its_first(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    settings = ScoringSettings(metric="exact_match,none", test=["matches"], tasks=str(folder))
    found = Scorer.load(settings, tiny_tokenizer, ["matches"]).score(model, "matches")
    assert found.metric == "exact_match (whole)"


@pytest.mark.parametrize("metric", ["overlap", "overlap@1"])
def test_a_task_s_own_function_gives_a_metric_of_another_name(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path, metric: str
) -> None:
    """As HumanEval's `pass_at_k` gives pass@1."""
    own = scorer(folder, tiny_tokenizer, "own", metric)
    found = own.score(model, "own")
    shares = []
    answers = [said(model, tiny_tokenizer, TEXTS[0]), "river", "song"]
    for text, answer in zip(TEXTS, answers, strict=True):
        letters = set(said(model, tiny_tokenizer, text))
        shares.append(len(letters & set(answer)) / max(1, len(letters)))
    assert found.metric == "overlap@1" and own.direction("own") == "maximize"
    assert found.value == pytest.approx(sum(shares) / 3)


def test_a_metric_that_a_function_does_not_give_is_named(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    with pytest.raises(UserError, match="'pass@1': the task 'own' .* one of overlap@1,none"):
        scorer(folder, tiny_tokenizer, "own", "pass@1").score(model, "own")


def test_f1(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    two = scorer(folder, tiny_tokenizer, "two", "f1")
    chosen = []
    for text in TEXTS:
        start = tiny_tokenizer(text)["input_ids"]
        nats = []
        for choice in (" river", " song"):
            ids = tiny_tokenizer(text + choice)["input_ids"]
            with torch.no_grad():
                logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            nats.append(sum(logs[i - 1, ids[i]].item() for i in range(len(start), len(ids))))
        chosen.append(int(nats[1] > nats[0]))
    gold = [0, 1, 0]
    right = sum(1 for a, b in zip(chosen, gold, strict=True) if a == b == 1)
    expected = 2 * right / max(1, sum(chosen) + sum(gold))
    assert two.score(model, "two").value == pytest.approx(expected)
    assert two.direction("two") == "maximize"


def test_who_says_nothing_is_asked_before_the_training(
    tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    silent = scorer(folder, tiny_tokenizer, "silent", "overlap@1")
    with pytest.raises(UserError, match="'silent' does not say which way is better.*direction"):
        silent.direction("silent")
    told = scorer(folder, tiny_tokenizer, "silent", "overlap@1", direction="maximize")
    assert told.direction("silent") == "maximize"


def test_a_direction_against_everybody_s_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    pages = scorer(folder, tiny_tokenizer, "pages", "bits_per_byte", direction="maximize")
    with pytest.raises(UserError, match="'maximize': lm-eval's metric .* other way; leave it out"):
        pages.direction("pages")
