"""Experiment file -> typed, checked settings; reads that one file and looks whether others exist.

`load_experiment` is the way in. Every mistake in a file is found at once, one line each:

    examples/standin.toml: 2 problems
      [search] rank = 0: must be >= 1; usual values are 4 to 64
      [trainig]: there is no such section; did you mean [training]?
"""

from __future__ import annotations

from collections.abc import Mapping
import logging
from pathlib import Path
import re
import tomllib
from typing import Annotated
from typing import Any
from typing import Literal

from optuna.distributions import BaseDistribution
from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator
from pydantic import ValidationError
from pydantic import ValidationInfo

from objectives.config_errors import describe
from objectives.config_errors import refuse
from objectives.errors import UserError
from objectives.search_space import Choices
from objectives.search_space import Hyperparameters
from objectives.search_space import PEFT_DEFAULTS
from objectives.search_space import Range
from objectives.search_space import SearchSettings
from objectives.search_space import STRICT
from objectives.variants import ALL_LINEAR
from objectives.variants import Targets
from objectives.variants import VARIANTS


__all__ = [
    "PEFT_DEFAULTS",
    "Choices",
    "DataSettings",
    "Experiment",
    "Hyperparameters",
    "ModelSettings",
    "Range",
    "ScoringSettings",
    "SearchSettings",
    "StudySettings",
    "TrainingSettings",
    "load_experiment",
]

_logger = logging.getLogger(__name__)

# lm-eval's metrics registered with higher_is_better=False (lm_eval 0.4.13, api/metrics.py).
_LOWER_IS_BETTER = {
    "bits_per_byte",
    "brier_score",
    "byte_perplexity",
    "perplexity",
    "ter",
    "word_perplexity",
}


def _existing_or_hub(value: str, info: ValidationInfo) -> str:
    """A path relative to the experiment file made absolute; a hub name as it is."""
    if info.context is None:
        return value
    path = info.context["folder"] / Path(value).expanduser()
    if path.exists():
        return str(path.resolve())
    if re.match(r"[./~]", value) or value.endswith((".json", ".jsonl")):
        raise refuse(f"does not exist (looked for {path})", "paths start at the experiment file")
    return value


def _folder(value: str, info: ValidationInfo) -> str:
    if info.context is None:
        return value
    path = info.context["folder"] / Path(value).expanduser()
    if not path.is_dir():
        raise refuse(f"must be a folder (looked for {path})", "paths start at the experiment file")
    return str(path.resolve())


def _template(value: str) -> str:
    unknown = set(re.findall(r"\{(\w+)\}", value)) - {"instruction", "input"}
    if unknown:
        raise refuse(f"has no field for {{{min(unknown)}}}", "use {instruction} and {input}")
    if value != "alpaca" and "{instruction}" not in value:
        raise refuse('must be "alpaca" or contain {instruction}', 'write template = "alpaca"')
    return value


def _country(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise refuse("must be three capital letters (ISO 3166)", 'for example country = "FRA"')
    return value


Source = Annotated[str, Field(min_length=1), AfterValidator(_existing_or_hub)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]


class ModelSettings(BaseModel):
    """`[model]`: the base.

    Attributes:
        name: A folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.
        dtype: Of the base's weights; auto is bfloat16 where there is CUDA, else float32.
        quantization: "4bit" keeps the base's linear weights in NormalFloat 4 (QLoRA) and computes
            in dtype; needs bitsandbytes and CUDA.
    """

    model_config = STRICT

    name: Source = Field(examples=["meta-llama/Llama-3.2-1B"])
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["4bit"] | None = None


class DataSettings(BaseModel):
    """`[data]`: rows with Alpaca's fields instruction, input (optional) and output.

    Attributes:
        train: A .json or .jsonl file, or a name on the hub (its split "train").
        validation: The same (on the hub: its split "validation"); None takes validation_rows
            of the training rows away instead.
        validation_rows: Rows; used where validation is None.
        split_seed: Which rows that are, and in which order limits take them.
        template: "alpaca", or a text with {instruction} and perhaps {input}: all that stands
            before the answer.
        mask_prompt: The loss counts the answer's tokens only.
        max_length: Tokens per sample; the rest is cut off.
        limit: Training rows used, a random subset; a smaller limit's is part of a larger's.
        validation_limit: The same for validation rows.
    """

    model_config = STRICT

    train: Source = Field(examples=["yahma/alpaca-cleaned"])
    validation: Source | None = None
    validation_rows: Count = 2000
    split_seed: Seed = 42
    template: Annotated[str, AfterValidator(_template)] = "alpaca"
    mask_prompt: bool = False
    max_length: int = Field(default=512, ge=2)
    limit: Count | None = None
    validation_limit: Count | None = None


class TrainingSettings(BaseModel):
    """`[training]`: what every trial has in common.

    Attributes:
        epochs: Passes over the training rows; 0.5 is a random half of them.
        micro_batch: Samples per forward; memory and speed depend on it, the loss does not.
        warmup: Share of the steps in which the learning rate rises.
        schedule: Of the learning rate, after the warm-up.
        clip: Largest norm of the gradient.
        targets: Modules that get an adapter: "all-linear", "attention", "mlp", or their names.
            `[search]` can have choices of it, and of the next two.
        rslora: Scale by alpha / sqrt(rank) instead of alpha / rank.
        dora: Weight-decomposed adapter; about 1.5 times the time.
        seed: Of the adapter's start, the dropout and the order of the samples.
        validations: Times the validation loss is taken in a trial and a pruner asked, at equal
            shares of its data, the last at the end: with epochs = 2 and validations = 8 after
            every quarter of the rows, whatever the effective batch.
    """

    model_config = STRICT

    epochs: float = Field(default=1.0, gt=0)
    micro_batch: Count = 8
    warmup: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(default=1.0, gt=0)
    targets: Targets = ALL_LINEAR
    rslora: bool = False
    dora: bool = False
    seed: Seed = 0
    validations: Count = 4


class ScoringSettings(BaseModel):
    """`[scoring]`: what a trial is worth, and what the best few are shown on at the end.

    Attributes:
        objective: "loss" (validation loss, nats per token) or the name of an lm-eval task.
        metric: lm-eval's name of the score.
        tasks: Folder of the user's own task YAML.
        batch: Sequences per forward while scoring.
        limit: Documents per task.
        few_shot: Examples in the prompt; None leaves it to the task.
        test: Tasks scored once, at the end.
        best: How many of the best adapters are scored at the end.
        same_task: The objective's task may also be a test task.
        unsafe_code: Tasks that run code which the model wrote (HumanEval) may do so.
    """

    model_config = STRICT

    objective: str = Field(default="loss", min_length=1)
    metric: str = Field(default="acc", min_length=1)
    tasks: Annotated[str, AfterValidator(_folder)] | None = None
    batch: Count = 32
    limit: Count | None = None
    few_shot: int | None = Field(default=None, ge=0)
    test: list[str] = []
    best: Count = 3
    same_task: bool = False
    unsafe_code: bool = False

    @model_validator(mode="after")
    def _test_is_held_out(self) -> ScoringSettings:
        if self.objective in self.test and not self.same_task:
            raise refuse(
                "must not hold the objective's task: the best of many trials on it is no test",
                "test on another task, or set same_task = true",
                key="test",
                value=self.test,
            )
        return self


class StudySettings(BaseModel):
    """`[study]`: defaults of the command line, which overrides them.

    Attributes:
        name: Of the study; None takes the experiment file's.
        storage: URL of the database.
        sampler: Name of the sampler.
        trials: Finished trials wanted, counting those of earlier runs.
        seed: Of a sampler that draws.
        pruner: Optuna's pruner over the smallest validation loss so far; "asha" is its successive
            halving.
        checkpoints: Whose trainings are kept at their last validation, for the next trial with the
            same hyperparameters to go on from. "unfinished": of a trial that was cut off, until
            it has been done again, or the study is at its end. "pruned": of pruned trials as well,
            which somebody may enqueue again; those stay until the folder `checkpoints` is deleted.
            A pack keeps none.
        output: Folder for adapters and report, relative to where the command runs.
        gpus_per_trial: Processes that train a trial together, each on a GPU, or on the CPU where
            there is none; None trains in the worker's own process.
        time_limit: Seconds for a trial's training and scoring, in processes of their own.
        warm: Whether those processes serve the next trial too.
        pack: Trials that are trained together, in one process on one base; "auto" takes as many
            as the GPU's memory holds, 8 at most, and 4 on a CPU. None trains one at a time.
        energy: Measure energy and CO2-equivalent with codecarbon: of the machine while a trial
            runs, or while `--workers` run.
        country: Whose electricity that is, three letters (ISO 3166); None takes the world's.
        tracker: Where training and validation losses go as well, by Accelerate.
    """

    model_config = STRICT

    name: str | None = None
    storage: str | None = None
    sampler: str = "bamsoo"
    trials: Count = 50
    seed: Seed = 0
    pruner: Literal["none", "median", "hyperband", "asha"] = "none"
    checkpoints: Literal["none", "unfinished", "pruned"] = "unfinished"
    output: str = Field(default="runs", min_length=1)
    gpus_per_trial: Count | None = None
    time_limit: Annotated[float, Field(gt=0)] | None = None
    warm: bool = True
    pack: Count | Literal["auto"] | None = None
    energy: bool = False
    country: Annotated[str, AfterValidator(_country)] | None = None
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = None


class Experiment(BaseModel):
    """An experiment file; each attribute is the section of that name."""

    model_config = STRICT

    model: ModelSettings
    data: DataSettings
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    search: SearchSettings = SearchSettings()
    study: StudySettings = StudySettings()

    @field_validator("search")
    @classmethod
    def _said_once(cls, search: SearchSettings, info: ValidationInfo) -> SearchSettings:
        fixed = info.data["training"].model_fields_set if "training" in info.data else set()
        for name in VARIANTS:
            if name in fixed and getattr(search, name) is not None:
                value = {"choices": list(getattr(search, name).choices)}
                raise refuse(
                    "is fixed under [training] as well",
                    "leave it out in one of the two sections",
                    key=name,
                    value=value,
                )
        return search

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Optuna's direction of the objective."""
        loss = self.scoring.objective == "loss" or self.scoring.metric in _LOWER_IS_BETTER
        return "minimize" if loss else "maximize"

    def search_space(self) -> dict[str, BaseDistribution]:
        """The searched hyperparameters, in a fixed order."""
        return self.search.distributions()

    def hyperparameters(self, params: Mapping[str, Any]) -> Hyperparameters:
        """A trial's parameters with the fixed ones filled in."""
        return self.search.hyperparameters(params)


def load_experiment(path: str | Path) -> Experiment:
    """Reads and checks an experiment file.

    Args:
        path: A TOML file. Relative paths in `[model]`, `[data]` and `[scoring]` start at its
            folder and come back absolute.

    Raises:
        UserError: The file cannot be read, or holds mistakes: all of them, one per line.
    """
    path = Path(path)
    raw = _read(path)
    try:
        experiment = Experiment.model_validate(raw, context={"folder": path.resolve().parent})
    except ValidationError as error:
        lines = describe(error, Experiment)
        count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        raise UserError("\n  ".join([f"{path}: {count}", *lines])) from None
    if experiment.scoring.objective in experiment.scoring.test:
        task = experiment.scoring.objective
        _logger.warning("%s is objective and test: its final score flatters the winner", task)
    return experiment


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such experiment file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML: {error}; correct that line") from None
