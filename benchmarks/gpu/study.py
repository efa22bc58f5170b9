"""Part: a study of six trials on the stand-in by two workers that share the first GPU."""

from __future__ import annotations

import subprocess
import sys
import time

import optuna
from optuna.trial import TrialState

from benchmarks._gpu_use import watched
from benchmarks._throughput_work import STANDIN
from benchmarks.gpu.stage import Stage


TRIALS, WORKERS = 6, 2
FILE = """
[model]
name = "{standin}/model"

[data]
train = "{standin}/data/train.jsonl"
validation = "{standin}/data/validation.jsonl"
template = "### Instruction:\\n{{instruction}}\\n\\n### Response:\\n"
mask_prompt = true
max_length = 96
limit = {rows}

[training]
micro_batch = 16
validations = 2
"""


def run(stage: Stage) -> None:
    file, url = stage.folder / "study.toml", f"sqlite:///{stage.folder}/study.db"
    file.write_text(FILE.format(standin=STANDIN, rows=600 if stage.on_gpu else 48))
    options = ["--trials", str(TRIALS), "--workers", str(WORKERS), "--storage", url]
    command = [sys.executable, "-m", "objectives.tune", str(file), *options]
    start = time.perf_counter()
    with watched() as gpu:
        subprocess.run([*command, "--output", str(stage.folder)], check=True)
    seconds = time.perf_counter() - start
    trials = optuna.load_study(study_name="study", storage=url).trials
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(done) < TRIALS:
        raise AssertionError(f"{len(done)} of {TRIALS} trials have a value: {trials}")
    stage.write(
        trials=len(done),
        workers=WORKERS,
        seconds=seconds,
        gpu_busy=gpu.busy(),
        values=[round(trial.value or 0.0, 4) for trial in done],
        training=[round(t.user_attrs["seconds_training"], 2) for t in done],
    )
