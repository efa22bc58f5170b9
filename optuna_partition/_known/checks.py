"""What users give as known, checked: one message per mistake; reads no study."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import logging
from typing import Any
from typing import final


__all__ = ["check_names", "check_table", "WarnOnce"]

_logger = logging.getLogger(f"optuna.{__name__}")


@final
@dataclass(frozen=True)
class WarnOnce:
    """Warnings of what a space shows to be wrong, which is looked at more than once."""

    _given: set[str] = field(default_factory=set)

    def __call__(self, text: str) -> None:
        if text not in self._given:
            self._given.add(text)
            _logger.warning(text)


def check_table(argument: str, given: Any, example: str, *, as_published: bool) -> None:
    """Refuses what is no dictionary, and anything where the model is the published one.

    Args:
        argument: Its name.
        given: Its value.
        example: Of a right one.
        as_published: Whether the model is the paper's.

    Raises:
        ValueError: It is refused.
    """
    if not isinstance(given, Mapping):
        raise ValueError(
            f"`{argument}` must be a dictionary with parameters' names, but got ({given!r}); "
            f"write for example {example}."
        )
    if as_published and given:
        raise ValueError(
            f"`{argument}` must be None with `as_published=True`, whose model is the paper's; "
            "leave one of the two out."
        )


def check_names(argument: str, names: Iterable[str], space: Collection[str] | None) -> None:
    """Refuses names that a search space has not, where it is given.

    Raises:
        ValueError: It is refused.
    """
    for name in names:
        if space is not None and name not in space:
            raise ValueError(
                f"`{argument}` must be for parameters of `search_space`, but got ({name!r}); it "
                f"has {sorted(space)}."
            )
