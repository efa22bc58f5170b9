"""A training on its way as one file, to go on from there to the bit; writes that file alone.

    checkpoint = Checkpoint(file, made_with(bench, settings, chosen, base_fingerprint))
    train(learner, checkpoint)

The file is the SHA-256 of the rest, then what `torch.save` makes of the state and of all that the
training depends on. It is there whole or not at all. One that is damaged, or of another training,
is left alone with a warning, and the training starts from zero.

To the bit means: as far as a training repeated from zero is the same to the bit, which on a CPU it
is. With more than two ranks the first step after it may sum their gradients in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch import Tensor

from objectives.job import Job
from objectives.model.bench import Bench
from objectives.output import write_whole
from objectives.record import versions
from objectives.scoring.losses import per_forward
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint_files import checkpoint_file


__all__ = [
    "Checkpoint",
    "State",
    "checkpoint_of",
    "fingerprint",
    "generators",
    "made_with",
    "restore_generators",
    "samples_per_forward",
]

_logger = logging.getLogger(__name__)

FORMAT = 1  # of the file
PACKAGES = ("optuna-partition", "torch", "transformers", "peft", "accelerate")
"""Those that a loss depends on."""
_SUM = hashlib.sha256().digest_size


class _Unusable(Exception):
    """The message says why."""


@dataclass(frozen=True)
class State:
    """A training after a step. The order of the samples is the seed's, so a step is a place.

    Attributes:
        step: Optimizer steps done.
        tokens: Tokens read, padding left out.
        seconds: Wall time of the steps and their validations.
        losses: Training loss of every step.
        validations: Step, validation loss and perhaps accuracy of each up to there.
        update: See `objectives.training.learner.Learner.state`.
        generators: Those of each rank, by device; see `generators`.
    """

    step: int
    tokens: int
    seconds: float
    losses: tuple[float, ...]
    validations: tuple[tuple[int, float] | tuple[int, float, float | None], ...]
    update: dict[str, Any]
    generators: list[dict[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """One file for one training.

    Attributes:
        file: In a folder that is made if needed.
        made_with: What the training depends on, by name.
        other: Read where there is no `file`.
    """

    file: Path
    made_with: Mapping[str, str]
    other: Path | None = None

    def save(self, state: State) -> None:
        """In place of an earlier one. A disk that is full costs the checkpoint, not the trial."""
        content = io.BytesIO()
        torch.save({"made_with": dict(self.made_with), "state": vars(state)}, content)
        try:
            digest = hashlib.sha256(content.getbuffer()).digest()
            write_whole(self.file, digest, content.getbuffer())
        except OSError as error:
            _logger.warning(
                "%s: cannot be written (%s); interrupted, its trial would start from an earlier "
                "step or from zero",
                self.file,
                error.strerror,
            )

    def load(self) -> State | None:
        """The training that was saved; None where there is nothing to go on from."""
        file = self.file if self.other is None or self.file.exists() else self.other
        try:
            return self._checked(file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
        except _Unusable as error:
            why = str(error)
        _logger.warning("%s: %s; ignored, the training starts from zero", file, why)
        return None

    def _checked(self, content: bytes) -> State:
        rest = memoryview(content)[_SUM:]
        if hashlib.sha256(rest).digest() != content[:_SUM]:
            raise _Unusable("is damaged, or no checkpoint")
        saved = torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
        before, now = _before(saved["made_with"]), self.made_with
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                was = f"{name} was {before.get(name)}, is {now.get(name)}"
                raise _Unusable(f"is of another training ({was})")
        return State(**saved["state"])


def made_with(
    bench: Bench, settings: TrainingSettings, chosen: Hyperparameters, base_fingerprint: str
) -> dict[str, str]:
    """All that the bits of a training depend on, by name.

    Args:
        bench: That it is trained on.
        settings: With its micro-batch.
        chosen: Its hyperparameters.
        base_fingerprint: See `fingerprint`.
    """
    accelerator = bench.accelerator
    cuda = accelerator.device.type == "cuda"
    parts = {
        "format": FORMAT,
        "base": base_fingerprint,
        "data": bench.corpus.fingerprint,
        **_settings(settings),
        **asdict(chosen),
        "precision": accelerator.mixed_precision,
        "ranks": accelerator.num_processes,
        "device": torch.cuda.get_device_name() if cuda else accelerator.device.type,
        **{name: versions().get(name) for name in PACKAGES},
    }
    if (shared := samples_per_forward(bench, settings, chosen)) != settings.micro_batch:
        parts["samples per forward"] = shared
    if accelerator.device.type == "cpu":  # elsewhere they do not change the bits
        parts["threads"] = torch.get_num_threads()
    return {name: str(value) for name, value in parts.items()}


def checkpoint_of(
    bench: Bench, settings: TrainingSettings, job: Job, base_fingerprint: Callable[[], str]
) -> Checkpoint | None:
    """Of a job's training; None where it keeps none.

    Args:
        bench: That it is trained on.
        settings: With its micro-batch.
        job: What is trained.
        base_fingerprint: Gives that; see `fingerprint`.
    """
    if job.checkpoint_stem is None:
        return None
    made = made_with(bench, settings, job.chosen, base_fingerprint())
    twice = settings.gradient_checkpointing is True
    file, other = (
        checkpoint_file(job.checkpoint_stem, settings.micro_batch, checkpointing=each)
        for each in (twice, not twice)
    )
    return Checkpoint(file, made, other)


def samples_per_forward(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> int:
    """Of a step: the micro-batch, or fewer where several ranks share the step out."""
    samples = min(chosen.effective_batch, len(bench.corpus.train))
    return per_forward(samples, settings.micro_batch, bench.accelerator.num_processes)


def _settings(settings: TrainingSettings) -> dict[str, Any]:
    """Without what changes memory and time alone."""
    told = settings.model_dump(exclude={"gradient_checkpointing"})
    return {f"[training] {name}": value for name, value in told.items()}


def _before(saved: Mapping[str, str]) -> dict[str, str]:
    """With what a checkpoint lacks that is older than a setting: the default, and no choice."""
    defaults = {name: str(value) for name, value in _settings(TrainingSettings()).items()}
    of_trial = dict.fromkeys(Hyperparameters.__dataclass_fields__, str(None))
    return {**defaults, **of_trial, **saved}


def fingerprint(base: nn.Module) -> str:
    """Equal for equal weights; 16 hexadecimal digits. A tensor counts by its kind and its sum."""
    hasher = hashlib.sha256()
    for name, tensor in base.state_dict().items():
        there = tensor.cpu() if tensor.device.type == "mps" else tensor  # which has no float64
        total = float(there.sum(dtype=torch.float64))
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {total!r}\n".encode())
    return hasher.hexdigest()[:16]


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of this rank's generators of random numbers: the CPU's and its device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Puts the generators where `generators` found them."""
    for device, state in states.items():
        module = torch if device == "cpu" else torch.get_device_module(device)
        module.set_rng_state(state)
