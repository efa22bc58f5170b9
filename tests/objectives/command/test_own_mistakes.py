"""What is wrong in a file with `[command]`: one line for each, before the first trial."""

from __future__ import annotations

from pathlib import Path

from commands import bad
import pytest
from trainers import own
from trainers import SEARCH


RUN = '"python train.py --out {{output}} --lr {{learning_rate}} --rank {{rank}}'
WITH_CONFIG = {"run": f'{RUN} --config {{{{config}}}}"', "config": '"base.yml"'}
DOTTED = 'learning_rate = {low = 1e-4, high = 1e-1}\n"adapter.rank" = {choices = [4, 8]}'
NO_RANK = '"python train.py --out {{output}} --lr {{learning_rate}} --config {{config}}"'
MISTAKES = {
    "nothing to run": (
        {"run": '""'},
        {},
        'run = "": is empty; for example run = "python train.py --lr {learning_rate}"',
    ),
    "run is a number": ({"run": "3"}, {}, "run = 3: must be a text or a list of texts; "),
    "a quotation mark alone": (
        {"run": "'python \"train.py'"},
        {},
        "cannot be split into words (No closing quotation); give each quotation mark its partner",
    ),
    "no such program": (
        {"run": f'{RUN}"'.replace("python", "acelerate")},
        {},
        "`[command] run`: there is no program acelerate in PATH; correct it, or activate",
    ),
    "no such file": (
        {"run": f'{RUN}"'.replace("python", "./train.sh")},
        {},
        "`[command] run`: there is no program ./train.sh in /",
    ),
    "a placeholder nobody fills": (
        {"run": RUN.replace("{{rank}}", "{{rnk}}") + '"'},
        {},
        "nothing fills {rnk}; did you mean {rank}?",
    ),
    "a placeholder of something else": (
        {"run": RUN + ' --format {{completion}}"'},
        {},
        "nothing fills {completion}; search it under [search], or write {{completion}} for the",
    ),
    "a parameter that goes nowhere": (
        {"run": RUN.replace("{{rank}}", "8") + '"'},
        {},
        "nothing takes the parameter rank; write {rank} in it",
    ),
    "{config} of no file": (
        {"run": WITH_CONFIG["run"]},
        {},
        "{config} is a copy of a file; say which: config = ...",
    ),
    "a config that nobody reads": (
        {"run": f'{RUN}"', "config": '"base.yml"'},
        {},
        "nothing reads the config; write {config} where its path belongs",
    ),
    "a config that is not there": (
        {**WITH_CONFIG, "config": '"bse.yml"'},
        {},
        'config = "bse.yml": cannot be read (looked for /',
    ),
    "a config of another kind": (
        {**WITH_CONFIG, "config": '"train.py"'},
        {},
        'config = "train.py": must end in .yml, .yaml, .json, .toml; convert the file',
    ),
    "a config that is no YAML": (
        {**WITH_CONFIG, "config": '"broken.yml"'},
        {},
        'config = "broken.yml": is not valid YAML: ',
    ),
    "a config that is a list": (
        {**WITH_CONFIG, "config": '"list.json"'},
        {},
        'config = "list.json": must hold keys and values at its top; ',
    ),
    "a config that is a number": (
        {**WITH_CONFIG, "config": "3"},
        {},
        'config = 3: must be the path of a file, in quotes; for example config = "base.yml"',
    ),
    "a config that holds itself": (
        {**WITH_CONFIG, "config": '"itself.yml"'},
        {},
        'config = "itself.yml": is nested too deep, or holds itself; write it out, flatter',
    ),
    "a config nested deep": (
        {**WITH_CONFIG, "config": '"deep.json"'},
        {},
        'config = "deep.json": is nested too deep, or holds itself; ',
    ),
    "half a letter in a config": (
        {**WITH_CONFIG, "config": '"half.json"'},
        {},
        'config = "half.json": is not valid JSON: ',
    ),
    "a dotted path that is not in it": (
        {"run": NO_RANK, "config": '"base.yml"'},
        {"search": DOTTED.replace("adapter.rank", "adapter.lora_rank")},
        "has no value under adapter.lora_rank, and `run` no {adapter.lora_rank}; "
        "did you mean adapter.rank?",
    ),
    "a dotted path to a table": (
        {"run": NO_RANK, "config": '"base.yml"'},
        {"search": DOTTED.replace("adapter.rank", "adapter")},
        "has no value under adapter, and `run` no {adapter}; its keys are adapter.rank, ",
    ),
    "no value": ({"value": None}, {}, "[command] value is missing; add value = {json = "),
    "two values": (
        {"value": '{{json = "{{output}}/a.json", key = "a", pattern = "a=(.*)"}}'},
        {},
        "must have exactly one of json, trainer_state, pattern; write {json = ",
    ),
    "a value without its key": (
        {"value": '{{json = "{{output}}/a.json"}}'},
        {},
        "`key` is missing; it has json, key, step",
    ),
    "a value with a key too many": (
        {"value": '{{trainer_state = "{{output}}", metrik = "eval_loss"}}'},
        {},
        "`metric` is missing; it has trainer_state, metric",
    ),
    "a value that all trials share": (
        {"value": '{{json = "results.json", key = "a"}}'},
        {},
        "`json` must begin with {output}, the trial's own folder; a path that trials share would ",
    ),
    "a value by a parameter": (
        {"value": '{{json = "{{output}}/{{rank}}.json", key = "a"}}'},
        {},
        "`json` must have no placeholder but {output}, and has {rank}; have the trainer write ",
    ),
    "a step of a whole file": (
        {"value": '{{json = "{{output}}/a.json", key = "a", step = "b"}}'},
        {},
        "`step` is for files of lines, which end in .jsonl; leave it out",
    ),
    "a pattern that is none": (
        {"value": '{{pattern = "loss=([0-9.+"}}'},
        {},
        "`pattern` is no regular expression (unterminated character set",
    ),
    "a pattern without a group": (
        {"value": '{{pattern = "loss=[0-9.]+"}}'},
        {},
        "`pattern` must have one group for the value, and has 0; write (?P<value>...) for it",
    ),
    "an output nobody knows of": (
        {"run": '"python train.py --lr {{learning_rate}} --rank {{rank}}"'},
        {},
        "the value is read in {output}, and nothing tells the trainer to write there; write ",
    ),
    "no direction": (
        {"direction": None},
        {},
        '[command] direction is missing; add direction = "minimize"',
    ),
    "another direction": (
        {"direction": '"down"'},
        {},
        "direction = \"down\": must be 'minimize' or 'maximize'; for example direction = ",
    ),
    "a key of [study]": (
        {"time_limit": "3600"},
        {},
        "time_limit = 3600: there is no such key; it belongs under [study]",
    ),
    "keep what": ({"keep": '"bst"'}, {}, 'keep = "bst": must be '),
    "a baseline of no parameter": (
        {"baseline": "{{learning_rate = 1e-3, rnk = 4}}"},
        {},
        "`rnk` is not searched; did you mean rank?",
    ),
    "a baseline that is no table": (
        {"baseline": "3"},
        {},
        "baseline = 3: must be a table; correct it or leave the key out",
    ),
    "a baseline that lacks one": (
        {"baseline": "{{learning_rate = 1e-3}}"},
        {},
        "`rank` is missing; add it",
    ),
    "a baseline outside the range": (
        {"baseline": "{{learning_rate = 1e-3, rank = 64}}"},
        {},
        "`rank` = 64 is not within [search]; widen the range, or change it",
    ),
    "a baseline that YAML takes for a text": (
        {
            "run": '"python train.py --out {{output}} {{rank}} {{config}}"',
            "config": '"text.yml"',
            "baseline": "{{rank = 4}}",
        },
        {},
        '`learning_rate` is the text "1e-4" in text.yml; write a number there; YAML takes 1e-4 ',
    ),
    "a fixed parameter": (
        {},
        {"search": SEARCH + "warmup = 0.1"},
        "[search] warmup = 0.1: must be {low = ..., high = ...} or {choices = [...]}; a fixed",
    ),
    "one choice": (
        {},
        {"search": SEARCH + "kind = {choices = [1]}"},
        "must have at least two different `choices`; add one; a fixed value belongs into ",
    ),
    "a choice that is a list": (
        {},
        {"search": SEARCH + 'kind = {choices = [["a"], ["b"]]}'},
        "each of `choices` must be a number, a text, true or false; ",
    ),
    "a range upside down": (
        {},
        {"search": SEARCH.replace("high = 16", "high = 1")},
        "[search] rank = {low = 2, high = 1}: `low < high` must hold; swap the bounds, or ",
    ),
    "a whole number of many digits": (
        {},
        {"search": SEARCH.replace("high = 16", f"high = {10**23}")},
        "whole numbers must fit into 64 bits; or write the bounds as 1.0 is",
    ),
    "half a whole number": (
        {},
        {"search": SEARCH.replace("low = 2, ", "low = 2.5, integer = true, ")},
        "`low`, `high` and `step` must be whole numbers; or leave integer out",
    ),
    "a key of a range": (
        {},
        {"search": SEARCH.replace("log = true", "logg = true")},
        "there is no key `logg`; did you mean log?",
    ),
    "nothing is searched": ({}, {"search": ""}, "[search]: no parameter is searched; for example"),
    "a parameter called output": (
        {},
        {"search": SEARCH + "output = {low = 1, high = 2}"},
        "{output} is filled by the command itself; call the parameter something else",
    ),
    "a section of our own training": (
        {},
        {"study": "[training]\nepochs = 1"},
        "[training]: is of this project's own training, and [command] runs another; leave one",
    ),
    "a pruner without values on the way": (
        {},
        {"study": 'pruner = "asha"'},
        "--pruner asha: goes by values on the way, and {output}/results.json has one at the end",
    ),
    "GPUs per trial": (
        {},
        {"study": "gpus_per_trial = 2"},
        "`[study] gpus_per_trial`: is not for a [command]; --workers shares the GPUs out",
    ),
    "a pack": ({}, {"study": "pack = 2"}, "`[study] pack`: is not for a [command]; a trainer is"),
    "new processes": ({}, {"study": "warm = false"}, "`[study] warm` = false: each trial of a"),
    "a name that is a path": (
        {},
        {"study": 'name = "a/b"'},
        "`[study] name` = 'a/b': must be a name and no path, as it is a folder in --output; give",
    ),
    "a tracker": ({}, {"study": 'tracker = "wandb"'}, "tell the trainer to track; leave it out"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, tmp_path: Path) -> None:
    command, sections, told = MISTAKES[mistake]
    (tmp_path / "base.yml").write_text("adapter:\n  rank: 8\n  alpha: 16\n")
    (tmp_path / "broken.yml").write_text("adapter: [8\n")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "itself.yml").write_text("a: &a\n  b: *a\n")
    (tmp_path / "deep.json").write_text('{"a": ' + "[" * 5000 + "]" * 5000 + "}")
    (tmp_path / "half.json").write_text(r'{"a": "\ud800"}')
    (tmp_path / "text.yml").write_text("learning_rate: 1e-4\n")
    file = own(tmp_path, **sections, **{k: v or "" for k, v in command.items()})
    lacking = [f"{key} = " for key, text in command.items() if text is None]
    lines = [line for line in file.read_text().splitlines() if line not in lacking]
    file.write_text("\n".join(lines))
    message = bad(file)
    assert told in message
    assert "1 problem\n" in message or message.count("\n") == 1, "nothing but the one mistake"
    assert not (tmp_path / "runs").exists(), "nothing half-started"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--pack", "2"), "error: --pack 2: is not for a [command]; a trainer is"),
        (("--cold",), "error: --cold: each trial of a [command] has new processes"),
        (("--study", "a/b"), "error: --study 'a/b': must be a name and no path"),
    ],
)
def test_an_option_is_told_as_it_was_given(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    assert bad(own(tmp_path), *options).startswith(told)


def test_several_mistakes_are_told_together(tmp_path: Path) -> None:
    message = bad(own(tmp_path, run='""', keep='"some"', search="rank = 3"))
    assert message.splitlines()[0].endswith("3 problems")


def test_a_command_that_is_no_section(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('command = "train"')
    message = bad(tmp_path / "own.toml")
    assert 'command = "train": must be a section; write [command] and its keys below it' in message
