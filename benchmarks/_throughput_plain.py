"""One trial as anybody writes it: Trainer, peft and lm-eval; reads and writes files named in JSON.

    python benchmarks/_throughput_plain.py trial.json        # throughput.py writes that file

It prints one line of JSON: Trainer's evaluation, the task's score, wall and CPU seconds of each
part. Two things are not as everybody does them, so that the losses are those of the other modes:
the rows come in a given order instead of a shuffled one, and white space at the end of the prompt
belongs to the answer, where lm-eval puts it when it scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

from datasets import load_dataset
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft import get_peft_model
from peft import LoraConfig
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import DataCollatorForSeq2Seq
from transformers import set_seed
from transformers import Trainer
from transformers import TrainingArguments


seconds: dict[str, float] = {}
cpu_seconds: dict[str, float] = {}


@contextmanager
def timed(part: str) -> Iterator[None]:
    start, cpu_start = time.perf_counter(), time.process_time()
    yield
    seconds[part] = time.perf_counter() - start
    cpu_seconds[part] = time.process_time() - cpu_start


def main() -> None:
    trial: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    on_gpu = torch.cuda.is_available()

    with timed("model"):
        tokenizer = AutoTokenizer.from_pretrained(trial["model"])
        dtype = torch.bfloat16 if on_gpu else torch.float32
        base = AutoModelForCausalLM.from_pretrained(trial["model"], dtype=dtype)
        set_seed(trial["seed"])
        lora = LoraConfig(
            r=trial["rank"],
            lora_alpha=trial["alpha"],
            lora_dropout=trial["dropout"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(base, lora)

    def tokenise(row: dict[str, str]) -> dict[str, list[int]]:
        prompt = trial["template"].format(instruction=row["instruction"])
        ids = tokenizer(prompt + row["output"])["input_ids"] + [tokenizer.eos_token_id]
        masked = len(tokenizer(prompt.rstrip())["input_ids"])
        labels = [-100] * masked + ids[masked:]
        length = trial["max_length"]
        return {"input_ids": ids[:length], "labels": labels[:length]}

    with timed("data"):
        files = {"train": trial["train"], "validation": trial["validation"]}
        rows = load_dataset("json", data_files=files)
        rows = rows.map(tokenise, remove_columns=rows["train"].column_names)
        train = rows["train"].select(trial["order"])

    with timed("training"):
        arguments = TrainingArguments(
            output_dir=trial["output"],
            num_train_epochs=1,
            per_device_train_batch_size=min(trial["micro_batch"], trial["effective_batch"]),
            gradient_accumulation_steps=-(-trial["effective_batch"] // trial["micro_batch"]),
            per_device_eval_batch_size=trial["micro_batch"],
            train_sampling_strategy="sequential",
            learning_rate=trial["learning_rate"],
            weight_decay=trial["weight_decay"],
            lr_scheduler_type=trial["schedule"],
            warmup_steps=trial["warmup"],  # below 1: a share of all steps
            bf16=on_gpu,
            seed=trial["seed"],
            save_strategy="no",
            report_to="none",
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=rows["validation"],
            data_collator=DataCollatorForSeq2Seq(tokenizer),
            processing_class=tokenizer,
        )
        trainer.train()

    with timed("evaluation"):
        evaluation = trainer.evaluate()
        model.save_pretrained(trial["output"])

    with timed("index"):
        # `datasets` looks for a task's data in the working directory
        os.chdir(trial["tasks"])
        manager = TaskManager(include_path=trial["tasks"], include_defaults=trial["index"])

    with timed("scoring"):
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=trial["scoring_batch"])
        task = trial["task"]
        scores = simple_evaluate(lm, tasks=[task], task_manager=manager, limit=trial["limit"])

    accuracy = scores["results"][task]["acc,none"]
    result = {"loss": evaluation["eval_loss"], "acc": accuracy}
    print(json.dumps({**result, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main()
