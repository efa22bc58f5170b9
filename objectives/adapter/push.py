"""Puts a folder on the Hugging Face hub, or prints what would go there."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub import get_token
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from objectives.adapter.found import CONFIG
from objectives.data import hub
from objectives.errors import UserError


__all__ = ["push"]


def push(folder: Path, repository: str, *, private: bool, dry_run: bool) -> None:
    """Uploads all files of a folder.

    Args:
        folder: Of an adapter or a merged model.
        repository: NAME/REPO, made if it is not there.
        private: Of one that is made.
        dry_run: Print the files, and ask nobody.

    Raises:
        UserError: The name is none, the folder tells of this machine, or the hub refuses.
    """
    _check_name(repository)
    _check_publishable(folder)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    for file in files:
        print(f"  {file.relative_to(folder)}   {_size(file.stat().st_size)}")
    whole = _size(sum(file.stat().st_size for file in files))
    kind = "private" if private else "public"
    where = f"{constants.ENDPOINT}/{repository} ({kind}, where it is not there yet)"
    if dry_run:
        print(f"would push     {len(files)} files, {whole}, to {where}")
        return
    _check_can_push()
    print(f"pushing        {len(files)} files, {whole}, to {where}", flush=True)
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        told = api.upload_folder(folder_path=folder, repo_id=repository)
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{repository}: the hub refused ({reason}); check the name and the token's rights"
        ) from None
    print(f"pushed         {told.commit_url}")


def _check_name(repository: str) -> None:
    try:
        validate_repo_id(repository)
        valid = repository.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(
            f"{repository}: is no name of a repository; write YOUR_NAME/YOUR_MODEL, of letters, "
            "digits, '-', '_' and '.'"
        )


def _check_publishable(folder: Path) -> None:
    """A trial's own adapter names the folder of its base."""
    config = folder / CONFIG
    if not config.is_file():
        return
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if Path(str(base)).is_absolute():
        raise UserError(
            f"{folder}: names a folder of this machine ({base}), which nobody else has; push the "
            "study's best_adapter, or what `merge` makes"
        )


def _check_can_push() -> None:
    if get_token() is None:
        raise UserError(
            "there is no token of the hub; make one that may write at "
            f"{constants.ENDPOINT}/settings/tokens, then `hf auth login`, or set HF_TOKEN"
        )
    hub.check()
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"{constants.ENDPOINT} cannot be reached, or HF_HUB_OFFLINE is set; push where there "
            "is a network, or unset it"
        )


def _size(count: int) -> str:
    return f"{count / 1e6:.3f} MB"
