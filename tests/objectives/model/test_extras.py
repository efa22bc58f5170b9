"""What a setting needs beyond torch and peft: used where it is there, else refused at once."""

from __future__ import annotations

from importlib.util import find_spec

from plain_loop import CHOSEN
from plain_loop import SETTINGS
import pytest
from to_the_end import losses
import torch

from objectives.errors import UserError
from objectives.model.bench import load_bench
from objectives.model.extras import notes_of_paging
from objectives.settings.config import Experiment
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.training import TrainingSettings


def changed(experiment: Experiment, section: str, **settings: object) -> Experiment:
    own = getattr(experiment, section).model_copy(update=settings)
    return experiment.model_copy(update={section: own})


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("objectives.model.bench.load_base", None)


def test_kinds_of_attention_differ_by_rounding(tiny_experiment: Experiment) -> None:
    found = {}
    for kind in ("eager", "sdpa", None):
        bench = load_bench(changed(tiny_experiment, "model", attn_implementation=kind))
        assert bench.base.config._attn_implementation == (kind or "sdpa")
        found[kind] = losses(bench, SETTINGS, CHOSEN)
    assert found[None] == found["sdpa"]
    assert found["eager"] == pytest.approx(found["sdpa"], rel=1e-5)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is there")
def test_a_kind_of_attention_without_its_package(tiny_experiment: Experiment) -> None:
    message = (
        r"^`\[model\] attn_implementation` = 'flash_attention_2': .*; "
        'write "sdpa" or "eager", or leave it out for what the model takes$'
    )
    with pytest.raises(UserError, match=message):
        load_bench(changed(tiny_experiment, "model", attn_implementation="flash_attention_2"))


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is there")
def test_an_optimizer_without_its_package(tiny_experiment: Experiment) -> None:
    message = (
        r"^`\[training\] optimizer` = 'lion_8bit': needs bitsandbytes; pip install bitsandbytes, "
        r'or write optimizer = "adamw_torch_fused"$'
    )
    with pytest.raises(UserError, match=message):
        load_bench(changed(tiny_experiment, "training", optimizer="lion_8bit"))
    choices = {"optimizer": {"choices": ["adamw_torch", "lion_8bit"]}}
    search = SearchSettings.model_validate(choices)
    with pytest.raises(UserError, match=message):
        load_bench(tiny_experiment.model_copy(update={"search": search}))


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_paged_optimizer_without_cuda(tiny_experiment: Experiment) -> None:
    message = r"'paged_adamw_8bit': pages CUDA's memory, .*; write optimizer = \"adamw_8bit\"$"
    with pytest.raises(UserError, match=message):
        load_bench(changed(tiny_experiment, "training", optimizer="paged_adamw_8bit"))


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("paged_adamw_8bit", "adamw_8bit"),
        ("paged_lion_8bit", "lion_8bit"),
        ("paged_adamw_32bit", "adamw_torch_fused"),
    ],
)
def test_pages_that_stay_are_told(tiny_experiment: Experiment, name: str, instead: str) -> None:
    experiment = changed(tiny_experiment, "training", optimizer=name)
    (note,) = notes_of_paging(experiment)
    assert note == (
        f"`[training] optimizer` = {name!r}: bitsandbytes frees no pages, so each trial leaves "
        f'its own in memory; write optimizer = "{instead}", or give --cold'
    )
    assert TrainingSettings(optimizer=instead).optimizer == instead
    assert not [*notes_of_paging(changed(experiment, "study", warm=False))]
    assert not [*notes_of_paging(changed(tiny_experiment, "training", optimizer=instead))]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_liger_without_cuda(tiny_experiment: Experiment) -> None:
    message = (
        r"^`\[model\] use_liger_kernel` = true: its kernels need a CUDA device, and torch finds "
        "none; run it where there is one, or leave use_liger_kernel out$"
    )
    with pytest.raises(UserError, match=message):
        load_bench(changed(tiny_experiment, "model", use_liger_kernel=True))
