"""The arguments of `python -m objectives.adapter`: which there are; touches nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import final
from typing import NoReturn

from objectives.errors import UserError


__all__ = ["read_arguments"]

_PROGRAM = "python -m objectives.adapter"
_WHAT = {
    "merge": "put the adapter into the base's weights, for plain transformers",
    "push": "put the folder on the Hugging Face hub",
    "chat": "answer prompts: one that is given, or each line that is typed",
    "serve": "print what serves the adapter with vLLM, and what loads it with peft",
}


@final
class _Parser(argparse.ArgumentParser):
    """argparse shows all options with every mistake, and ends the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help says more")


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, by default those of this process.

    Raises:
        UserError: One is missing, unknown, or of another kind.
    """
    parser = _Parser(prog=_PROGRAM, description="What comes after a search.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    each = {name: commands.add_parser(name, help=what) for name, what in _WHAT.items()}
    for name, sub in each.items():
        sub.description = f"{_WHAT[name].capitalize()}."
        _add_where(sub)
    each["merge"].add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="a new folder; default merged, beside the adapter",
    )
    each["merge"].add_argument(
        "--dtype", help="float32, bfloat16 or float16; default as the base is stored"
    )
    each["push"].add_argument("repository", metavar="NAME/REPO", help="on the hub; made if needed")
    each["push"].add_argument("--private", action="store_true", help="make it a private one")
    each["push"].add_argument(
        "--dry-run", action="store_true", help="only print what would be uploaded"
    )
    each["chat"].add_argument(
        "prompt",
        nargs="?",
        help="a prompt, or a JSON object of the template's columns; default each line of stdin",
    )
    each["chat"].add_argument(
        "--with-base", action="store_true", help="show the untuned base's answer as well"
    )
    each["chat"].add_argument(
        "--tokens", type=int, default=128, help="of an answer, at most; default 128"
    )
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.command == "chat" and parsed.prompt is None and len(rest) == 1:
        parsed.prompt, *rest = rest  # argparse takes one behind options for none of its own
    if rest and rest[0].startswith("-"):
        parser.error(f"{rest[0]}: there is no such option of {parsed.command}")
    if rest:
        parser.error(f"{rest[0]}: is one argument too many")
    return parsed


def _add_where(sub: argparse.ArgumentParser) -> None:
    """The adapter, and what finds it."""
    sub.add_argument(
        "adapter",
        metavar="STUDY-OR-FOLDER",
        help="name of a study, its folder in --output, or the folder of an adapter",
    )
    sub.add_argument(
        "--output", type=Path, default=Path("runs"), help="of the study; default runs"
    )
    sub.add_argument("--storage", metavar="URL", help="take the best trial of the study in there")
    sub.add_argument("--base", help="folder of the base, or its name on the hub; default its own")
