"""The file that configures a trainer: YAML, JSON or TOML in and out; reads that one file."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import tomllib
from typing import Any

from pydantic import ValidationInfo
import yaml

from objectives.settings.config_errors import refuse
from objectives.settings.config_errors import toml
from objectives.settings.config_errors import toml_key
from objectives.settings.own.words import OUTPUT


__all__ = ["BaseFile", "read_base"]

_READERS = {".yml": yaml.safe_load, ".yaml": yaml.safe_load, ".json": json.loads}
_READERS[".toml"] = tomllib.loads
_OUTPUT = f"{{{OUTPUT}}}"


@dataclass(frozen=True)
class BaseFile:
    """What each trial gets a copy of.

    Attributes:
        path: Of the file as the user has it.
        content: What it says.
    """

    path: Path
    content: dict[str, Any]

    def leaves(self) -> dict[str, Any]:
        """Dotted path -> value, without the tables and lists that hold others."""
        found = {path: holder[key] for path, (holder, key) in _places(self.content).items()}
        return {path: value for path, value in found.items() if not isinstance(value, dict | list)}

    def has_output(self) -> bool:
        """Whether a text in it begins with the trial's own folder."""
        return any(_begins_with_output(value) for value in self.leaves().values())

    def copy(self, values: Mapping[str, Any], output: Path) -> str:
        """The text of a trial's copy.

        Args:
            values: By dotted path, each of which is there.
            output: The trial's own folder.
        """
        content = _filled(self.content, str(output))
        places = _places(content)
        for path, value in values.items():
            holder, key = places[path]
            holder[key] = value
        if self.path.suffix == ".json":
            return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if self.path.suffix == ".toml":
            return "\n".join(_toml(content)).lstrip() + "\n"
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        return text


def read_base(value: object, info: ValidationInfo) -> object:
    """The file that a path names, relative to the experiment file's folder."""
    if value is None or isinstance(value, BaseFile) or info.context is None:
        return value
    if not isinstance(value, str):
        raise refuse("must be the path of a file, in quotes", 'for example config = "base.yml"')
    path: Path = info.context["folder"] / Path(value).expanduser()
    if path.suffix not in _READERS:
        raise refuse(f"must end in {', '.join(_READERS)}", "convert the file")
    try:
        content = _READERS[path.suffix](path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            BaseFile(path, content).copy({}, path).encode()  # as each trial does
    except OSError:
        raise refuse(
            f"cannot be read (looked for {path})", "paths start at the experiment file"
        ) from None
    except RecursionError:
        raise refuse("is nested too deep, or holds itself", "write it out, flatter") from None
    except (ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        kind = path.suffix[1:].upper().replace("YML", "YAML")
        raise refuse(f"is not valid {kind}: {why}", "correct it") from None
    if not isinstance(content, dict):
        raise refuse("must hold keys and values at its top", "give the trainer's own file")
    return BaseFile(path.resolve(), content)


def _places(content: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted path -> the table or list that holds it, and its key there."""
    found: dict[str, tuple[Any, Any]] = {}

    def walk(holder: Any, before: str) -> None:
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in pairs:
            found[f"{before}{key}"] = (holder, key)
            if isinstance(value, dict | list):
                walk(value, f"{before}{key}.")

    walk(content, "")
    return found


def _filled(node: Any, output: str) -> Any:
    """A copy in which no two places share a table, as those of a YAML anchor do."""
    if isinstance(node, dict):
        return {key: _filled(value, output) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, output) for value in node]
    return node.replace(_OUTPUT, output, 1) if _begins_with_output(node) else node


def _begins_with_output(value: object) -> bool:
    """Elsewhere in a text the same letters may be a prompt's."""
    return isinstance(value, str) and value.startswith(_OUTPUT)


def _toml(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Line by line; a table has its own heading, and what it says comes before its tables."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in tables:
            yield f"{toml_key(key)} = {toml(value)}"
    for key, value in tables.items():
        yield f"\n[{above}{toml_key(key)}]"
        yield from _toml(value, f"{above}{toml_key(key)}.")
