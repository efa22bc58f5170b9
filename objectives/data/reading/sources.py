"""A file, a folder or a hub name -> numbered rows as they are; reads files and the hub.

JSON is read here, with the numbers of its lines and without `datasets` and the Arrow behind it,
which read all the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import glob
import json
from pathlib import Path
from typing import Any

from objectives.data import hub
from objectives.data.reading.csv_check import checked_header
from objectives.data.reading.opened import opened
from objectives.data.reading.opened import UNREADABLE
from objectives.errors import UserError
from objectives.settings.sections.paths import ending
from objectives.settings.sections.paths import kind_of
from objectives.settings.sections.paths import KINDS
from objectives.settings.sections.sources import SourceSettings


__all__ = ["numbered_rows"]


def numbered_rows(source: SourceSettings, *, split: str) -> Iterator[tuple[int, Any]]:
    """Each row with its number: a line's in JSON lines, else its place; from 1.

    Args:
        source: Where they are.
        split: Of a folder or the hub, where the source names none.

    Raises:
        UserError: The rows cannot be found or read.
    """
    path = Path(source.name)
    if path.is_file():
        return _of_file(path)
    if path.is_dir():
        return enumerate(_of_folder(path, source.split or split), start=1)
    if kind_of(source.name) is not None:
        raise UserError(f"{source.name}: there is no such file; correct the path in [data]")
    return enumerate(_of_hub(source, source.split or split), start=1)


def _of_file(path: Path) -> Iterator[tuple[int, Any]]:
    kind = kind_of(path.name)
    if kind is None:
        raise UserError(f"{path}: must end in {', '.join(KINDS)}; convert it")
    if kind != "json":
        return enumerate(_of_table(path, kind), start=1)
    text = _text(path)
    return _lines(path, text) if ending(path.name)[0] == ".jsonl" else _list(path, text)


def _text(path: Path) -> str:
    try:
        with opened(path) as file:
            return file.read()
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); convert it") from None


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    if text.lstrip().startswith("[") and _is_whole(text):
        raise UserError(f"{path}: is a list, and has no object on each line; name it .json")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parse(line, f"{path}, row {number}")


def _is_whole(text: str) -> bool:
    """Whether it is one JSON value, rather than one a line."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _list(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        inside = (
            [name for name, value in rows.items() if isinstance(value, list)]
            if (isinstance(rows, dict))
            else []
        )
        way_out = (
            f"write the list under `{inside[0]}` alone into a file"
            if inside
            else "put [ ] around the rows, or name a file of one object per line .jsonl"
        )
        raise UserError(f"{path}: must be a list of objects, not {type(rows).__name__}; {way_out}")
    return enumerate(rows, start=1)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _Twice as error:
        raise UserError(f"{where}: has the key `{error}` twice; delete one of the two") from None
    except json.JSONDecodeError as error:
        lines = (
            ", or name a file of one object per line .jsonl" if error.msg == "Extra data" else ""
        )
        raise UserError(f"{where}: is not valid JSON: {error}; correct it{lines}") from None
    except RecursionError:
        raise UserError(f"{where}: is nested too deeply; a row is an object of texts") from None


class _Twice(Exception):
    """A key that an object has twice; JSON's readers differ in which of its values they take."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _of_table(path: Path, kind: str) -> list[dict[str, Any]]:
    try:
        more = _csv_options(path) if kind == "csv" else {}
        if kind == "text":
            more = {"sample_by": "paragraph"}
        return _load(kind, data_files=glob.escape(str(path)), split="train", **more)
    except UserError:
        raise
    except Exception as error:  # pandas', Arrow's and the file system's
        if "corresponds to no data" in str(error):  # `datasets` splits no rows
            return []
        way_out = "convert it to UTF-8" if "utf-8" in str(error) else "correct or convert it"
        raise UserError(f"{path}: cannot be read ({_reason(error)}); {way_out}") from None


def _csv_options(path: Path) -> dict[str, Any]:
    """All columns as text: 007 is not 7, and an answer may be a number or "null"."""
    from datasets import Features
    from datasets import Value

    separator = "\t" if ending(path.name)[0] == ".tsv" else ","
    names = checked_header(path, separator)
    features = Features({name: Value("string") for name in names})
    more = {"keep_default_na": False, "index_col": False}
    return {"sep": separator, "features": features, **more}


def _of_folder(path: Path, split: str) -> list[dict[str, Any]]:
    try:
        if any((path / file).exists() for file in ("dataset_dict.json", "state.json")):
            return _saved(path, split)
        _check_one_kind(path)
        return _load(str(path), split=split)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}, split {split}: cannot be read ({_reason(error)}); {_other_splits(error)}"
            "name one of its files"
        ) from None


def _check_one_kind(path: Path) -> None:
    """`datasets` reads the files of one kind, and says nothing of the others."""
    files = [kind for file in path.rglob("*") if (kind := kind_of(file.name)) is not None]
    if len(kinds := Counter(files)) > 1 and not (path / "README.md").exists():
        told = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        raise UserError(
            f"{path}: holds files of several kinds ({told}), of which one would be read; name "
            "them one by one, or keep one kind"
        )


def _saved(path: Path, split: str) -> list[dict[str, Any]]:
    """Of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    import datasets

    found = datasets.load_from_disk(str(path))
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(found)}.')
        found = found[split]
    return list(found.to_list())


def _of_hub(source: SourceSettings, split: str) -> list[dict[str, Any]]:
    hub.check()
    try:
        return _load(source.name, source.config, split=split, revision=source.revision)
    # The hub's client raises what its HTTP library, the file system and the formats raise.
    except Exception as error:
        told = _told(error)
        raise UserError(f"data set {source.name}, split {split}: {told}") from None


def _told(error: Exception) -> str:
    if other := _other_splits(error) or _other_configs(error):
        return f"cannot be loaded ({_reason(error)}); {other}or name a file"
    return hub.missing(
        "is neither a file here nor in the hub's cache",
        "give a .json or .jsonl file in [data]",
    ) or (
        f"cannot be loaded ({_reason(error)}); check the name and the network, or download it "
        "elsewhere and give a .json or .jsonl file in [data]"
    )


def _other_splits(error: Exception) -> str:
    return 'name a split with {name = "...", split = "..."}, ' if "split" in str(error) else ""


def _other_configs(error: Exception) -> str:
    if "onfig name is missing" not in str(error) and "BuilderConfig" not in str(error):
        return ""
    return 'name a configuration with {name = "...", config = "..."}, '


def _load(*names: str | None, **options: Any) -> list[dict[str, Any]]:
    import datasets  # with Arrow behind it; who has files of JSON does without

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        rows: list[dict[str, Any]] = datasets.load_dataset(*names, **options).to_list()
    finally:
        if shown:
            datasets.enable_progress_bars()
    return rows


def _reason(error: Exception) -> str:
    """What lies behind; `datasets` puts a sentence of its own in front."""
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
    told = cause or error
    return " ".join(str(told).split())[:300] or type(told).__name__
