"""The folder `best_adapter` serves whoever gets it: its example runs, and it tells no path."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
import io
import json
from pathlib import Path
import re
import shutil
from typing import Any

from huggingface_hub import constants
import optuna
from peft import AutoPeftModelForCausalLM
from peft import PeftModel
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import BitsAndBytesConfig
from transformers import PreTrainedModel

from examples.standin.questions import TEMPLATE
from objectives.adapter.found import Adapter
from objectives.adapter.serve import serving
from objectives.data.templates import prompt
from objectives.model.quantized import loading_arguments
from objectives.objective import LoraObjective
from objectives.report.given import FinalRow
from objectives.result.best_adapter import save_best
from objectives.result.model_card import model_card
from objectives.result.names import Named
from objectives.result.names import named_base
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.study import StudySettings
from objectives.training.runner import load_runner


# peft 0.21, transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")

ROOT = Path(__file__).parents[3]
PARAMS = {
    "learning_rate": 5e-3,
    "weight_decay": 0.01,
    "rank": 4,
    "alpha": 16,
    "dropout": 0.0,
    "effective_batch": 8,
}
COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
INSTRUCTION = "Name the three primary colours."
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@dataclass(frozen=True)
class Tuned:
    """A study of one trial on the stand-in."""

    experiment: Experiment
    study: optuna.Study
    folder: Path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    experiment = load_experiment(ROOT / "examples" / "standin.toml")
    data = experiment.data.model_copy(update={"limit": 160, "validation_limit": 16})
    experiment = experiment.model_copy(update={"data": data})
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    study = optuna.create_study(study_name="tuned")
    study.enqueue_trial(PARAMS)
    study.optimize(LoraObjective(experiment, load_runner(experiment), folder), n_trials=1)
    return Tuned(experiment, study, folder)


def saved(tuned: Tuned, folder: Path, experiment: Experiment | None = None) -> Path:
    target = save_best(experiment or tuned.experiment, tuned.study, [], folder)
    assert target is not None
    return target


def made(tuned: Tuned, experiment: Experiment, *rows: FinalRow, **changes: Any) -> str:
    """The card of its best trial."""
    usual = {"looks": 1, "way": "instruction", "end": None, "config": {"r": 8}}
    return model_card(experiment, "study", tuned.study.best_trial, rows, **usual | changes)


def example(card: str, **variables: Path | str) -> str:
    """The card's Python, with the variables at its top that a reader sets."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
    for name, value in variables.items():
        code, found = re.subn(rf"^{name} = .*", f"{name} = {str(value)!r}", code, flags=re.M)
        assert found == 1, name
    return code


def ran(code: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """What a script prints that somebody starts in a folder of their own, and its variables."""
    folder.mkdir(exist_ok=True)
    patch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "mine.py", "exec"), names)
    return printed.getvalue(), names


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 60).unsqueeze(0)).logits


@pytest.mark.usefixtures("offline")
def test_the_card_s_example_runs_from_any_folder_and_merges(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = saved(tuned, tmp_path / "given")
    moved = shutil.move(adapter, tmp_path / "elsewhere")
    card = (moved / "README.md").read_text()
    code = example(card, BASE=tuned.experiment.model.name, ADAPTER=moved)
    printed, _ = ran(code, tmp_path / "mine", monkeypatch)

    base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tuned.experiment.model.name)
    before = logits(base)
    model = PeftModel.from_pretrained(base, moved)
    tokenizer = AutoTokenizer.from_pretrained(tuned.experiment.model.name)
    text = prompt({"instruction": INSTRUCTION}, TEMPLATE).rstrip()
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    answer = model.generate(input_ids=ids, max_new_tokens=64)[0, ids.shape[1] :]
    assert printed.strip() == tokenizer.decode(answer, skip_special_tokens=True).strip() != ""

    after = logits(model)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "mine" / "merged")
    assert (after - before).abs().max() > 0.1, "the adapter has learned"
    # both are in bfloat16, whose rounding is all that may differ
    assert (logits(merged) - after).abs().mean() < 0.05 * (after - before).abs().mean()
    there = AutoTokenizer.from_pretrained(tmp_path / "mine" / "merged")
    assert there(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_the_card_says_how_the_adapter_is_served(tuned: Tuned, tmp_path: Path) -> None:
    card = (saved(tuned, tmp_path) / "README.md").read_text()
    lora = "--enable-lora --lora-modules tuned=best_adapter --max-lora-rank 8"
    assert "\n## Serve\n\nvLLM serves" in card and f"\nvllm serve ./standin {lora}\n```" in card
    hub = tuned.experiment.model.model_copy(
        update={"name": "org/base", "revision": "v2", "quantization": "4bit"}
    )
    experiment = tuned.experiment.model_copy(update={"model": hub})
    card = made(tuned, experiment, config={"r": 65})
    options = "--revision v2 --quantization bitsandbytes --enable-lora"
    assert f"\nvllm serve org/base {options} " in card and "--max-lora-rank 128\n" in card
    card = made(tuned, experiment, config={"r": 8, "use_dora": True})
    assert "vLLM takes no DoRA adapter" in card and "\nvllm serve merged " in card


@pytest.mark.parametrize(("dtype", "computed"), [("auto", "bfloat16"), ("float16", "float16")])
def test_a_base_in_4_bits_is_loaded_as_it_was_for_training(
    tuned: Tuned, dtype: str, computed: str
) -> None:
    """By the card, whose merged model has those very weights, and by the line that serves it."""
    bits = {"name": "/data/standin", "quantization": "4bit", "dtype": dtype}
    card = card_of(tuned, model=bits)
    line = "python -m objectives.adapter merge best_adapter --to merged --base ./standin"
    assert f"```sh\n{line}\n```" in card and "merge_and_unload" not in card
    assert "BitsAndBytesConfig" not in card_of(tuned)
    adapter = Adapter(Path("lora"), {"r": 8}, ModelSettings(**bits), tuned.experiment.data, None)
    config = loading_arguments(getattr(torch, computed), torch.device("cpu"))
    for code in (example(card), serving(adapter)):
        told = re.search(r"QUANTIZATION = (BitsAndBytesConfig\(.*?\n\))", code, re.DOTALL)
        assert told is not None and "quantization_config=QUANTIZATION)" in code
        found = eval(told[1], {"BitsAndBytesConfig": BitsAndBytesConfig})
        assert found.to_dict() == config["quantization_config"].to_dict()


@pytest.mark.usefixtures("offline")
def test_a_base_of_the_hub_is_loaded_by_its_name(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder given is one of the hub's cache, as a cluster without a network has it."""
    cached = tmp_path / "hub" / "models--org--standin"
    snapshot = cached / "snapshots" / COMMIT
    shutil.copytree(tuned.experiment.model.name, snapshot)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    model = ModelSettings(name=str(snapshot))
    experiment = tuned.experiment.model_copy(update={"model": model})
    adapter = saved(tuned, tmp_path / "given", experiment)

    card = (adapter / "README.md").read_text()
    assert "\nbase_model: org/standin\n" in card
    assert f'from_pretrained(BASE, revision="{COMMIT}")' in card
    code = example(card, ADAPTER=adapter)
    auto = (
        "from peft import AutoPeftModelForCausalLM\n"
        "print(AutoPeftModelForCausalLM.from_pretrained(ADAPTER).peft_config['default'].r)\n"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))  # read at each call
    printed, _ = ran(code + auto, tmp_path / "mine", monkeypatch)
    assert printed.splitlines()[-1] == str(PARAMS["rank"])


def test_a_local_base_is_found_beside_the_reader_and_never_on_the_hub(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = saved(tuned, tmp_path / "given")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"'./standin'"):
        AutoPeftModelForCausalLM.from_pretrained(adapter)
    (tmp_path / "standin").symlink_to(tuned.experiment.model.name)
    assert isinstance(AutoPeftModelForCausalLM.from_pretrained(adapter), PeftModel)


def test_the_best_adapter_tells_all_settings_and_nothing_of_the_machine(
    tuned: Tuned, tmp_path: Path
) -> None:
    """It is made to be published."""
    settings = StudySettings(
        storage="postgresql+psycopg://me:s3cret@host/db",
        seed=7,
        output="/home/me/runs",
        launcher="accelerate launch --config_file /home/me/nodes.yaml",
    )
    folder = saved(tuned, tmp_path, tuned.experiment.model_copy(update={"study": settings}))
    for file in folder.iterdir():
        content = file.read_bytes().decode(errors="replace")
        assert "s3cret" not in content, file
        assert str(ROOT) not in content and str(tmp_path.parent) not in content, file
        if file.suffix != ".safetensors" and file.name != "tokenizer.json":
            assert not re.search(r"(?<![\w.:/<])/\w", content), f"a path in {file}"
    told = json.loads((folder / "experiment.json").read_text())["experiment"]
    assert told["study"]["seed"] == 7 and told["data"]["limit"] == 160
    assert told["model"]["name"] == "standin" and told["data"]["train"] == "train.jsonl"


def card_of(tuned: Tuned, **sections: dict[str, object]) -> str:
    update = {
        name: getattr(tuned.experiment, name).model_copy(update=settings)
        for name, settings in sections.items()
    }
    experiment = tuned.experiment.model_copy(update=update)
    return made(tuned, experiment)


def test_the_card_says_what_was_trained_on_what(tuned: Tuned) -> None:
    model = {"name": "org/model", "revision": "v2", "dtype": "float32"}
    card = card_of(tuned, model=model, data={"train": "org/data"}, training={"epochs": 2.0})
    assert "The base is `org/model` at revision `v2`. " in card
    assert "for 2 epochs on `org/data` (160 of its rows)" in card
    assert "\nbase_model: org/model\ndatasets: [org/data]\n" in card
    assert 'from_pretrained(BASE, revision="v2", dtype="float32")' in card
    local = card_of(tuned)
    assert "base_model" not in local and "datasets" not in local
    assert "`standin`, a folder that is not on the hub" in local and "for 1 epoch on" in local
    scoring = {"objective": "hellaswag", "metric": "acc_norm"}
    assert "chosen by its acc_norm on hellaswag" in card_of(tuned, scoring=scoring)


def test_alpaca_s_two_prompts_and_a_prompt_with_blocks_of_markdown(tuned: Tuned) -> None:
    alpaca = card_of(tuned, data={"template": "alpaca"})
    without = prompt({"instruction": "{instruction}"}, "alpaca")
    given = prompt({"instruction": "{instruction}", "input": "{input}"}, "alpaca")
    assert f"```text\n{without.rstrip()}\n```" in alpaca
    assert f"With an input:\n\n```text\n{given.rstrip()}\n```" in alpaca
    assert f"PROMPT = {json.dumps(without.rstrip())}" in alpaca
    fenced = card_of(tuned, data={"template": "```\n{instruction}\n```\n{input}"})
    assert "````text\n```\n{instruction}\n```\n{input}\n````" in fenced
    assert 'PROMPT.replace("{instruction}", INSTRUCTION).replace("{input}", INPUT)' in fenced


def test_a_prompt_of_other_columns_and_one_of_none(tuned: Tuned) -> None:
    asked = card_of(tuned, data={"template": "Q: {question}\n{prompt}\nA:"})
    assert 'QUESTION = "..."\nCOLUMN_PROMPT = "..."\n' in asked
    assert (
        'text = PROMPT.replace("{question}", QUESTION).replace("{prompt}", COLUMN_PROMPT)\n'
    ) in asked
    card = made(tuned, tuned.experiment, way="text")
    assert "\ntext = PROMPT\n" in card and "{instruction}" not in card


def test_the_card_of_a_chat_runs(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokenizer has the experiment's chat template, and BOS is not doubled."""
    ended = CHAT.replace("{% endfor %}", "<pad>{% endfor %}")
    chat = {"template": "chat", "chat_template": ended, "system": "Be brief."}
    data = tuned.experiment.data.model_copy(update=chat)
    adapter = saved(tuned, tmp_path / "given", tuned.experiment.model_copy(update={"data": data}))
    base = tuned.experiment.model.name
    code = example((adapter / "README.md").read_text(), BASE=base, ADAPTER=adapter)
    _, names = ran(code, tmp_path, monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = f"{tokenizer.bos_token}[system] Be brief. <pad>[user] {INSTRUCTION} <pad>[assistant]"
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert names["tokens"]["input_ids"].tolist() == [expected]
    assert '64, stop_strings="<pad>", tokenizer=tokenizer)' in code


def test_a_card_names_all_data_of_the_hub(tuned: Tuned) -> None:
    train = ["org/a", {"name": "org/b", "weight": 0.5}, "/home/me/rows.csv"]
    data = DataSettings.model_validate({"train": train})
    card = card_of(tuned, data={"train": data.train, "limit": None})
    assert "\ndatasets: [org/a, org/b]\n" in card
    assert "on `org/a + org/b (weight 0.5) + rows.csv`." in card and "/home/me" not in card
    preferences = card_of(tuned, data={"limit": None}, training={"method": "dpo"})
    assert "on `train.jsonl`, by direct preference optimisation." in preferences


def test_the_final_test_is_in_the_card(tuned: Tuned) -> None:
    row = FinalRow("base", None, 3.5, {"mc": (0.25, 0.01)})
    card = made(tuned, tuned.experiment, row, looks=3)
    assert "| base | 3.5000 | 0.2500 ± 0.0100 |" in card and "This is look 3" in card


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/data/standin/model", "standin"),
        ("/data/my-llama", "my-llama"),
        ("/home/alice/model", "model"),
        ("/Users/alice/base", "base"),
        (str(Path.home() / "model"), "model"),
        ("/model", "model"),
    ],
)
def test_a_folder_is_named_without_its_owner(folder: str, name: str) -> None:
    assert named_base(ModelSettings(name=folder)) == Named(name, None, on_hub=False)


def test_what_a_folder_was_made_from_is_told_and_is_no_name_of_it(
    tuned: Tuned, tmp_path: Path
) -> None:
    """transformers 4 wrote it, also into folders of models that were trained further."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for origin, said in (("org/llama", True), ("/home/alice/llama", False), ("", False)):
        (folder / "config.json").write_text(json.dumps({"_name_or_path": origin}))
        card = card_of(tuned, model={"name": str(folder)})
        assert ("its configuration says that it was made from `org/llama`" in card) is said
        assert "base_model" not in card and "alice" not in card
