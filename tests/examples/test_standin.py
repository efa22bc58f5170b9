"""The stand-in: its text, its splits and tasks, the model in the repository, a small build."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from examples.standin import questions
from examples.standin.build import build
from examples.standin.build import passages
from examples.standin.build import StandinSettings
from examples.standin.text import Docstring
from examples.standin.text import docstrings
from examples.standin.text import Function
from examples.standin.text import functions
from examples.standin.text import in_words


STANDIN = Path(__file__).parents[2] / "examples" / "standin"
TINY = StandinSettings(
    vocabulary=300, hidden=16, intermediate=32, layers=1, heads=2, steps=3, validation=60, test=90
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def short_names(rows: Sequence[dict[str, Any]]) -> set[str]:
    return {Function(row["name"], "").short_name for row in rows}


@pytest.fixture(scope="module")
def found() -> list[Docstring]:
    return docstrings()


@pytest.fixture(scope="module")
def parts(found: list[Docstring]) -> questions.Split:
    return questions.split(functions(found), validation=350, test=700, seed=0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The build sets one thread for its whole process; the other tests keep theirs."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class TestText:
    def test_harvest_is_deterministic(self, found: list[Docstring]) -> None:
        assert docstrings() == found

    def test_known_functions_are_described(self, found: list[Docstring]) -> None:
        answers = {function.name: function.answer for function in functions(found)}
        keys = "xml.etree.ElementTree.Element.keys"
        assert answers[keys] == "Get list of attribute names."
        assert answers["math.cosh"] == "Return the hyperbolic cosine of x."  # compiled
        assert len(answers) > 4000

    def test_no_source_is_imported(self) -> None:
        code = (
            "import sys; from examples.standin.text import docstrings; docstrings(); "
            "sys.exit(not {'antigravity', 'this', 'idlelib', 'turtle'}.isdisjoint(sys.modules))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=600)

    def test_inherited_docstring_is_kept_once_and_shared_one_dropped(self) -> None:
        found = [
            Docstring("a.A.close", "Close the file now.", is_function=True),
            Docstring("b.B.close", "Close the file now.", is_function=True),
            Docstring("a.left", "Internal function of this module.", is_function=True),
            Docstring("a.right", "Internal function of this module.", is_function=True),
            Docstring("a", "Close all the files now.", is_function=False),
            Docstring("a.find", "S.find(sub) -> int of sub.", is_function=True),
        ]
        assert functions(found) == [Function("a.A.close", "Close the file now.")]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("xml.etree.ElementTree.getItems", "xml etree element tree get items"),
            ("http.HTTPServer.__init__", "http http server init"),
            ("os.read2_all", "os read 2 all"),
        ],
    )
    def test_in_words(self, name: str, words: str) -> None:
        assert in_words(name) == words


class TestSplit:
    def test_no_short_name_and_no_answer_is_in_two_parts(self, parts: questions.Split) -> None:
        each = [parts.train, parts.validation, parts.test]
        for what in ("short_name", "answer", "name"):
            values = [{getattr(function, what) for function in part} for part in each]
            assert len(set.union(*values)) == sum(map(len, values))
        assert min(map(len, each)) >= 350

    def test_seed_decides(self, found: list[Docstring], parts: questions.Split) -> None:
        described = functions(found)
        assert questions.split(described, validation=350, test=700, seed=0) == parts
        assert questions.split(described, validation=350, test=700, seed=1) != parts

    def test_pre_training_never_sees_a_held_out_answer(
        self, found: list[Docstring], parts: questions.Split
    ) -> None:
        seen = " ".join(" ".join(passages(found, parts)).split())
        assert not [f for f in parts.held_out if f.answer in seen]
        some = parts.train[:300]
        assert sum(f.answer in seen for f in some) > 0.9 * len(some)

    @given(seed=st.integers(), size=st.integers(4, 80))
    def test_questions_have_one_right_answer_of_four(self, seed: int, size: int) -> None:
        some = [Function(f"module.do_{i}", f"Do the {'x' * i} thing.") for i in range(size)]
        asked = questions.questions(some, seed=seed)
        right = {function.name: function.answer for function in some}
        assert {question["name"] for question in asked} == set(right)
        for question in asked:
            assert len(set(question["choices"])) == questions.CHOICES
            assert question["choices"][question["gold"]] == right[question["name"]]


class TestInRepository:
    def test_rows_have_alpaca_fields(self) -> None:
        for name in ("train", "validation"):
            for row in lines(STANDIN / "data" / f"{name}.jsonl"):
                assert row["instruction"] and row["output"] and row["input"] == ""

    def test_no_short_name_and_no_answer_is_in_two_parts(self) -> None:
        train = lines(STANDIN / "data" / "train.jsonl")
        validation = lines(STANDIN / "data" / "validation.jsonl")
        test = lines(STANDIN / "tasks" / "standin_test.jsonl")
        for row in test:
            row["output"] = row["choices"][row["gold"]]
        for a, b in ((train, validation), (train, test), (validation, test)):
            assert short_names(a).isdisjoint(short_names(b))
            assert {row["output"] for row in a}.isdisjoint({row["output"] for row in b})

    @pytest.mark.parametrize(("task", "at_least"), [("validation", 300), ("test", 600)])
    def test_questions_have_one_gold_of_four(self, task: str, at_least: int) -> None:
        asked = lines(STANDIN / "tasks" / f"standin_{task}.jsonl")
        assert len({question["name"] for question in asked}) == len(asked) >= at_least
        for question in asked:
            assert len(question["choices"]) == len(set(question["choices"])) == 4
            assert question["gold"] in range(4)

    def test_validation_questions_ask_about_validation_rows(self) -> None:
        rows = {r["name"]: r["output"] for r in lines(STANDIN / "data" / "validation.jsonl")}
        asked = lines(STANDIN / "tasks" / "standin_validation.jsonl")
        assert {q["name"]: q["choices"][q["gold"]] for q in asked} == rows

    def test_model_loads_and_knows_more_than_letters(self) -> None:
        tokenizer = AutoTokenizer.from_pretrained(STANDIN / "model")
        model = AutoModelForCausalLM.from_pretrained(STANDIN / "model", dtype=torch.float32)
        batch = tokenizer(["Return the name of the file as a string."], return_tensors="pt")
        assert batch["input_ids"][0, 0] == tokenizer.bos_token_id
        with torch.no_grad():
            loss = model(**batch, labels=batch["input_ids"]).loss.item()
        assert loss < 4.0  # a guess of all tokens alike: 7.6 nats

    def test_files_are_small(self) -> None:
        sizes = [path.stat().st_size for path in STANDIN.rglob("*") if path.is_file()]
        assert sum(sizes) < 5_500_000


class TestBuild:
    def test_small_build_twice_gives_the_same_files(
        self, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = docstrings()[::6]
        monkeypatch.setattr("examples.standin.build.docstrings", lambda: few)
        monkeypatch.setattr(
            "examples.standin.build.topic_texts", lambda: ["Names refer to objects."]
        )
        for name in ("a", "b"):
            build(TINY, tmp_path / name)
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
        assert len(files) >= 9
        for file in files:
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "model")
        AutoTokenizer.from_pretrained(tmp_path / "a" / "model")
