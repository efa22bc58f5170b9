"""config, search_space and config_errors: what a file may say, and what is said to a wrong one."""

from __future__ import annotations

import logging
from pathlib import Path
import pickle

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from objectives.config import Experiment
from objectives.config import Hyperparameters
from objectives.config import load_experiment
from objectives.config import PEFT_DEFAULTS
from objectives.config import SearchSettings
from objectives.errors import UserError


EXAMPLES = Path(__file__).parents[2] / "examples"
ORDER = ["learning_rate", "alpha", "rank", "effective_batch", "weight_decay", "dropout"]
MINIMAL = {"model": 'name = "org/model"', "data": 'train = "org/data"'}


def write(folder: Path, **sections: str) -> Path:
    file = folder / "experiment.toml"
    whole = {**MINIMAL, **sections}
    file.write_text("".join(f"[{name}]\n{body}\n" for name, body in whole.items()))
    return file


def load(folder: Path, **sections: str) -> Experiment:
    return load_experiment(write(folder, **sections))


def refusal(folder: Path, **sections: str) -> list[str]:
    """The lines of the error, without the first, which names the file."""
    file = write(folder, **sections)
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    first, *lines = str(caught.value).split("\n")
    assert first == f"{file}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return [line.strip() for line in lines]


def test_a_minimal_file_has_the_papers_space(tmp_path: Path) -> None:
    experiment = load(tmp_path)
    assert experiment.model.name == "org/model"
    assert list(experiment.search_space()) == ORDER
    assert experiment.search_space() == {
        "learning_rate": FloatDistribution(1e-10, 1e-1, log=True),
        "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
        "rank": IntDistribution(2, 64),
        "alpha": IntDistribution(1, 64),
        "dropout": FloatDistribution(0.0, 0.5),
        "effective_batch": IntDistribution(4, 64, log=True),
    }
    assert experiment.direction == "minimize"


def test_every_kind_of_entry(tmp_path: Path) -> None:
    search = """
        learning_rate = 3e-4
        weight_decay = {low = 0.0, high = 0.1, step = 0.02}
        rank = {choices = [4, 8, 16]}
        alpha = {low = 0.5, high = 4, integer = false}
        dropout = 0
        effective_batch = {low = 8, high = 32, step = 8}
    """
    experiment = load(tmp_path, search=search)
    space = experiment.search_space()
    assert space == {
        "weight_decay": FloatDistribution(0.0, 0.1, step=0.02),
        "rank": CategoricalDistribution([4, 8, 16]),
        "alpha": FloatDistribution(0.5, 4.0),
        "effective_batch": IntDistribution(8, 32, step=8),
    }
    ranks = space["rank"]
    assert isinstance(ranks, CategoricalDistribution)
    assert all(isinstance(choice, int) for choice in ranks.choices)
    params = {"weight_decay": 0.02, "rank": 8, "alpha": 0.75, "effective_batch": 16}
    assert experiment.hyperparameters(params) == Hyperparameters(3e-4, 0.02, 8, 0.75, 0.0, 16)


def test_kinds_of_adapter_are_searched_after_the_numbers(tmp_path: Path) -> None:
    search = """
        dora = {choices = [false, true]}
        targets = {choices = ["all-linear", "attention", ["q_proj", "v_proj"]]}
        rslora = {choices = [true, false]}
    """
    experiment = load(tmp_path, search=search)
    space = experiment.search_space()
    assert list(space) == [*ORDER, "targets", "rslora", "dora"]
    assert space["targets"] == CategoricalDistribution(
        ["all-linear", "attention", "q_proj+v_proj"]
    )
    assert space["rslora"] == CategoricalDistribution([True, False])
    numbers = {name: 1 for name in ORDER}
    params = {**numbers, "targets": "q_proj+v_proj", "rslora": False, "dora": True}
    got = experiment.hyperparameters(params)
    assert (got.targets, got.rslora, got.dora) == ("q_proj+v_proj", False, True)
    assert got.told()["dora"] == "True" and got.told()["rank"] == "1"
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_kinds_that_are_not_searched_are_left_to_training(tmp_path: Path) -> None:
    experiment = load(tmp_path, training="dora = true")
    got = experiment.hyperparameters({name: 1 for name in ORDER})
    assert (got.targets, got.rslora, got.dora) == (None, None, None)
    assert list(got.told()) == list(Hyperparameters.__dataclass_fields__)[:6]


def test_whole_hyperparameters_are_python_ints() -> None:
    settings = SearchSettings.model_validate({"rank": 8, "alpha": 16, "effective_batch": 4})
    got = settings.hyperparameters({"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1})
    assert [type(v) for v in (got.rank, got.alpha, got.effective_batch)] == [int, int, int]


def test_peft_defaults_are_pefts() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig()
    ours = (PEFT_DEFAULTS.rank, PEFT_DEFAULTS.alpha, PEFT_DEFAULTS.dropout)
    assert ours == (config.r, config.lora_alpha, config.lora_dropout)


@given(
    low=st.floats(1e-12, 0.4),
    ratio=st.floats(1.01, 100),
    log=st.booleans(),
    name=st.sampled_from(["learning_rate", "weight_decay"]),
)
def test_a_range_becomes_its_distribution(low: float, ratio: float, log: bool, name: str) -> None:
    entry = {"low": low, "high": low * ratio, "log": log}
    settings = SearchSettings.model_validate({name: entry})
    assert settings.distributions()[name] == FloatDistribution(low, low * ratio, log=log)


def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    file = write(
        tmp_path, model='name = "base"', data='train = "./rows.jsonl"', scoring='tasks = "tasks"'
    )
    monkeypatch.chdir(file.parent.parent)
    experiment = load_experiment(file.relative_to(file.parent.parent))
    assert experiment.model.name == str(tmp_path / "base")
    assert experiment.data.train == str(tmp_path / "rows.jsonl")
    assert experiment.scoring.tasks == str(tmp_path / "tasks")


@pytest.mark.parametrize(
    ("scoring", "direction"),
    [
        ('objective = "loss"', "minimize"),
        ('objective = "hellaswag"', "maximize"),
        ('objective = "hellaswag"\nmetric = "brier_score"', "minimize"),
    ],
)
def test_direction(tmp_path: Path, scoring: str, direction: str) -> None:
    assert load(tmp_path, scoring=scoring).direction == direction


def test_an_experiment_travels_to_other_processes(tmp_path: Path) -> None:
    experiment = load(tmp_path, search="rank = {choices = [2, 4]}")
    assert pickle.loads(pickle.dumps(experiment)) == experiment


@pytest.mark.parametrize("name", ["llama_1b_alpaca", "tinyllama_alpaca", "standin"])
def test_examples_load(name: str) -> None:
    experiment = load_experiment(EXAMPLES / f"{name}.toml")
    assert list(experiment.search_space()) == ORDER
    assert experiment.study.name == name


# One mistake, one line: section, key, value, rule, way out.
MISTAKES = {
    "misspelt key": (
        {"data": 'train = "org/data"\nmask_promt = true'},
        "[data] mask_promt = true: there is no such key; did you mean mask_prompt?",
    ),
    "key of another section": (
        {"scoring": "trials = 5"},
        "[scoring] trials = 5: there is no such key; it belongs under [study]",
    ),
    "unknown key": (
        {"model": 'name = "org/model"\nzzz = "x"'},
        '[model] zzz = "x": there is no such key; choose from name, revision, dtype, quantization',
    ),
    "misspelt section": (
        {"trainig": "epochs = 2"},
        "[trainig]: there is no such section; did you mean [training]?",
    ),
    "missing key": (
        {"model": ""},
        '[model] name is missing; add name = "meta-llama/Llama-3.2-1B"',
    ),
    "text for a number": (
        {"training": 'micro_batch = "8"'},
        '[training] micro_batch = "8": must be a whole number; for example micro_batch = 8',
    ),
    "number for text": (
        {"study": "sampler = 3"},
        '[study] sampler = 3: must be text in quotes; for example sampler = "soo"',
    ),
    "not finite": (
        {"training": "epochs = inf"},
        "[training] epochs = inf: must be a finite number; for example epochs = 1.0",
    ),
    "out of range": (
        {"training": "warmup = 1"},
        "[training] warmup = 1: must be < 1.0; for example warmup = 0.05",
    ),
    "misspelt choice": (
        {"model": 'name = "org/model"\ndtype = "bf16"'},
        "[model] dtype = \"bf16\": must be 'auto', 'float32', 'bfloat16' or 'float16'; "
        'did you mean "bfloat16"?',
    ),
    "targets": (
        {"training": 'targets = "q_proj"'},
        '[training] targets = "q_proj": must be "all-linear", "attention", "mlp" or a list of '
        "module names; "
        'for example targets = ["q_proj", "v_proj"]',
    ),
    "template without instruction": (
        {"data": 'train = "org/data"\ntemplate = "Q: {input}"'},
        '[data] template = "Q: {input}": must be "alpaca" or contain {instruction}; '
        'write template = "alpaca"',
    ),
    "template with another field": (
        {"data": 'train = "org/data"\ntemplate = "{instruction} {question}"'},
        '[data] template = "{instruction} {question}": has no field for {question}; '
        "use {instruction} and {input}",
    ),
    "rank 0": (
        {"search": "rank = 0"},
        "[search] rank = 0: must be >= 1; usual values are 4 to 64",
    ),
    "rank from 0": (
        {"search": "rank = {low = 0, high = 8}"},
        "[search] rank = {low = 0, high = 8}: `low` must be >= 1; usual values are 4 to 64",
    ),
    "half a rank": (
        {"search": "rank = {low = 2, high = 8.5}"},
        "[search] rank = {low = 2, high = 8.5}: `high` must be a whole number; for example 8",
    ),
    "dropout 1": (
        {"search": "dropout = {low = 0.0, high = 1.0}"},
        "[search] dropout = {low = 0.0, high = 1.0}: `high` must be >= 0 and < 1; "
        "at 1 the adapter gets no gradient; usual values are 0 to 0.1",
    ),
    "effective batch": (
        {"search": "effective_batch = {choices = [-4, 8]}"},
        "[search] effective_batch = {choices = [-4, 8]}: each of `choices` must be >= 1; "
        "usual values are 4 to 64 samples",
    ),
    "learning rate 0": (
        {"search": "learning_rate = 0.0"},
        "[search] learning_rate = 0.0: must be > 0; usual values are 1e-5 to 1e-3",
    ),
    "alpha 0": (
        {"search": "alpha = 0"},
        "[search] alpha = 0: must be > 0; usual values are 4 to 64",
    ),
    "weight decay below 0": (
        {"search": "weight_decay = -0.1"},
        "[search] weight_decay = -0.1: must be >= 0; 0 switches it off",
    ),
    "bounds reversed": (
        {"search": "rank = {low = 64, high = 2}"},
        "[search] rank = {low = 64, high = 2}: `low < high` must hold; swap the bounds, "
        "or write one number to fix it",
    ),
    "log of 0": (
        {"search": "weight_decay = {low = 0.0, high = 0.1, log = true}"},
        "[search] weight_decay = {low = 0.0, high = 0.1, log = true}: `low > 0` must hold "
        "where `log = true`; raise low or leave log out",
    ),
    "log and step": (
        {"search": "rank = {low = 2, high = 8, log = true, step = 2}"},
        "[search] rank = {low = 2, high = 8, log = true, step = 2}: `step` and `log = true` "
        "exclude each other; leave one of them out",
    ),
    "step beside the range": (
        {"search": "rank = {low = 2, high = 9, step = 2}"},
        "[search] rank = {low = 2, high = 9, step = 2}: `high - low` must be a multiple of "
        "`step`; change high or step",
    ),
    "step 0": (
        {"search": "dropout = {low = 0.0, high = 0.5, step = 0.0}"},
        "[search] dropout = {low = 0.0, high = 0.5, step = 0.0}: `step` must be a positive "
        "number of the same kind; correct or omit it",
    ),
    "a rank that is no integer": (
        {"search": "rank = {low = 2, high = 8, integer = false}"},
        "[search] rank = {low = 2, high = 8, integer = false}: `integer` cannot be changed, "
        "rank takes whole numbers; leave integer out",
    ),
    "repeated choices": (
        {"search": "rank = {choices = [2, 2]}"},
        "[search] rank = {choices = [2, 2]}: `choices` must differ from each other; "
        "leave the repeated ones out",
    ),
    "no choices": (
        {"search": "rank = {choices = []}"},
        "[search] rank.choices = []: must not be empty; "
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "half a range": (
        {"search": "rank = {high = 8}"},
        "[search] rank = {high = 8}: `low` is missing; "
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "misspelt key of a range": (
        {"search": "rank = {low = 2, high = 8, logg = true}"},
        "[search] rank.logg = true: there is no such key; did you mean log?",
    ),
    "text for a range": (
        {"search": 'rank = "8"'},
        '[search] rank = "8": must be a number, a range or choices; '
        "write a number, {low = ..., high = ...} or {choices = [...]}",
    ),
    "a variant fixed where it is searched": (
        {"search": "dora = true"},
        "[search] dora = true: must be {choices = [...]}; "
        "a fixed one belongs under [training]: dora = ...",
    ),
    "a variant of one choice": (
        {"search": "rslora = {choices = [true]}"},
        "[search] rslora = {choices = [true]}: must have at least two different `choices`; "
        "add one, or fix it under [training]",
    ),
    "a number for a truth value": (
        {"search": "dora = {choices = [0, 1]}"},
        "[search] dora = {choices = [0, 1]}: each of `choices` must be true or false; "
        "write choices = [true, false]",
    ),
    "a group that nobody knows": (
        {"search": 'targets = {choices = ["all-linear", "atention"]}'},
        '[search] targets = {choices = ["all-linear", "atention"]}: each of `choices` must be '
        '"all-linear", "attention", "mlp" or a list of module names; '
        'for example [["q_proj", "v_proj"], "all-linear"]',
    ),
    "a variant in two sections": (
        {"training": "dora = false", "search": "dora = {choices = [true, false]}"},
        "[search] dora = {choices = [true, false]}: is fixed under [training] as well; "
        "leave it out in one of the two sections",
    ),
    "nothing searched": (
        {"search": "\n".join(f"{name} = {0.5 if name == 'dropout' else 1}" for name in ORDER)},
        "[search]: every hyperparameter is fixed; give at least one of them a range",
    ),
    "test on the objective": (
        {"scoring": 'objective = "mmlu"\ntest = ["hellaswag", "mmlu"]'},
        '[scoring] test = ["hellaswag", "mmlu"]: must not hold the objective\'s task: the best of '
        "many trials on it is no test; test on another task, or set same_task = true",
    ),
}


@pytest.mark.parametrize(("sections", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gives_one_line(tmp_path: Path, sections: dict[str, str], line: str) -> None:
    assert refusal(tmp_path, **sections) == [line]


@pytest.mark.parametrize("name", ["./base", "../base", "/base", "~/no/such/base"])
def test_a_path_must_exist(tmp_path: Path, name: str) -> None:
    path = tmp_path / Path(name).expanduser()
    line = f'[model] name = "{name}": does not exist (looked for {path}); '
    assert refusal(tmp_path, model=f'name = "{name}"') == [
        line + "paths start at the experiment file"
    ]


def test_files_and_folders_must_exist(tmp_path: Path) -> None:
    lines = refusal(tmp_path, data='train = "rows.jsonl"', scoring='tasks = "tasks"')
    assert lines == [
        f'[data] train = "rows.jsonl": does not exist (looked for {tmp_path / "rows.jsonl"}); '
        "paths start at the experiment file",
        f'[scoring] tasks = "tasks": must be a folder (looked for {tmp_path / "tasks"}); '
        "paths start at the experiment file",
    ]


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    lines = refusal(tmp_path, search="rank = 0\ndropout = 1", training="epochs = 0", stdy="x = 1")
    assert [line.split(" =")[0] for line in lines] == [
        "[training] epochs",
        "[search] rank",
        "[search] dropout",
        "[stdy]: there is no such section; did you mean [study]?",
    ]


def test_missing_sections_and_stray_keys(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text('trials = 5\nstudy = "x"\nspeed = 1')
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    assert [line.strip() for line in str(caught.value).split("\n")[1:]] == [
        '[model] is missing; add it with name = "meta-llama/Llama-3.2-1B"',
        '[data] is missing; add it with train = "yahma/alpaca-cleaned"',
        'study = "x": must be a section; write [study] and its keys below it',
        "trials = 5: stands outside of all sections; it belongs under [study]",
        "speed = 1: stands outside of all sections; it belongs under a section such as [study]",
    ]


def test_the_same_task_is_allowed_by_name_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scoring = 'objective = "mmlu"\ntest = ["mmlu"]\nsame_task = true'
    with caplog.at_level(logging.WARNING):
        load(tmp_path, scoring=scoring)
    assert "mmlu is objective and test" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such experiment file; check the path"),
        (b"[model\n", "is not valid TOML: "),
        (b"[model]\nname = 1\nname = 2\n", "is not valid TOML: "),
        (b'[model]\nname = "\xff"\n', "is not valid TOML: "),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "experiment.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    assert str(caught.value).startswith(f"{file}: {message}")


def test_a_folder_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read .* give a TOML file"):
        load_experiment(tmp_path)
