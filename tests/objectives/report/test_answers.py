"""Sample answers: whose prompts they are, what is said to them, and how the report shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rows_of_text import CHAT
from rows_of_text import corpus_of
from rows_of_text import MESSAGES
from rows_of_text import ROW
import torch
from trainings import experiment
from trainings import PARAMS
from trainings import run
from transformers import PreTrainedTokenizerFast
from trials import history_of
from trials import study_of
from trials import trial

from objectives.data.templates import prompt
from objectives.errors import UserError
from objectives.model.answers import answer
from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.report.given import SampleAnswer
from objectives.report.given import Told
from objectives.report.report import write_report
from objectives.result.answers import sample_answers
from objectives.settings.combinations import check_combinations
from objectives.settings.config import Experiment
from objectives.settings.sections.study import StudySettings
from objectives.training.runner import Runner


__all__ = ["experiment"]  # fixtures


def test_base_and_adapter_answer_the_validation_s_prompts(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    runner = Runner(experiment, bench, None)
    (tuned,) = run(
        LoraObjective(experiment, runner, tmp_path), PARAMS | {"learning_rate": 0.05, "alpha": 64}
    )
    answers = sample_answers(runner, tuned.user_attrs["adapter"], 3)
    assert len(answers) == 3 and answers != sample_answers(runner, tuned.user_attrs["adapter"], 2)
    whole = {
        tuple(s.input_ids): [i for i in s.labels if i != -100] for s in bench.corpus.validation
    }
    read = bench.tokenizer.decode
    rows = {
        read(ids[: len(ids) - len(label)], skip_special_tokens=True): label
        for ids, label in whole.items()
    }
    for each in answers:
        assert each.prompt in rows, "of a validation row"
        assert each.expected == read(rows[each.prompt], skip_special_tokens=True).strip()
        ids = bench.tokenizer(each.prompt)["input_ids"]
        assert each.base == answer(bench.base, bench.tokenizer, ids, 64, None)
    assert [each.base for each in answers] != [each.best for each in answers]


def test_an_answer_ends_where_the_model_does_and_where_it_has_learned_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model for chats has several ends, and a chat template may have another."""
    base, tokenizer, (asked, *_) = bench.base, bench.tokenizer, bench.corpus.asked
    first = base.generate(torch.tensor([asked.prompt]), max_new_tokens=1)[0, -1].item()
    short = tokenizer.decode([first]).strip()
    assert answer(base, tokenizer, asked.prompt, 9, None) != short
    assert answer(base, tokenizer, asked.prompt, 9, first) == short
    ends = [tokenizer.eos_token_id, first]
    monkeypatch.setattr(base.generation_config, "eos_token_id", ends)
    assert answer(base, tokenizer, asked.prompt, 9, None) == short


def test_where_answers_end_is_what_the_rows_teach(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file, pad = tmp_path / "rows.jsonl", tiny_tokenizer.pad_token
    assert corpus_of(file, [ROW], tiny_tokenizer).end == tiny_tokenizer.eos_token_id
    for written, end in (("{{ eos_token }}", "</s>"), (pad, pad), ("", None)):
        template = CHAT.replace("{{ eos_token }}", written)
        corpus = corpus_of(file, [MESSAGES], tiny_tokenizer, chat_template=template)
        assert corpus.end == (end and tiny_tokenizer.convert_tokens_to_ids(end))


def test_eight_prompts_are_kept_whatever_the_number_of_rows(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = [ROW | {"instruction": f"Name river {i}."} for i in range(43)]
    written = {prompt(row, "alpaca").rstrip() for row in rows}
    for count, kept in ((43, 8), (3, 3)):
        corpus = corpus_of(tmp_path / f"{count}.jsonl", rows[:count], tiny_tokenizer)
        asked = {tiny_tokenizer.decode(a.prompt, skip_special_tokens=True) for a in corpus.asked}
        assert len(asked) == kept and asked <= written


def test_a_preference_s_better_answer_is_expected_and_a_text_asks_nothing(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pair = {"prompt": "Name a river.", "chosen": " Rhine", "rejected": " song"}
    corpus = corpus_of(tmp_path / "pairs.jsonl", [pair] * 4, tiny_tokenizer, preferences=True)
    said = [tiny_tokenizer.decode(a.answer, skip_special_tokens=True) for a in corpus.asked]
    assert set(said) == {" Rhine"}
    texts = corpus_of(tmp_path / "texts.jsonl", [{"text": "Rhine"}] * 4, tiny_tokenizer)
    assert texts.asked == ()


def test_the_report_shows_them_as_they_are(tmp_path: Path) -> None:
    shown = SampleAnswer("Say <b>", "the row's", "base's &", "tuned\nin lines")
    study = study_of(trial(1.0))
    space = history_of(trial(1.0)).space
    told = Told(answers=[shown])
    page = write_report(study, tmp_path, title="t", space=space, told=told).read_text()
    assert "<h2>Answers</h2>" in page and "none of the test" in page
    assert "Say &lt;b&gt;" in page and "base&#x27;s &amp;" in page and "tuned<br>in lines" in page


def test_a_base_in_shares_is_not_asked(experiment: Experiment) -> None:
    scoring = experiment.scoring.model_copy(update={"answers": 2})
    model = experiment.model.model_copy(update={"sharded": True})
    asked = experiment.model_copy(update={"scoring": scoring, "model": model})
    with pytest.raises(UserError, match=r"`\[scoring\] answers`: a base in shares answers no"):
        check_combinations(asked, StudySettings(gpus_per_trial=2))
