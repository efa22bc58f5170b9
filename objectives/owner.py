"""To which study a folder of outputs belongs: trials of two studies have the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
import uuid

import optuna

from objectives.errors import UserError
from objectives.output import write_whole


__all__ = ["check_owner", "keep_owner"]

FILE = "study.json"
IDENTITY = "identity"
"""User attribute of a study: stays where it moves to another storage, or is called another way."""


def check_owner(folder: Path, storage: str, study: optuna.Study | None) -> None:
    """Refuses a folder that has outputs of a study in another storage.

    Args:
        folder: The study's.
        storage: Of the study, without a password.
        study: None where it is yet to be made.

    Raises:
        UserError: It has.
    """
    file = folder / FILE
    if not file.is_file():
        return
    owner = json.loads(file.read_text(encoding="utf-8"))
    known = study is not None and study.user_attrs.get(IDENTITY) == owner[IDENTITY]
    if owner["storage"] != storage and not known:
        raise UserError(
            f"--output: {folder} has the outputs of a study in {owner['storage']}, and this one "
            f"is in {storage}; give another --output or --study, or delete {file} if that study "
            "is gone"
        )


def keep_owner(folder: Path, storage: str, study: optuna.Study) -> None:
    """Writes down that the folder is the study's; arguments as above."""
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, uuid.uuid4().hex)
    owner = {"storage": storage, IDENTITY: study.user_attrs[IDENTITY]}
    write_whole(folder / FILE, json.dumps(owner).encode())
