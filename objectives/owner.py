"""To which study a folder of outputs belongs: trials of two studies have the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any
import uuid

import optuna

from objectives.errors import UserError
from objectives.output import write_whole


__all__ = ["check_owner", "keep_owner"]

FILE = "study.json"
IDENTITY = "identity"
"""User attribute of a study: stays where it moves to another storage, or is called another way."""


def check_owner(
    folder: Path,
    storage: str,
    study: optuna.Study | None,
    others: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
) -> None:
    """Refuses a folder that has outputs of another study.

    Args:
        folder: The study's.
        storage: Of the study, without a password.
        study: None where it is yet to be made.
        others: Name -> user attributes of the studies in its storage.

    Raises:
        UserError: It has.
    """
    owner = _owner(folder / FILE)
    if owner is None:
        return
    if study is not None and study.user_attrs.get(IDENTITY) == owner[IDENTITY]:
        return
    if owner["storage"] != storage:
        raise UserError(
            f"--output: {folder} has the outputs of a study in {owner['storage']}, and this one "
            f"is in {storage}; give another --output or --study, or delete {folder / FILE} if "
            "that study is gone"
        )
    for name, attributes in others().items():
        if attributes.get(IDENTITY) == owner[IDENTITY]:
            raise UserError(
                f"--study {folder.name}: {folder} has the outputs of study {name}; rename the "
                f"folder to {name} and give --study {name}, or give another --study or --output"
            )


def _owner(file: Path) -> dict[str, str] | None:
    """What the file says; None where there is none."""
    if not file.is_file():
        return None
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        return {"storage": str(owner["storage"]), IDENTITY: str(owner[IDENTITY])}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"--output: {file} does not say to which study the folder belongs, as it was not "
            "written by this command or is damaged; give another --output, or delete the file if "
            "the folder is this study's"
        ) from None


def keep_owner(folder: Path, storage: str, study: optuna.Study) -> None:
    """Writes down that the folder is the study's; arguments as above."""
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, uuid.uuid4().hex)
    owner = {"storage": storage, IDENTITY: study.user_attrs[IDENTITY]}
    write_whole(folder / FILE, json.dumps(owner).encode())
