"""CPU time of a score beside plain lm-eval: `python benchmarks/scoring.py [--questions 60]`.

The stand-in continues passages of its own corpus: the sentences of its training rows, one after
the other, cut at a number of tokens; the right choice is what stands there next, the wrong ones
what stands elsewhere. `HFLM` and our `Scorer` take turns on the same questions in one process,
`HFLM` with the batch size that suits it best on each task. `bound` is the ratio of the tokens that
they read, all prefixes shared: k (c + e) / (c + k e) for k choices of e tokens after c.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import random
import statistics
import tempfile
import time
from typing import Any

from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerBase

from objectives.scoring.score import Scorer
from objectives.scoring.tasks import quiet
from objectives.settings.sections.scoring import ScoringSettings


STANDIN = Path(__file__).parents[1] / "examples" / "standin"
BATCHES = (1, 4, 16, 64)
METRICS = ("acc", "acc_norm")
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl, train: {folder}/examples.jsonl}}}}
test_split: test
training_split: train
fewshot_config: {{sampler: first_n}}
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
num_fewshot: {few_shot}
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


@dataclass(frozen=True)
class Setting:
    """A task: choices per question, tokens of a context and of a choice, examples in front."""

    choices: int
    context: int
    ending: int
    few_shot: int = 0

    @property
    def name(self) -> str:
        return f"{self.choices}x{self.ending}_after_{self.context}_shots_{self.few_shot}"

    def bound(self, questions: int) -> float:
        """Tokens that plain scoring reads, over those that cannot be shared."""
        examples = self.few_shot * (self.context + self.ending)
        plain = self.choices * (examples + self.context + self.ending)
        return plain / (examples / questions + self.context + self.choices * self.ending)


SETTINGS = (
    Setting(choices=4, context=80, ending=20),  # HellaSwag
    Setting(choices=4, context=200, ending=20),  # a passage and a question
    Setting(choices=8, context=80, ending=20),
    Setting(choices=4, context=40, ending=5, few_shot=5),  # MMLU with the answers written out
    Setting(choices=4, context=20, ending=40),  # little to share
)


def sentences(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The corpus as one stream of tokens."""
    rows = map(json.loads, (STANDIN / "data" / "train.jsonl").read_text().splitlines())
    text = " ".join(f"{row['instruction']}: {row['output']}" for row in rows)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def questions(
    setting: Setting, stream: Sequence[int], tokenizer: PreTrainedTokenizerBase, n: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Passages cut out of the stream at random; lengths vary by a third about the setting's."""
    draw = random.Random(seed)

    def text(start: int, length: int) -> str:
        return str(tokenizer.decode(stream[start : start + length]))

    def around(length: int) -> int:
        return draw.randint(length - length // 3, length + length // 3)

    for _ in range(n):
        context = around(setting.context)
        starts = [draw.randrange(len(stream) - 500) for _ in range(setting.choices)]
        choices = [text(start + context, around(setting.ending)) for start in starts]
        gold = draw.randrange(setting.choices)
        yield {"context": text(starts[gold], context), "choices": choices, "gold": gold}


def write_task(folder: Path, setting: Setting, *parts: Any) -> None:
    """The task and its examples; its questions are `parts` of `questions`."""
    folder.mkdir()
    stream, tokenizer, n = parts
    for file, count, seed in ((setting.name, n, 0), ("examples", 20, 1)):
        rows = questions(setting, stream, tokenizer, count, seed)
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yaml = TASK.format(folder=folder, name=setting.name, few_shot=setting.few_shot)
    (folder / "task.yaml").write_text(yaml)


@dataclass(frozen=True)
class Plain:
    """lm-eval as it comes, with tasks that are loaded once as well."""

    tokenizer: PreTrainedTokenizerBase
    tasks: Any

    def score(self, model: torch.nn.Module, task: str, batch: int) -> dict[str, float]:
        """Both accuracies."""
        with quiet():
            lm = HFLM(pretrained=model, tokenizer=self.tokenizer, batch_size=batch)
            results = evaluate(lm, self.tasks, bootstrap_iters=1, log_samples=False)
        return {metric: results["results"][task][f"{metric},none"] for metric in METRICS}


def seconds(score: Any, *arguments: Any) -> float:
    start = time.process_time()
    score(*arguments)
    return time.process_time() - start


def compare(plain: Plain, scorer: Scorer, model: torch.nn.Module, task: str, repeats: int) -> str:
    """The measured part of a line."""
    by_batch = {batch: seconds(plain.score, model, task, batch) for batch in BATCHES}
    best = min(by_batch, key=by_batch.__getitem__)
    first = seconds(scorer.score, model, task)
    theirs, ours = [], []
    for _ in range(repeats):
        theirs.append(seconds(plain.score, model, task, best))
        ours.append(seconds(scorer.score, model, task))
    expected = plain.score(model, task, best)
    same = all(scorer.score(model, task, metric).value == expected[metric] for metric in METRICS)
    a, b = statistics.median(theirs), statistics.median(ours)
    return (
        f"{best:>5} {a:>6.2f} s {first:>6.2f} s {b:>6.2f} s {a / first:>6.2f} {a / b:>6.2f}   "
        f"{expected['acc']:.3f} {expected['acc_norm']:.3f} {'identical' if same else 'DIFFERENT'}"
    )


def measure(
    setting: Setting, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, *counts: int
) -> str:
    """One line of the table; `counts` are questions and repeats."""
    questions, repeats = counts
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "tasks"
        write_task(folder, setting, sentences(tokenizer), tokenizer, questions)
        scorer = Scorer.load(ScoringSettings(tasks=str(folder)), tokenizer, [setting.name])
        with quiet():
            manager = TaskManager(include_path=str(folder), include_defaults=False)
            plain = Plain(tokenizer, manager.load([setting.name]))
    line = compare(plain, scorer, model, setting.name, repeats)
    return (
        f"{setting.choices:>7} {setting.context:>7} {setting.ending:>6} {setting.few_shot:>5} "
        f"{setting.bound(questions):>6.2f}  {line}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of a score beside plain lm-eval")
    parser.add_argument("--questions", type=int, default=60, help="per task")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(STANDIN / "model")
    model = AutoModelForCausalLM.from_pretrained(STANDIN / "model", dtype=torch.float32)
    print(
        "choices context ending shots  bound  batch   HFLM    first    again    ratio        "
        "acc acc_norm"
    )
    for setting in SETTINGS:
        line = measure(setting, model, tokenizer, arguments.questions, arguments.repeats)
        print(line, flush=True)


if __name__ == "__main__":
    main()
