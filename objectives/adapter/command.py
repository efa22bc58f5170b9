"""One call of the command, from its arguments to its exit status; where errors are told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys

from objectives.adapter.arguments import read_arguments
from objectives.adapter.found import Adapter
from objectives.adapter.found import adapter_of
from objectives.adapter.found import folder_of
from objectives.adapter.found import is_model
from objectives.errors import UserError
from objectives.starting import wait_gently


__all__ = ["run"]


def run(arguments: Sequence[str] | None) -> int:
    """Runs the command; its exit status."""
    wait_gently()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        _run(read_arguments(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _run(given: argparse.Namespace) -> None:
    # The heavy imports wait until the adapter is there.
    folder = _folder(given)
    if given.command == "push":
        from objectives.adapter.push import push

        push(folder, given.repository, private=given.private, dry_run=given.dry_run)
        return
    adapter = adapter_of(folder, given.base)
    if given.command == "serve":
        from objectives.adapter.serve import serving

        print(serving(adapter))
    elif given.command == "merge":
        _merge(adapter, given)
    else:
        from objectives.adapter.chat import chat

        chat(adapter, given.prompt, with_base=given.with_base, tokens=given.tokens)


def _merge(adapter: Adapter, given: argparse.Namespace) -> None:
    from objectives.adapter.merge import merge

    to = given.to or adapter.folder.parent / "merged"
    print(merge(adapter, to, given.dtype))
    print(f"merged model   {to}   (AutoModelForCausalLM and AutoTokenizer load it)")


def _folder(given: argparse.Namespace) -> Path:
    """Of the adapter, of a study, or for `push` of a merged model."""
    if given.storage is not None:
        return _of_best_trial(given.adapter, given.storage)
    places = [Path(given.adapter), Path(given.output) / given.adapter]
    folder: Path | None = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise UserError(
            f"{given.adapter}: is no folder, nor the name of a study in {given.output}; give the "
            "--output of the study, or its --storage"
        )
    return folder if given.command == "push" and is_model(folder) else folder_of(folder)


def _of_best_trial(study: str, url: str) -> Path:
    from objectives.result.adapters import best_trials
    from objectives.tune.answer import believed
    from objectives.tune.study import study_in

    found = study_in(study, url)
    best = best_trials(found, 1, [belief.trial for belief in believed(found)])
    if not best:
        raise UserError(
            f"{study}: no adapter of its trials is here; run this where its trials ran, in the "
            "folder in which the command was started"
        )
    return Path(best[0].user_attrs["adapter"])
