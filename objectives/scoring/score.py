"""Scores a model on validation loss and on loaded lm-eval tasks; writes nothing.

Two kinds of score:

* the validation loss: nats per label token, summed over all tokens before the one division, so
  that it does not depend on how samples are put into batches (a mean of batch means does:
  transformers issue 39241);
* lm-eval: the tasks' data and prompts are built once, and every model is scored on the same `Task`
  objects, by all ranks together, each prefix that questions or choices share computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
import copy
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Any
from typing import TYPE_CHECKING
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F

from objectives.data.corpus import collate
from objectives.data.corpus import IGNORED
from objectives.data.corpus import Sample
from objectives.errors import UserError
from objectives.model.sharded import is_sharded
from objectives.scoring.output_head import head_at
from objectives.scoring.tasks import load_tasks
from objectives.scoring.tasks import quiet
from objectives.scoring.tasks import usual_metric


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from objectives.scoring.prefix_lm import Plans
    from objectives.settings.sections import ScoringSettings

__all__ = [
    "Score",
    "Scorer",
    "by_length",
    "count_labels",
    "label_losses",
    "share_of",
    "validation_loss",
]

Batch = TypeVar("Batch")

FEW_SHOT_SEED = 1234  # lm-eval's own default: which examples come before a question


def label_losses(model: nn.Module, batch: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The loss of every label in a batch, in nats; shape (labels,), float32.

    `lm_head` runs only on the positions that have a label. The result is the same as from all
    logits, and their memory (513 kB per token for Llama-3.2-1B in float32) is not spent on prompts
    and padding. There is no mask: in a causal model no token sees the padding behind it, and a
    mask keeps attention from its fast ways.

    Args:
        model: A causal language model of transformers, with or without an adapter or DDP around
            it.
        batch: `input_ids` and `labels`, each (rows, tokens), padded on the right, on the CPU, so
            that the labels are picked without waiting for a GPU. A label belongs to the token it
            stands at and is predicted from the position before, as transformers does it.
        device: The model's.
    """
    labels = batch["labels"][:, 1:]
    labelled = labels != IGNORED
    targets = labels[labelled].to(device, non_blocking=True)
    predicting = F.pad(labelled, (0, 1))  # (rows, tokens): nothing follows the last
    with head_at(model, predicting.flatten().nonzero().flatten()):
        ids = batch["input_ids"].to(device, non_blocking=True)
        logits = model(input_ids=ids, use_cache=False).logits  # (labels, vocabulary)
    return F.cross_entropy(logits.float(), targets, reduction="none")


def count_labels(batch: Mapping[str, Tensor]) -> int:
    """Labels that a loss counts: nothing predicts a row's first token."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


def validation_loss(
    model: nn.Module,
    samples: Sequence[Sample],
    *,
    pad_id: int,
    micro_batch: int,
    accelerator: Accelerator,
) -> float:
    """Nats per label token over all samples; independent of `micro_batch` to float rounding.

    Args:
        model: The unwrapped model; it is left in the mode (training or not) it came in.
        samples: Token samples; each has a label.
        pad_id: The id that fills short rows.
        micro_batch: Samples per forward; a matter of speed and memory only.
        accelerator: Gives device, autocast and ranks. Every rank must call this, and gets the same
            float.
    """
    was_training = model.training
    model.eval()
    share = share_of(by_length(samples, micro_batch), accelerator)
    total = torch.zeros(2, dtype=torch.float64)  # nats, labels
    with torch.no_grad(), accelerator.autocast():
        for batch, weight in share:
            losses = label_losses(model, collate(batch, pad_id), accelerator.device)
            total += weight * torch.tensor([losses.cpu().double().sum(), losses.numel()])
    model.train(was_training)
    nats, labels = _over_ranks(total, accelerator).tolist()
    return float(nats / labels)


def share_of(batches: Sequence[Batch], accelerator: Accelerator) -> list[tuple[Batch, float]]:
    """This rank's batches with weight 1, and as many in all as every other rank's.

    Ranks wait for each other, at the end of a step or in each forward: one that has a batch less
    than another goes over the first one with weight 0.
    """
    ranks, rank = accelerator.num_processes, accelerator.process_index
    mine = range(rank, rank + math.ceil(len(batches) / ranks) * ranks, ranks)
    return [(batches[i], 1.0) if i < len(batches) else (batches[0], 0.0) for i in mine]


def by_length(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Neighbours in length together, so that little padding is computed."""
    ordered = sorted(samples, key=lambda sample: len(sample.input_ids))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def _over_ranks(total: Tensor, accelerator: Accelerator) -> Tensor:
    if accelerator.num_processes == 1:
        return total  # stays on the CPU: not every accelerator has float64
    reduced: Tensor = accelerator.reduce(total.to(accelerator.device), "sum")
    return reduced


@dataclass(frozen=True)
class Score:
    """One model on one task.

    Attributes:
        task: lm-eval's name of the task or group.
        metric: lm-eval's name of the metric, and of its filter in brackets where there is one.
        value: The metric.
        stderr: Its standard error; nan for a metric that is not a mean over the questions.
        n: Questions scored.
    """

    task: str
    metric: str
    value: float
    stderr: float
    n: int


@dataclass(frozen=True)
class Scorer:
    """lm-eval tasks, loaded once, and how to score a model on them. Make it with `Scorer.load`."""

    settings: ScoringSettings
    tokenizer: PreTrainedTokenizerBase
    tasks: Mapping[str, Any]  # name -> lm-eval's TaskDict
    _plans: Plans = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        settings: ScoringSettings,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Sequence[str],
    ) -> Scorer:
        """Loads tasks by name, from the folder `settings.tasks` or those that lm-eval brings.

        Raises:
            UserError: A task is not there, its data cannot be loaded, or the objective's metric
                does not fit it.
        """
        loaded = load_tasks(settings, tasks)
        # lm-eval gives a tokenizer without a pad token one; ours must stay as it is
        return cls(settings, copy.deepcopy(tokenizer), loaded)

    def score(
        self,
        model: nn.Module,
        task: str,
        metric: str | None = None,
        *,
        limit: int | None = None,
        accelerator: Accelerator | None = None,
    ) -> Score:
        """Scores a model, with or without an adapter; independent of `settings.batch`.

        Args:
            model: A causal language model, not wrapped for DDP; it is left in evaluation mode.
            task: One of the tasks that were loaded.
            metric: lm-eval's name; without it `settings.metric` where the task has it, otherwise
                its usual one.
            limit: Documents per task, the first ones; without it `settings.limit`.
            accelerator: Gives the ranks, which share the documents. Every rank must call this, and
                gets the same score. Without it this process scores alone. On a base in shares
                each rank scores all documents, since the number of forwards must be the same.
        """
        loaded = self.tasks[task]
        metric = metric or usual_metric(task, loaded, self.settings.metric)
        for part in loaded["tasks"].values():  # the same examples for every model
            part.set_fewshot_seed(FEW_SHOT_SEED)
        lm = self._lm(model, accelerator)
        results = self._evaluate(lm, loaded, limit or self.settings.limit)
        # lm-eval has results on rank 0 alone
        score = _pick(results["results"][task], task, metric) if results is not None else None
        return _from_rank_0(score, lm.world_size)

    def direction(self, task: str) -> str:
        """Whether `settings.metric` is to "maximize" or to "minimize", as the task says."""
        parts = self.tasks[task]["tasks"].values()
        higher = all(part.higher_is_better()[self.settings.metric] for part in parts)
        return "maximize" if higher else "minimize"

    def _lm(self, model: nn.Module, accelerator: Accelerator | None) -> Any:
        """lm-eval's view of the model; it shares work among ranks if told of them."""
        from objectives.scoring.prefix_lm import PrefixLM

        with quiet():
            lm = PrefixLM(
                pretrained=model,
                tokenizer=self.tokenizer,
                batch_size=self.settings.batch,
                plans=self._plans,
            )
        if accelerator is not None and accelerator.num_processes > 1 and not is_sharded(model):
            lm.accelerator = accelerator
            lm._rank, lm._world_size = accelerator.process_index, accelerator.num_processes
        return lm

    def _evaluate(self, lm: Any, loaded: Any, limit: int | None) -> dict[str, Any] | None:
        from lm_eval import evaluate

        with quiet(), _precision(lm.model):
            results: dict[str, Any] | None = evaluate(
                lm=lm,
                task_dict=loaded,
                limit=limit,
                bootstrap_iters=1,  # any number above 0 asks for the closed form of a mean's error
                log_samples=False,
                confirm_run_unsafe_code=self.settings.unsafe_code,
            )
        return results


def _precision(model: Any) -> AbstractContextManager[Any]:
    """A 4-bit base's: its norms are in float32, and would have everything behind them so."""
    quantization = getattr(model.config, "quantization_config", None)
    if quantization is None:
        return nullcontext()
    return torch.autocast(model.device.type, quantization.bnb_4bit_compute_dtype)


def _from_rank_0(score: Score | None, ranks: int) -> Score:
    held = [score]
    if ranks > 1:
        broadcast_object_list(held)
    assert held[0] is not None, "lm-eval gives rank 0 its results"
    return held[0]


def _pick(result: Mapping[str, Any], task: str, metric: str) -> Score:
    """One metric of lm-eval's `{"acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 9}`."""
    key = next((key for key in result if key.partition(",")[0] == metric), None)
    if key is None:
        raise UserError(f"metric {metric!r}: the task {task!r} does not give it")
    stderr = result.get(key.replace(metric, f"{metric}_stderr", 1), math.nan)
    kept_by = key.partition(",")[2]
    return Score(
        task=task,
        metric=metric if kept_by == "none" else f"{metric} ({kept_by})",
        value=float(result[key]),
        stderr=float(stderr) if isinstance(stderr, int | float) else math.nan,  # lm-eval: "N/A"
        n=int(result["sample_len"]),
    )
