"""Files, folders and names on the hub in an experiment file; looks if files exist.

Paths are relative to the experiment file, whose folder is the validation's context `folder`.
"""

from __future__ import annotations

from pathlib import Path
import re

from pydantic import ValidationInfo

from objectives.settings.config_errors import refuse


__all__ = [
    "KINDS",
    "ending",
    "existing_or_hub",
    "folder",
    "folder_or_hub",
    "kind_of",
    "portable",
    "rows_or_hub",
]

KINDS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
"""Files of rows by what their names end with, and which reader of `datasets` takes them."""
PACKED = (".gz", ".bz2", ".xz")
"""What the name of such a file may end with beyond that."""


def existing_or_hub(value: str, info: ValidationInfo) -> str:
    """A path relative to the experiment file made absolute; a hub name as it is."""
    if info.context is None:
        return value
    path = info.context["folder"] / Path(value).expanduser()
    if path.exists():
        return str(path.resolve())
    if re.match(r"[./~]", value) or kind_of(value) is not None:
        raise refuse(f"does not exist (looked for {path})", "paths start at the experiment file")
    return value


def folder(value: str, info: ValidationInfo) -> str:
    if info.context is None:
        return value
    path = info.context["folder"] / Path(value).expanduser()
    if not path.is_dir():
        raise refuse(f"must be a folder (looked for {path})", "paths start at the experiment file")
    return str(path.resolve())


def rows_or_hub(value: str, info: ValidationInfo) -> str:
    source = existing_or_hub(value, info)
    path = Path(source)
    if info.context is None or not path.is_absolute() or path.is_dir():
        return source
    if kind_of(source) is None:
        raise refuse(f"is no file of rows, which end in {', '.join(KINDS)}", "convert it")
    return source


def ending(name: str) -> tuple[str, str]:
    """What a file's name ends with in small letters, and how it is packed: (".csv", ".gz")."""
    path = Path(name.lower())
    if path.suffix in PACKED:
        return Path(path.stem).suffix, path.suffix
    return path.suffix, ""


def kind_of(name: str) -> str | None:
    """Which of `datasets`' readers a file's name asks for, also where the file is packed."""
    return KINDS.get(ending(name)[0])


def folder_or_hub(value: str, info: ValidationInfo) -> str:
    source = existing_or_hub(value, info)
    if info.context is not None and Path(source).is_absolute() and not Path(source).is_dir():
        raise refuse(
            "is a file, and a base is a folder",
            "name the folder that holds its configuration, weights and tokenizer",
        )
    return source


def portable(source: str) -> str:
    """Files and folders by their last part, which other machines share; names on the hub whole."""
    return Path(source).name if Path(source).is_absolute() else source
