"""Fixtures: bases of many makes in folders, and experiments on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from makes import MAKES
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import PreTrainedTokenizerFast

from objectives.settings.config import Experiment


@pytest.fixture(scope="session")
def saved(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a make, written when it is first asked for."""
    folders: dict[str, Path] = {}

    def folder(make: str) -> Path:
        if make not in folders:
            folders[make] = tmp_path_factory.mktemp("make")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(MAKES[make].config())
            model.save_pretrained(folders[make])
            tiny_tokenizer.save_pretrained(folders[make])
        return folders[make]

    return folder


@pytest.fixture
def experiment_of(
    saved: Callable[[str], Path], tiny_experiment: Experiment
) -> Callable[[str], Experiment]:
    def experiment(make: str) -> Experiment:
        model = tiny_experiment.model.model_copy(update={"name": str(saved(make))})
        few = {"limit": 8, "validation_limit": 4, "max_length": 96}
        data = tiny_experiment.data.model_copy(update=few)
        return tiny_experiment.model_copy(update={"model": model, "data": data})

    return experiment
