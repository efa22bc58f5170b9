"""A study's name or a folder -> its best adapter, with its base and settings; loads no weights."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings


__all__ = ["Adapter", "adapter_of", "folder_of", "is_model"]

CONFIG, SETTINGS = "adapter_config.json", "experiment.json"
BEST = "best_adapter"  # in a study's folder


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk.

    Attributes:
        folder: Of its weights.
        config: peft's.
        model: Its base.
        data: How it is asked: template, chat template and system turn.
        way: "instruction", "chat" or "text"; None where nothing says it.
    """

    folder: Path
    config: dict[str, Any]
    model: ModelSettings
    data: DataSettings
    way: str | None

    @property
    def name(self) -> str:
        """The study's where the folder is in a study's, else the folder's."""
        return self.folder.parent.name if self.folder.name == BEST else self.folder.name

    @property
    def tokenizer(self) -> Path | None:
        """The folder of its tokenizer; None takes the base's."""
        return next((f for f in _beside(self.folder) if (f / "tokenizer.json").is_file()), None)


def adapter_of(folder: Path, base: str | None = None) -> Adapter:
    """Reads what a folder says of its adapter.

    Args:
        folder: Of an adapter, or of a study with a best one.
        base: The base in the place of the one that it names.

    Raises:
        UserError: There is no adapter, or its base cannot be told.
    """
    found = folder_of(folder)
    config, told = _read(found / CONFIG), _settings(found)
    of_model, of_data = (told.get("experiment", {}).get(key, {}) for key in ("model", "data"))
    name = _base(found, config) if base is None else _given(base)
    revision = None if base else config.get("revision")
    kept_data = {k: of_data[k] for k in ("template", "chat_template", "system") if k in of_data}
    kept_model = {k: of_model[k] for k in ("dtype", "quantization") if k in of_model}
    try:
        model = ModelSettings(name=name, revision=revision, **kept_model)
        data = DataSettings(train="-", **kept_data)
    except ValidationError as error:
        (key, *_), rule = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise UserError(f"{found}: {key} in {SETTINGS}: {rule}; copy the file anew") from None
    return Adapter(found, config, model, data, told.get("asking"))


def folder_of(folder: Path) -> Path:
    """The folder of an adapter: a study's best, or the one that is given.

    Raises:
        UserError: There is none.
    """
    there = (f for f in (folder, folder / BEST) if (f / CONFIG).is_file())
    found = next(there, None)
    if found is None:
        raise UserError(
            f"{folder}: holds no adapter ({CONFIG}); give a study's folder or its {BEST}, which "
            "the command makes at the end of a search"
        )
    return found.resolve()


def is_model(folder: Path) -> bool:
    """Whether it holds whole weights, as `merge` leaves them."""
    return (folder / "config.json").is_file() and not (folder / CONFIG).is_file()


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); copy the adapter anew") from None
    return content


def _beside(folder: Path) -> list[Path]:
    """An adapter's folder, and that of the best one where it is a trial's."""
    return [folder, folder.parent.parent / BEST]


def _settings(folder: Path) -> dict[str, Any]:
    file = next((f / SETTINGS for f in _beside(folder) if (f / SETTINGS).is_file()), None)
    return {} if file is None else _read(file)


def _given(base: str) -> str:
    """As it was given: a folder, or a name on the hub."""
    path = Path(base).expanduser()
    if not path.is_dir() and (path.is_absolute() or base.startswith((".", "~"))):
        raise UserError(f"--base {base}: is no folder here; give the base's, or its hub name")
    return str(path.resolve()) if path.is_dir() else base


def _base(folder: Path, config: dict[str, Any]) -> str:
    """On the hub or in a folder: a published adapter names no path of a machine."""
    named = str(config.get("base_model_name_or_path"))
    if not named.startswith("./") and (not Path(named).is_absolute() or Path(named).is_dir()):
        return named
    trials = sorted(folder.parent.glob(f"adapters/*/{CONFIG}"))
    known = [named, *(str(_read(file).get("base_model_name_or_path")) for file in trials)]
    here = next((path for path in known if Path(path).is_dir()), None)
    if here is None:
        raise UserError(
            f"{folder}: its base is a folder that is not here ({named}); name it with --base"
        )
    return str(Path(here).resolve())
