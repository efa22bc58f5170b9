"""Files and folders that a configuration names, and files that are no configuration."""

from __future__ import annotations

from pathlib import Path

from experiment_files import refusal
from experiment_files import write
import pytest

from objectives.errors import UserError
from objectives.settings.config import load_experiment


@pytest.mark.parametrize("name", ["./base", "../base", "/base", "~/no/such/base"])
def test_a_path_must_exist(tmp_path: Path, name: str) -> None:
    path = tmp_path / Path(name).expanduser()
    line = f'[model] name = "{name}": does not exist (looked for {path}); '
    assert refusal(tmp_path, model=f'name = "{name}"') == [
        line + "paths start at the experiment file"
    ]


def test_files_and_folders_must_exist(tmp_path: Path) -> None:
    lines = refusal(tmp_path, data='train = "rows.jsonl"', scoring='tasks = "tasks"')
    assert lines == [
        f'[data] train = "rows.jsonl": does not exist (looked for {tmp_path / "rows.jsonl"}); '
        "paths start at the experiment file",
        f'[scoring] tasks = "tasks": must be a folder (looked for {tmp_path / "tasks"}); '
        "paths start at the experiment file",
    ]


def test_a_source_is_of_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").touch()
    (tmp_path / "rows.csv").touch()
    assert refusal(tmp_path, data='train = "rows.xlsx"') == [
        '[data] train = "rows.xlsx": is no file of rows, which end in .json, .jsonl, .csv, .tsv, '
        ".parquet, .txt; convert it"
    ]
    (line,) = refusal(tmp_path, data='train = ["rows.csv", {name = "rows.csv", split = "test"}]')
    assert line.endswith(
        "has `split`, which is for names on the hub, and this is a file; leave it out"
    )


def test_a_chat_template_is_read(tmp_path: Path) -> None:
    assert refusal(tmp_path, data='train = "org/data"\nchat_template = "chat.jinja"') == [
        f'[data] chat_template = "chat.jinja": cannot be read ([Errno 2] No such file or '
        f"directory: '{tmp_path / 'chat.jinja'}'); give a file of Jinja, or its text between "
        "three quotes"
    ]


def test_a_base_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    assert refusal(tmp_path, model='name = "model.gguf"') == [
        '[model] name = "model.gguf": is a file, and a base is a folder; name the folder that '
        "holds its configuration, weights and tokenizer"
    ]


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert refusal(tmp_path, model='name = "base"\nrevision = "v1"') == [
        '[model] revision = "v1": is for a name on the hub, and the base is a folder here; '
        "leave it out"
    ]


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    lines = refusal(tmp_path, search="rank = 0\ndropout = 1", training="epochs = 0", stdy="x = 1")
    assert [line.split(" =")[0] for line in lines] == [
        "[training] epochs",
        "[search] rank",
        "[search] dropout",
        "[stdy]: there is no such section; did you mean [study]?",
    ]


def test_missing_sections_and_stray_keys(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text('trials = 5\nstudy = "x"\nspeed = 1')
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    assert [line.strip() for line in str(caught.value).split("\n")[1:]] == [
        '[model] is missing; add it with name = "meta-llama/Llama-3.2-1B"',
        '[data] is missing; add it with train = "yahma/alpaca-cleaned"',
        'study = "x": must be a section; write [study] and its keys below it',
        "trials = 5: stands outside of all sections; it belongs under [study]",
        "speed = 1: stands outside of all sections; it belongs under a section such as [study]",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such experiment file; check the path"),
        (b"[model\n", "is not valid TOML: "),
        (b"[model]\nname = 1\nname = 2\n", "is not valid TOML: "),
        (b'[model]\nname = "\xff"\n', "is not valid TOML: "),
        (b"[study]\ntrials = " + b"1" * 5000, "is not valid TOML: "),
        (b"[study]\ntrials = " + b"[" * 5000, "is not valid TOML: "),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "experiment.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    assert str(caught.value).startswith(f"{file}: {message}")


def test_a_mark_of_windows_editors_is_no_mistake(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_experiment(file).model.name == "org/model"


def test_a_folder_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read .* give a TOML file"):
        load_experiment(tmp_path)
