"""Scores: against sums written here, against lm-eval's own front door, whatever the batch."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
import subprocess
import sys

from accelerate import Accelerator
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
import pytest
from rounding import LOSS
import torch
from transformers import AutoModelForCausalLM
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import collate
from objectives.data.corpus import Corpus
from objectives.data.load import load_corpus
from objectives.data.templates import prompt
from objectives.scoring.criterion import measure
from objectives.scoring.losses import label_losses
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.scoring import ScoringSettings


QUESTIONS = 50  # in the task `colours` of the fixture `task_folder`


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    return loaded


@pytest.fixture(scope="module", params=[True, False], ids=["masked", "whole"])
def corpus(
    request: pytest.FixtureRequest, alpaca_file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> Corpus:
    data = DataSettings(train=str(alpaca_file), validation_rows=21, mask_prompt=request.param)
    return load_corpus(data, tiny_tokenizer, None)


@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_validation_loss_is_a_sum_over_labels(
    model: PreTrainedModel, corpus: Corpus, micro_batch: int
) -> None:
    model.train()
    loss = measure(
        model,
        corpus.validation,
        pad_id=corpus.pad_id,
        micro_batch=micro_batch,
        accelerator=Accelerator(),
    ).loss
    assert model.training
    nats, labels = 0.0, 0
    for sample in corpus.validation:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0].double()
        for logit, label in zip(logits, sample.labels[1:], strict=False):
            if label != -100:
                nats -= torch.log_softmax(logit, 0)[label].item()
                labels += 1
    assert loss == pytest.approx(nats / labels, rel=LOSS)


def test_label_losses_are_those_of_all_logits(model: PreTrainedModel, corpus: Corpus) -> None:
    """Their mean is transformers' own loss, and so is its gradient."""
    batch = collate(corpus.train[:8], corpus.pad_id)
    embedding = model.get_input_embeddings().weight
    mean = label_losses(model, batch, model.device).mean()
    (gradient,) = torch.autograd.grad(mean, embedding)
    reference = model(**batch).loss
    (expected,) = torch.autograd.grad(reference, embedding)
    assert mean.item() == pytest.approx(reference.item(), rel=LOSS)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_training_and_scoring_see_the_same_tokens(
    model: PreTrainedModel, alpaca_file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """BOS once and in front, and the same cut between prompt and answer."""
    data = DataSettings(train=str(alpaca_file), validation=str(alpaca_file), mask_prompt=True)
    sample = load_corpus(data, tiny_tokenizer, None).validation[0]
    lm = HFLM(pretrained=model, tokenizer=tiny_tokenizer)
    for line in alpaca_file.read_text().splitlines():
        row = json.loads(line)
        context, answer = lm._encode_pair(prompt(row, "alpaca"), row["output"])
        if (*context, *answer, tiny_tokenizer.eos_token_id) == sample.input_ids:
            assert sample.labels[len(context) :] == sample.input_ids[len(context) :]
            assert set(sample.labels[: len(context)]) == {-100}
            assert sample.input_ids.count(tiny_tokenizer.bos_token_id) == 1
            return
    pytest.fail("lm-eval encodes no row of the file as the sample")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # lm-eval's `git describe` for its report
@pytest.mark.parametrize("few_shot", [None, 2])
def test_scores_are_those_of_simple_evaluate(
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    few_shot: int | None,
) -> None:
    settings = ScoringSettings(tasks=str(task_folder), few_shot=few_shot)
    scorer = Scorer.load(settings, tiny_tokenizer, ["colours"])
    scores = [scorer.score(model, "colours", metric) for metric in ("acc", "acc_norm")]
    monkeypatch.chdir(task_folder)  # lm-eval itself finds data files nowhere else
    results = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tiny_tokenizer, batch_size=7),
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
        num_fewshot=few_shot,
    )
    expected = results["results"]["colours"]
    for score in scores:
        assert score.value == expected[f"{score.metric},none"]
        assert score.stderr == expected[f"{score.metric}_stderr,none"]
        assert score.n == QUESTIONS
    assert 0 < scores[0].value < 1


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_do_not_depend_on_the_batch_or_on_earlier_scores(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path, batch: int
) -> None:
    settings = ScoringSettings(tasks=str(task_folder), few_shot=1, batch=batch)
    scorer = Scorer.load(settings, tiny_tokenizer, ["colours"])
    first = scorer.score(model, "colours")
    assert scorer.score(model, "colours") == first  # the same examples before each question
    reference = Scorer.load(settings.model_copy(update={"batch": 10}), tiny_tokenizer, ["colours"])
    assert reference.score(model, "colours") == first
    assert first == Score("colours", "acc", first.value, first.stderr, QUESTIONS)
    sd = math.sqrt(first.value * (1 - first.value) / (QUESTIONS - 1))
    assert first.stderr == pytest.approx(sd)


def test_ranks_share_a_score(
    model: PreTrainedModel,
    tiny_model_folder: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: Path,
    tmp_path: Path,
) -> None:
    """21 questions by two processes: every rank has the score that one process has."""
    script = Path(__file__).parents[1] / "ranks" / "scoring_rank.py"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments = [script, tiny_model_folder, task_folder, tmp_path]
    done = subprocess.run(
        [*launcher, "--nproc-per-node=2", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(script.parents[3]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    settings = ScoringSettings(tasks=str(task_folder), few_shot=1)
    scorer = Scorer.load(settings, tiny_tokenizer, ["colours"])
    alone = [scorer.score(model, "colours", metric, limit=21) for metric in ("acc", "acc_norm")]
    for rank in (0, 1):
        ranks, scores = json.loads((tmp_path / f"{rank}.json").read_text())
        assert ranks == 2
        assert [Score(**score) for score in scores] == alone


def test_a_score_of_few_documents_and_then_of_all(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    """What lm-eval built for one limit is not taken for another's."""
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), tiny_tokenizer, ["colours"])
    few, whole, again = (scorer.score(model, "colours", limit=n) for n in (5, None, 5))
    assert (few.n, whole.n) == (5, QUESTIONS)
    assert again == few


def test_requests_are_built_and_tokenised_once(
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), tiny_tokenizer, ["colours"])
    first = scorer.score(model, "colours")
    monkeypatch.setattr(HFLM, "tok_encode", None)
    monkeypatch.setattr("lm_eval.api.task.ConfigurableTask.fewshot_context", None)
    assert scorer.score(model, "colours") == first


def test_limit_groups_and_metrics_without_a_closed_error(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    settings = ScoringSettings(tasks=str(task_folder), limit=20)
    scorer = Scorer.load(settings, tiny_tokenizer, ["colours", "all_colours", "beliefs"])
    colours = scorer.score(model, "colours")
    assert colours.n == 20
    group = scorer.score(model, "all_colours")
    assert (group.value, group.n) == (colours.value, 20)
    beliefs = scorer.score(model, "beliefs")
    assert beliefs.metric == "brier_score" and math.isnan(beliefs.stderr)


def test_a_metric_that_is_no_mean_leaves_the_others_their_errors(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    """LAMBADA has a perplexity beside its accuracy."""
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), tiny_tokenizer, ["last_words"])
    accuracy = scorer.score(model, "last_words")
    assert (accuracy.metric, accuracy.n) == ("acc", QUESTIONS)
    share = accuracy.value
    assert accuracy.stderr == pytest.approx(math.sqrt(share * (1 - share) / (QUESTIONS - 1)))
    perplexity = scorer.score(model, "last_words", "perplexity")
    assert perplexity.value > 1 and math.isnan(perplexity.stderr)


def test_what_a_filter_kept_of_an_answer_is_named(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), tiny_tokenizer, ["answers"])
    assert scorer.score(model, "answers", limit=2).metric == "exact_match (first-word)"


@pytest.mark.parametrize(
    ("task", "metric", "direction"),
    [("colours", "acc", "maximize"), ("beliefs", "brier_score", "minimize")],
)
def test_the_task_says_which_way_is_better(
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: Path,
    task: str,
    metric: str,
    direction: str,
) -> None:
    settings = ScoringSettings(tasks=str(task_folder), objective=task, metric=metric)
    assert Scorer.load(settings, tiny_tokenizer, [task]).direction(task) == direction


def test_the_tokenizer_is_left_alone(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, task_folder: Path
) -> None:
    """lm-eval gives one without a pad token one."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.pad_token = None
    Scorer.load(ScoringSettings(tasks=str(task_folder)), tokenizer, ["colours"]).score(
        model, "colours"
    )
    assert tokenizer.pad_token is None


def test_scoring_is_quiet(
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    task_folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Scorer.load(ScoringSettings(tasks=str(task_folder)), tiny_tokenizer, ["colours"]).score(
        model, "colours"
    )
    assert capfd.readouterr() == ("", "")
