"""What a base is called where others read it: no path of this machine, no user's folder.

a name on the hub                                      the same
~/.cache/.../models--org--name/snapshots/0a1b...       org/name at 0a1b..., as in the hub's cache
/data/standin/model                                    standin
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
import re

from objectives.settings.sections.model import ModelSettings


__all__ = ["Named", "named_base", "origin"]

_CACHED = "models--"  # huggingface_hub's folder of a model begins so
_SAYS_NOTHING = {"base", "final", "hf", "merged", "model", "weights"}


@dataclass(frozen=True)
class Named:
    """A base as others know it.

    Attributes:
        name: On the hub, or of its folder.
        revision: On the hub; None: its newest, or not on the hub.
        on_hub: Whether others can have it by that name.
    """

    name: str
    revision: str | None
    on_hub: bool


def named_base(model: ModelSettings) -> Named:
    """Of an experiment's base; paths of an experiment are absolute."""
    folder = Path(model.name)
    if not folder.is_absolute():
        return Named(model.name, model.revision, on_hub=True)
    return _in_cache(folder) or Named(_own_name(folder), None, on_hub=False)


def origin(model: ModelSettings) -> str | None:
    """The name on the hub that a local base's configuration gives as what it was made from.

    transformers before 5 wrote it. The weights may have been trained since: it is no name of them.
    """
    try:
        config = json.loads((Path(model.name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = config.get("_name_or_path")
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)) else None


def _in_cache(folder: Path) -> Named | None:
    """A snapshot in the hub's cache: models--org--name/snapshots/commit."""
    cached, above = folder.parent.parent.name, folder.parent.name
    if above != "snapshots" or not cached.startswith(_CACHED):
        return None
    return Named(cached.removeprefix(_CACHED).replace("--", "/"), folder.name, on_hub=True)


def _own_name(folder: Path) -> str:
    """The folder's, or where that says nothing the next one's above, unless that is a user's."""
    above = folder.parent
    is_home = above in (Path.home(), above.parent) or above.parent.name in ("home", "Users")
    return above.name if folder.name in _SAYS_NOTHING and not is_home else folder.name
