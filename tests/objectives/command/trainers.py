"""A trainer of somebody else's, in a few lines and without torch, and experiments that tune it."""

from __future__ import annotations

from pathlib import Path
import sys

import optuna


TRAINER = '''
"""Each step's loss falls to what the parameters make of it; told by file, line and print."""

import argparse
import json
import os
from pathlib import Path
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--config")
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--out", type=Path)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--hold", type=int)
parser.add_argument("--until", type=Path)
options = parser.parse_args()
config = {}
if options.config:
    import tomllib
    import yaml
    file = Path(options.config)
    readers = {".json": json.loads, ".yml": yaml.safe_load, ".toml": tomllib.loads}
    config = readers[file.suffix](file.read_text())
learning_rate = config.get("optimizer", {}).get("lr", options.lr)
out = options.out or Path(config["out"])
out.mkdir(exist_ok=True)
print("process", os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"))
for step in range(1, options.steps + 1):
    loss = abs(learning_rate - 3e-3) * 100 + options.rank / 100 + 1 / step
    print(f"step={step * 10} loss={loss}")
    with (out / "lines.jsonl").open("a") as file:
        file.write(json.dumps({"at": {"step": step * 10}, "eval": {"loss": loss}}) + "\\n")
    while options.hold and options.rank > options.hold:
        time.sleep(0.05)
    while options.until and not options.until.exists():
        time.sleep(0.05)
(out / "results.json").write_text(json.dumps({"eval": {"loss": loss}}))
'''
SECTIONS = {
    "run": '"{python} train.py --lr {{learning_rate}} --rank {{rank}} --out {{output}}"',
    "value": '{{json = "{{output}}/results.json", key = "eval.loss"}}',
    "direction": '"minimize"',
}
SEARCH = """
learning_rate = {low = 1e-4, high = 1e-1, log = true}
rank = {low = 2, high = 16}
"""
STUDY = 'sampler = "soo"\ntrials = 4'


def own(folder: Path, *, search: str = SEARCH, study: str = STUDY, **command: str) -> Path:
    """An experiment file with its trainer; the keys of `[command]` as they are in TOML."""
    (folder / "train.py").write_text(TRAINER)
    keys = SECTIONS | command
    lines = [f"{key} = {text.format(python=sys.executable)}" for key, text in keys.items()]
    file = folder / "own.toml"
    body = "\n".join(lines)
    file.write_text(f"[command]\n{body}\n[search]\n{search}\n[study]\n{study}\n")
    return file


def trials(file: Path, name: str = "own") -> list[optuna.trial.FrozenTrial]:
    return study(file, name).trials


def study(file: Path, name: str = "own") -> optuna.Study:
    url = f"sqlite:///{file.parent}/runs/{name}/study.db"
    return optuna.load_study(study_name=name, storage=url)


def run_words(*options: str) -> str:
    """`run` with more options, as `own` takes it."""
    return SECTIONS["run"][:-1] + "".join(f" {option}" for option in options) + '"'
