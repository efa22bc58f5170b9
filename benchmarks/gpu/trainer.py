"""Part: tokens a second of transformers' Trainer with peft, on the samples of the part `packs`."""

from __future__ import annotations

from collections.abc import Sequence
import gc
import time
from typing import Any

from peft import get_peft_model
from peft import LoraConfig
import torch
from transformers import Trainer
from transformers import TrainerCallback
from transformers import TrainingArguments

from benchmarks._gpu_use import GIB
from benchmarks._gpu_use import watched
from benchmarks._throughput_work import in_order
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import random_base
from benchmarks.gpu.work import random_experiment
from benchmarks.gpu.work import random_samples
from objectives.data.corpus import collate
from objectives.data.corpus import Sample


MICRO_BATCHES = (1, 4)
WARM_UP = 3  # steps


def run(stage: Stage) -> None:
    samples = random_samples(4096, on_gpu=stage.on_gpu)
    for micro_batch in MICRO_BATCHES:
        settings = random_experiment(micro_batch=micro_batch).training
        order = in_order(samples, settings, adapter(0).effective_batch)
        found = _measured([samples[i] for i in order], micro_batch, stage)
        stage.write(micro_batch=micro_batch, **found)


def _measured(samples: Sequence[Sample], micro_batch: int, stage: Stage) -> dict[str, Any]:
    if stage.on_gpu:
        gc.collect()  # the Trainer before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = _Clock(stage.seconds)
    with watched() as gpu:
        _trainer(samples, micro_batch, clock, stage).train()
    rows = adapter(0).effective_batch
    tokens = sum(len(s.input_ids) for s in samples[rows * WARM_UP : rows * clock.steps])
    return {
        "tokens_per_second": tokens / clock.seconds,
        "rows_per_second": rows * (clock.steps - WARM_UP) / clock.seconds,
        "seconds": clock.seconds,
        "gpu_busy": gpu.busy(),
        "peak_memory_gib": torch.cuda.max_memory_allocated() / GIB if stage.on_gpu else None,
    }


def _trainer(
    samples: Sequence[Sample], micro_batch: int, clock: TrainerCallback, stage: Stage
) -> Trainer:
    chosen = adapter(0)
    config = LoraConfig(
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    arguments = TrainingArguments(
        output_dir=str(stage.folder),
        num_train_epochs=1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=chosen.effective_batch // micro_batch,
        train_sampling_strategy="sequential",
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        lr_scheduler_type="cosine",
        bf16=stage.on_gpu,
        use_cpu=not stage.on_gpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    return Trainer(
        model=get_peft_model(random_base(on_gpu=stage.on_gpu), config),
        args=arguments,
        train_dataset=list(samples),
        data_collator=lambda rows: collate(rows, pad_id=0),
        callbacks=[clock],
    )


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Times the steps after the first ones, and ends the training.

    Attributes:
        steps: Done.
        seconds: Of those after the first `WARM_UP`.
    """

    def __init__(self, seconds: float) -> None:
        self._enough = seconds
        self._start = 0.0
        self.steps, self.seconds = 0, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps, now = state.global_step, time.perf_counter()
        if self.steps == WARM_UP:
            self._start = now
        self.seconds = now - self._start
        if self.steps > WARM_UP and self.seconds > self._enough:
            control.should_training_stop = True
