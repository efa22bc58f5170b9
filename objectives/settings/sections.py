"""Sections of an experiment file but `[search]`: types, defaults, checks; looks if files exist.

Paths are relative to the experiment file, whose folder is the validation's context `folder`.
"""

from __future__ import annotations

from pathlib import Path
import re
from typing import Annotated
from typing import Literal

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Field
from pydantic import model_validator
from pydantic import ValidationInfo

from objectives.settings.budget import checked_budget
from objectives.settings.config_errors import refuse
from objectives.settings.search_space import STRICT
from objectives.settings.variants import ALL_LINEAR
from objectives.settings.variants import Targets


__all__ = [
    "DataSettings",
    "ModelSettings",
    "ScoringSettings",
    "StudySettings",
    "TrainingSettings",
    "portable",
]


_OF_ROWS = (".json", ".jsonl")  # files of rows


def _existing_or_hub(value: str, info: ValidationInfo) -> str:
    """A path relative to the experiment file made absolute; a hub name as it is."""
    if info.context is None:
        return value
    path = info.context["folder"] / Path(value).expanduser()
    if path.exists():
        return str(path.resolve())
    if re.match(r"[./~]", value) or value.endswith(_OF_ROWS):
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


def _file_or_hub(value: str, info: ValidationInfo) -> str:
    source = _existing_or_hub(value, info)
    if info.context is not None and Path(source).is_absolute() and Path(source).is_dir():
        inside = (p.name for p in sorted(Path(source).iterdir()) if p.suffix in _OF_ROWS)
        raise refuse(
            "is a folder, and rows are read from one file",
            f"name a .json or .jsonl file, for example {value}/{next(inside, 'rows.jsonl')}",
        )
    return source


def _folder_or_hub(value: str, info: ValidationInfo) -> str:
    source = _existing_or_hub(value, info)
    if info.context is not None and Path(source).is_absolute() and not Path(source).is_dir():
        raise refuse(
            "is a file, and a base is a folder",
            "name the folder that holds its configuration, weights and tokenizer",
        )
    return source


def portable(source: str) -> str:
    """Files and folders by their last part, which other machines share; names on the hub whole."""
    return Path(source).name if Path(source).is_absolute() else source


Source = Annotated[str, Field(min_length=1), AfterValidator(_file_or_hub)]
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
        sharded: Each of a trial's GPUs holds a share of the base (FSDP), for one that a single
            GPU does not hold; needs `gpus_per_trial` of 2 or more. No value depends on it.
    """

    model_config = STRICT

    name: Annotated[str, Field(min_length=1), AfterValidator(_folder_or_hub)] = Field(
        examples=["meta-llama/Llama-3.2-1B"]
    )
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["4bit"] | None = None
    sharded: bool = False

    @model_validator(mode="after")
    def _revised_on_the_hub(self, info: ValidationInfo) -> ModelSettings:
        of_file = info.context is not None
        if of_file and self.revision is not None and Path(self.name).is_absolute():
            raise refuse(
                "is for a name on the hub, and the base is a folder here",
                "leave it out",
                key="revision",
                value=self.revision,
            )
        return self


class DataSettings(BaseModel):
    """`[data]`: rows with Alpaca's fields instruction, input (optional) and output.

    Attributes:
        train: A .json or .jsonl file, or a name on the hub (its split "train").
        validation: The same (on the hub: its split "validation"); None takes validation_rows
            of the training rows away instead.
        validation_rows: Rows; where validation is None, and not in a file beside it.
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

    @model_validator(mode="after")
    def _validated_once(self, info: ValidationInfo) -> DataSettings:
        of_file = info.context is not None  # settings that are passed on have every key
        if of_file and self.validation is not None and "validation_rows" in self.model_fields_set:
            raise refuse(
                "takes validation rows from the training rows, and `validation` names others",
                "leave one of the two out (validation_limit takes a part of the others)",
                key="validation_rows",
                value=self.validation_rows,
            )
        return self


class TrainingSettings(BaseModel):
    """`[training]`: what every trial has in common.

    Attributes:
        epochs: Passes over the training rows; 0.5 is a random half of them.
        micro_batch: Samples per forward; memory and speed depend on it, the loss does not.
        warmup: Share of the steps in which the learning rate rises.
        schedule: Of the learning rate, after the warm-up.
        clip: Largest norm of the gradient.
        targets: Modules that get an adapter: "all-linear", "attention", "mlp", or their names.
            `[search]` can have choices of it, and of the next two. No group has the output head,
            a router, experts whose weights are fused, or what `model.targets` has besides.
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
        metric: lm-eval's name of the score. A test task that has not this one goes by its usual.
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
        trials: Finished trials wanted, counting those of earlier runs. Where there is a budget,
            only as they are given: a budget alone knows no number of trials.
        budget: Ends the search as well. A time is that of one call of the command, its final test
            included; trainings are the study's, a pruned one counting as the share that was done.
        seed: Of a sampler that draws.
        pruner: Over the smallest validation loss so far. "bound" is this project's, the others
            are Optuna's; "asha" is its successive halving.
        checkpoints: Whose trainings are kept at their last validation, for the next trial with the
            same hyperparameters to go on from. "unfinished": of a trial that was cut off, until
            it has been done again, or the study is at its end. "pruned": of pruned trials as well,
            which a sampler may ask for again, or somebody enqueue; those stay until the folder
            `checkpoints` is deleted. None is "pruned" with the pruner "bound", else "unfinished".
        output: Folder for adapters and report, relative to where the command runs.
        gpus_per_trial: Processes that train a trial together, each on a GPU, or on the CPU where
            there is none; None trains in the worker's own process.
        launcher: Command that starts those processes as `accelerate launch` does, on this and
            other machines; None has the worker start them on its own.
        time_limit: Seconds for a trial's training and scoring, in processes of their own.
        warm: Whether those processes serve the next trial too.
        pack: Trials that are trained together, in one process on one base; "auto" takes as many
            as the GPU's memory holds, 8 at most, and 4 on a CPU. None trains one at a time.
        energy: Measure the machine's energy and CO2-equivalent with codecarbon. A trial keeps its
            figure where it has the machine; with `--workers` and packs the study alone has one.
        country: Whose electricity that is, three letters (ISO 3166); None takes the world's.
        tracker: Where training and validation losses go as well, by Accelerate.
    """

    model_config = STRICT

    name: str | None = None
    storage: str | None = None
    sampler: str = "bamsoo"
    trials: Count = 50
    budget: Annotated[str, AfterValidator(checked_budget)] | None = Field(
        default=None, examples=["3h"]
    )
    seed: Seed = 0
    pruner: Literal["none", "median", "hyperband", "asha", "bound"] = "none"
    checkpoints: Literal["none", "unfinished", "pruned"] | None = None
    output: str = Field(default="runs", min_length=1)
    gpus_per_trial: Count | None = Field(default=None, examples=[2])
    launcher: str | None = None
    time_limit: Annotated[float, Field(gt=0)] | None = Field(default=None, examples=[3600])
    warm: bool = True
    pack: Count | Literal["auto"] | None = Field(default=None, examples=[4])
    energy: bool = False
    country: Annotated[str, AfterValidator(_country)] | None = None
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = None

    @property
    def kept_checkpoints(self) -> Literal["none", "unfinished", "pruned"]:
        """Whose trainings are kept, where the file does not say it."""
        return self.checkpoints or ("pruned" if self.pruner == "bound" else "unfinished")
