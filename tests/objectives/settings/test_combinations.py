"""Settings that exclude each other: one line before anything is loaded, also where searched."""

from __future__ import annotations

from pathlib import Path

from experiment_files import write
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
import pytest

from objectives.errors import UserError
from objectives.settings.read_plan import read_plan


STARTS = 'init_lora_weights = {choices = ["default", "olora"]}'
BASE = 'name = "org/model"\n'
PACK = ("--pack", "2")
GANG = ("--gpus-per-trial", "2")
LEAVE = ", or leave --pack out"
WHOLE = "takes a part out of whole weights, which "
NOISE = (
    "`[training] padding_free` = true: NEFTune's noise depends on the length of a row, which "
    "then holds many samples; set padding_free = false, or leave neftune_noise_alpha out"
)


@pytest.mark.parametrize(
    ("sections", "options", "line"),
    [
        (
            {"training": "dora = true"},
            PACK,
            "--pack 2: DoRA adapters cannot be packed; set dora = false" + LEAVE,
        ),
        (
            {"search": "dora = {choices = [false, true]}"},
            PACK,
            "--pack 2: DoRA adapters cannot be packed; set dora = false" + LEAVE,
        ),
        (
            {"training": "gradient_checkpointing = true"},
            PACK,
            "--pack 2: a pack keeps all activations; set gradient_checkpointing = "
            '"auto", which halves a pack first' + LEAVE,
        ),
        (
            {"training": "padding_free = true"},
            PACK,
            "--pack 2: a pack's rows are padded; set padding_free = false" + LEAVE,
        ),
        (
            {"search": STARTS},
            PACK,
            "--pack 2: adapters that start with a part of the base (PiSSA, OLoRA) cannot share "
            'it; set init_lora_weights = "default"' + LEAVE,
        ),
        (
            {"training": 'optimizer = "adamw_8bit"'},
            PACK,
            "--pack 2: optimizers of bitsandbytes take a parameter out of the pack's memory; set "
            'optimizer = "adamw_torch_fused"' + LEAVE,
        ),
        (
            {"search": 'optimizer = {choices = ["adamw_torch", "lion_32bit"]}'},
            PACK,
            "--pack 2: optimizers of bitsandbytes take a parameter out of the pack's memory; set "
            'optimizer = "adamw_torch_fused"' + LEAVE,
        ),
        ({"training": "padding_free = true\nneftune_noise_alpha = 5"}, (), NOISE),
        (
            {"training": "padding_free = true", "search": "neftune_noise_alpha = {low=0, high=5}"},
            (),
            NOISE,
        ),
        (
            {"training": 'init_lora_weights = "pissa"\ndora = true'},
            (),
            f"init_lora_weights = 'pissa': {WHOLE}dora = true does not leave; leave one of the "
            "two out",
        ),
        (
            {"search": STARTS, "model": BASE + 'quantization = "4bit"'},
            (),
            f"init_lora_weights = 'olora': {WHOLE}`[model] quantization` = \"4bit\" does not "
            "leave; leave one of the two out",
        ),
        (
            {"search": STARTS, "model": BASE + "sharded = true"},
            GANG,
            f"init_lora_weights = 'olora': {WHOLE}`[model] sharded` = true does not leave; leave "
            "one of the two out",
        ),
        (
            {"search": "dora = {choices = [false, true]}", "model": BASE + "sharded = true"},
            GANG,
            "`[model] sharded` = true: a base in 4 bits and DoRA adapters need whole weights; "
            "leave quantization and dora out, or set sharded = false",
        ),
    ],
)
def test_what_excludes_each_other(
    tmp_path: Path, sections: dict[str, str], options: tuple[str, ...], line: str
) -> None:
    file = write(tmp_path, **sections)
    with pytest.raises(UserError) as caught:
        read_plan([str(file), *options], ["bamsoo"], ["none"])
    assert str(caught.value) == line


def test_what_goes_together(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        training='optimizer = "adafactor"\nmax_steps = 9\nneftune_noise_alpha = 5',
        search="loraplus_lr_ratio = {low = 1, high = 32, log = true}\n"
        'schedule = {choices = ["cosine", "linear"]}\nwarmup = {choices = [0, 0.1]}',
    )
    experiment = read_plan([str(file), *PACK], ["bamsoo"], ["none"]).experiment
    space = experiment.search_space()
    assert [*space][-3:] == ["loraplus_lr_ratio", "warmup", "schedule"]
    assert space["loraplus_lr_ratio"] == FloatDistribution(1, 32, log=True)
    assert space["warmup"] == CategoricalDistribution((0.0, 0.1))
    chosen = experiment.hyperparameters({**dict.fromkeys(space, 2), "schedule": "linear"})
    assert chosen.over(experiment.training).schedule == "linear"
    assert chosen.over(experiment.training).optimizer == "adafactor"
