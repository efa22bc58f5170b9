"""Plans: every request is asked once, nothing shared is read twice, limits hold."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from objectives.scoring import prefix_tree
from objectives.scoring.prefix_tree import make_plan
from objectives.scoring.prefix_tree import Plan
from objectives.scoring.prefix_tree import Request
from objectives.scoring.prefix_tree import Row


def request(context: list[int], continuation: list[int]) -> Request:
    return Request(tuple((context + continuation)[:-1]), tuple(continuation))


# few different tokens: prefixes are shared by chance at every depth
tokens = st.integers(0, 2)
requests = st.lists(
    st.builds(
        request,
        st.lists(tokens, min_size=1, max_size=8),
        st.lists(tokens, min_size=1, max_size=4),
    ),
    max_size=25,
)


def parents(row: Row) -> list[int]:
    """Of each node; -1 at a root. By the nearest node before it whose subtree it is in."""
    return [
        max((j for j in range(i) if row.ends[j] > i), default=-1) for i in range(len(row.tokens))
    ]


def path(row: Row, node: int) -> list[int]:
    above = parents(row)
    nodes = [node]
    while above[nodes[0]] >= 0 and nodes[0] >= 0:
        nodes.insert(0, above[nodes[0]])
    return nodes


def read_back(plan: Plan) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Number -> (what the tree says is read, what is asked)."""
    found = {}
    for group in plan.groups:
        for row in (row for batch in group.batches for row in batch):
            start = 0
            for number, n in row.requests:
                asked = list(row.asked[start : start + n])
                nodes = path(row, asked[-1])
                assert nodes[-n:] == asked
                assert [row.positions[i] for i in nodes] == [
                    len(group.prefix) + k for k in range(len(nodes))
                ]
                assert number not in found
                read = group.prefix + tuple(row.tokens[i] for i in nodes)
                found[number] = (read, tuple(row.targets[start : start + n]))
                start += n
    return found


@given(requests, st.integers(1, 40), st.integers(1, 60), st.sampled_from([0, 5, 512]))
def test_the_trees_are_the_requests(
    wanted: list[Request], row: int, batch: int, forward: int
) -> None:
    with mock.patch.object(prefix_tree, "FORWARD", forward):
        plan = make_plan(wanted, width=1, row=row, batch=batch)
    found = read_back(plan)
    assert [found[number] for number in plan.numbers] == [(r.tokens, r.targets) for r in wanted]
    assert set(found) == set(plan.numbers)
    for group in plan.groups:
        for rows in group.batches:
            longest = len(group.prefix) + len(rows[0].tokens)
            assert all(len(r.tokens) <= len(rows[0].tokens) for r in rows)
            assert len(rows) == 1 or len(rows) * longest <= batch
            for each in rows:
                size = len(group.prefix) + len(each.tokens)
                assert size <= row or len(each.requests) == 1


def test_choices_share_a_row_and_questions_a_prefix() -> None:
    """5 examples of 40 tokens before 20 questions of 30 with 4 choices of 5."""
    examples = list(range(200))
    wanted = [
        request([*examples, *[1000 + q] * 30], [2000 + c] * 5) for q in range(20) for c in range(4)
    ]
    plan = make_plan(wanted, width=64, row=10_000, batch=4_000)
    (group,) = plan.groups
    assert list(group.prefix) == examples
    rows = [row for batch in group.batches for row in batch]
    assert [len(row.tokens) for row in rows] == [30 + 4 * 4] * 20
    assert [len(batch) for batch in group.batches] == [16, 4]


def test_the_best_of_nested_prefixes_is_cached() -> None:
    """An instruction before everything, and longer examples of their own before each half."""
    wanted = [
        request([7] * 20 + [half] * 300 + [100 + q] * 10, [1, 2])
        for half in (8, 9)
        for q in range(10)
    ]
    plan = make_plan(wanted, width=64, row=10_000, batch=4_000)
    assert [group.prefix for group in plan.groups] == [
        (7,) * 20 + (8,) * 300,
        (7,) * 20 + (9,) * 300,
    ]


def test_what_is_shared_too_rarely_is_not_cached() -> None:
    wanted = [request([7] * 2 + [100 + q] * 68, [1]) for q in range(10)]
    (group,) = make_plan(wanted, width=64, row=10_000, batch=4_000).groups
    assert group.prefix == ()
    assert [len(row.tokens) for batch in group.batches for row in batch] == [70] * 10


def test_no_requests_are_no_groups() -> None:
    assert make_plan([], width=64, row=10, batch=10) == Plan([], [])
