"""The words of a command, and the placeholders in them; touches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import re
import shlex

from objectives.settings.config_errors import refuse


__all__ = ["CONFIG", "OUTPUT", "fill", "fill_words", "placeholders", "words_of"]

OUTPUT, CONFIG = "output", "config"
"""Placeholders that are no parameters: the trial's own folder, and its copy of the config."""
# {{name}} is the text {name}, and ${name} is a shell's
_PLACEHOLDER = re.compile(r"\{(\{[\w.-]+\})\}|(?<!\$)\{([\w.-]+)\}")


def words_of(value: object) -> object:
    """A command as a list of words; a text is split as a shell would, and run without one."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise refuse(
                f"cannot be split into words ({error})", "give each quotation mark its partner"
            ) from None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise refuse("must be a text or a list of texts", 'for example run = "python train.py"')
    if not value:
        raise refuse("is empty", 'for example run = "python train.py --lr {learning_rate}"')
    return tuple(value)


def placeholders(texts: Iterable[str]) -> list[str]:
    """Their names, in order."""
    return [found[2] for text in texts for found in _PLACEHOLDER.finditer(text) if found[2]]


def fill(text: str, values: Mapping[str, object]) -> str:
    """The text with all placeholders filled."""
    return _PLACEHOLDER.sub(lambda found: found[1] or _written(values[found[2]]), text)


def fill_words(words: Iterable[str], values: Mapping[str, object]) -> list[str]:
    """The words with all placeholders filled; one that becomes empty is left out."""
    pairs = [(word, fill(word, values)) for word in words]
    return [filled for word, filled in pairs if filled or not word]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
