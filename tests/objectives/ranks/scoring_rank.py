"""One rank of a score by several processes: `torchrun scoring_rank.py MODEL TASKS OUTPUT`.

Each rank writes its score, as JSON, to the folder OUTPUT; `test_score.py` starts it.
"""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
import sys

from accelerate import Accelerator
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from objectives.scoring.score import Scorer
from objectives.settings.sections.scoring import ScoringSettings


def main(model_folder: str, task_folder: str, output: str) -> None:
    accelerator = Accelerator(cpu=True)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    settings = ScoringSettings(tasks=task_folder, few_shot=1)
    scorer = Scorer.load(settings, tokenizer, ["colours"])
    scores = [
        asdict(scorer.score(model, "colours", metric, limit=21, accelerator=accelerator))
        for metric in ("acc", "acc_norm")
    ]
    file = Path(output) / f"{accelerator.process_index}.json"
    file.write_text(json.dumps([accelerator.num_processes, scores]))
    accelerator.end_training()  # else the threads of the group may abort the process at its end


if __name__ == "__main__":
    main(*sys.argv[1:])
