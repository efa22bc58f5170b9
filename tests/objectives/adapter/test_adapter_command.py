"""The command as a user runs it after a search, and one line for each mistake."""

from __future__ import annotations

from collections.abc import Callable
import io
import json
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from objectives.adapter import main
from objectives.adapter.arguments import read_arguments
from objectives.data.templates import prompt
from objectives.model.answers import answer


Searched = Callable[..., Path]

# peft 0.21, transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")

ROOT = Path(__file__).parents[3]
ASKED = "Name the river number 7."


def test_a_study_is_found_by_folder_name_and_storage(
    kept: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        str(kept): kept / "best_adapter",
        str(kept / "best_adapter"): kept / "best_adapter",
        f"tiny --output {kept.parent}": kept / "best_adapter",
        f"tiny --storage sqlite:///{kept}/study.db": kept / "adapters" / "0000",
    }
    for given, adapter in places.items():
        assert main(["serve", *given.split()]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        name = "tiny" if adapter.name == "best_adapter" else "0000"
        assert line == (
            f"vllm serve {tiny_model_folder} --enable-lora --lora-modules {name}={adapter} "
            "--max-lora-rank 8"
        )


def test_peft_s_lines_run(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(kept)]) == 0
    code = capsys.readouterr().out.partition("# peft\n")[2]
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["model"]).__name__.startswith("PeftModel")


def test_vllm_takes_no_dora(searched: Searched, capsys: pytest.CaptureFixture[str]) -> None:
    folder = searched(training={"dora": True})
    assert main(["serve", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"python -m objectives.adapter merge {folder}/best_adapter")
    assert lines[2] == f"vllm serve {folder}/merged --served-model-name tiny"


def test_an_answer_is_that_of_the_training_s_prompt(
    run_folder: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the base's beside it."""
    assert main(["merge", str(run_folder)]) == 0
    assert main(["chat", str(run_folder), ASKED, "--with-base", "--tokens", "12"]) == 0
    told = capsys.readouterr().out.splitlines()[-2:]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    ids = tokenizer(prompt({"instruction": ASKED}, "alpaca").rstrip())["input_ids"]
    for line, name, folder in zip(
        told, ("base ", "tuned"), (tiny_model_folder, run_folder / "merged"), strict=True
    ):
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert (
            line == f"{name}   {answer(model, tokenizer, ids, 12, None)}".rstrip() or "\n" in line
        )
    assert told[0].removeprefix("base") != told[1].removeprefix("tuned")


def test_lines_are_answered_until_they_end(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{ASKED}\n\n{ASKED}\n"))
    assert main(["chat", str(kept), "--tokens", "4"]) == 0
    answers = capsys.readouterr().out.splitlines()
    assert len(answers) == 2 and answers[0] == answers[1]
    assert main(["chat", "tiny", "--output", str(kept.parent), ASKED, "--tokens", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == answers[:1]


def test_what_would_be_pushed_is_printed(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(kept), "me/river", "--private", "--dry-run"]) == 0
    *files, last = capsys.readouterr().out.splitlines()
    there = sorted(file.name for file in (kept / "best_adapter").iterdir())
    assert [line.split()[0] for line in files] == there
    assert "adapter_model.safetensors" in there and "README.md" in there
    assert last.startswith(f"would push     {len(there)} files, ") and "me/river (private" in last


def test_a_merged_model_can_be_pushed_too(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(run_folder), "--to", str(run_folder / "whole")]) == 0
    assert main(["push", str(run_folder / "whole"), "me/river", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "  model.safetensors   " in told and "adapter" not in told.partition("\n  ")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND; python -m objectives.adapter --help"),
        ("serv {run}", "argument COMMAND: invalid choice: 'serv'"),
        ("merge nowhere", "nowhere: is no folder, nor the name of a study in runs; give the"),
        ("merge {run}/..", "holds no adapter (adapter_config.json); give a study's folder"),
        ("merge {run} --dtype int4", "--dtype int4: must be one of float32, bfloat16, float16"),
        ("merge {run} --to {run}", "is there and not empty; give another, or delete it"),
        (
            "merge {run} --base {run}/nowhere",
            "nowhere: is no folder here; give the base's, or its hub name",
        ),
        ("push {run} river --dry-run", "river: is no name of a repository; write YOUR_NAME/"),
        ("push {run}/adapters/0000 me/x", "0000: names a folder of this machine ("),
        ("push {run} me/river", "there is no token of the hub; make one that may write"),
        ("merge {run} --tu x", "--tu: there is no such option of merge; python -m"),
        ("merge {run} x", "x: is one argument too many; python -m objectives.adapter --help"),
        ("chat {run} hello --tokens 0", "--tokens 0: must be >= 1; for example --tokens 64"),
        ("chat {run} hello --tokens x", "argument --tokens: invalid int value: 'x'"),
        ("serve tiny --storage sqlite:///{run}/no.db", "tiny: there is no study of that name in"),
        ("serve other --storage sqlite:///{run}/study.db", "it has tiny"),
        ("serve tiny --storage nosuch://db", "there is no such kind of storage"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_mistakes_are_one_line(
    kept: Path,
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no_token"))
    assert main(arguments.format(run=kept).split()) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert message in told


def test_a_base_that_is_not_here_is_asked_for(
    kept: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder that was copied without the trials."""
    alone = shutil.copytree(kept / "best_adapter", tmp_path / "alone")
    assert main(["serve", str(alone)]) == 2
    assert "its base is a folder that is not here (./" in capsys.readouterr().err
    assert main(["serve", str(alone), "--base", str(tiny_model_folder)]) == 0
    assert main(["push", str(alone), "me/river", "--dry-run"]) == 0


def test_settings_that_were_changed_are_named(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_folder / "best_adapter" / "experiment.json"
    file.write_text(file.read_text().replace('"dtype": "float32"', '"dtype": "float3"'))
    assert main(["serve", str(run_folder)]) == 2
    assert "dtype in experiment.json: Input should be" in capsys.readouterr().err


def test_a_template_of_several_columns_takes_json(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"where": "a town", "question": "Is it old?", "output": "Yes."}
    rows.write_text((json.dumps(row) + "\n") * 20)
    data = {"train": str(rows), "template": "In {where}: {question}\n", "validation_rows": 4}
    folder = searched(data=data)
    assert main(["chat", str(folder), "Is it old?"]) == 2
    assert 'the template has 2 columns; write them as {"where": "...", "question": "..."}' in (
        capsys.readouterr().err
    )
    columns = json.dumps({"where": "a town", "question": "Is it old?"})
    assert main(["chat", str(folder), columns, "--tokens", "4"]) == 0


def test_the_commands_of_the_page_are_understood() -> None:
    page = (ROOT / "docs" / "after.md").read_text()
    calls = re.findall(r"^python -m objectives.adapter (.*)$", page, flags=re.MULTILINE)
    assert {read_arguments(shlex.split(call)).command for call in calls} == {
        *("merge", "push", "chat", "serve")
    }


def test_help_comes_without_torch() -> None:
    code = (
        "import sys; from objectives.adapter import main\n"
        "try: main(['merge', '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--dtype" in ended.stdout and "--storage" in ended.stdout
