"""Plans which tokens are read once for many requests: prefixes, then trees; pure integers.

A *request* is one context with one continuation. Sorted by their tokens, requests that share a
prefix are neighbours, and how much they share is the longest common prefix (lcp) of neighbours.

* A *group* is a range of requests that begin with the same tokens (examples before a question, an
  instruction), so often that a model should compute those once and keep keys and values.
* A *row* is a few requests of a group laid out as one tree behind the group's prefix: what they
  share (the question) stands there once, in depth-first order.
* A *plan* is all groups with their rows in batches. It holds no token twice, and so little memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field


__all__ = ["Group", "Plan", "Request", "Row", "make_plan"]

Tokens = tuple[int, ...]

FORWARD = 512  # tokens that cost about as much as one more forward and a last batch that is short


@dataclass(frozen=True, order=True)
class Request:
    """One continuation of one context.

    Attributes:
        tokens: What the model reads: the context and, but for its last token, the continuation.
        targets: The continuation; the last `len(targets)` tokens read predict them.
    """

    tokens: Tokens
    targets: Tokens

    @property
    def asked(self) -> int:
        """Position of the context's last token, which predicts the first target."""
        return len(self.tokens) - len(self.targets)


def _integers() -> array[int]:
    return array("i")


@dataclass
class Row:
    """A tree of tokens, depth first; it grows while it is laid out.

    Attributes:
        tokens: One per node.
        positions: Of each node in its sequence; a child's is its parent's + 1.
        ends: The nodes below node i are i + 1 to ends[i] - 1.
        asked: Nodes that predict targets, request after request; a node may be there often.
        targets: What they predict.
        requests: For each request its number in the plan and how many targets it has.
    """

    tokens: array[int] = field(default_factory=_integers)
    positions: array[int] = field(default_factory=_integers)
    ends: array[int] = field(default_factory=_integers)
    asked: array[int] = field(default_factory=_integers)
    targets: array[int] = field(default_factory=_integers)
    requests: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Rows, packed into batches, that all begin with `prefix`, and are asked nothing within it."""

    prefix: Tokens
    batches: list[list[Row]]


@dataclass(frozen=True)
class Plan:
    """How to score requests.

    Attributes:
        numbers: Of each request, in the order they came; the same ones have the same number.
        groups: Every number is in exactly one row of one group.
    """

    numbers: list[int]
    groups: list[Group]


def make_plan(requests: Sequence[Request], *, width: int, row: int, batch: int) -> Plan:
    """Plans so that few tokens are read more than once.

    Args:
        requests: Each with at least one target and one token of context.
        width: The model's hidden size: what a token costs beside what it sees.
        row: Tokens that a row may have, prefix included, unless it is of one request.
        batch: Tokens of a batch, prefixes and padding included, unless it is of one row.
    """
    ordered = sorted(set(requests))
    number = {request: i for i, request in enumerate(ordered)}
    groups = []
    for depth, members in _groups(ordered):
        prefix = ordered[members[0]].tokens[:depth]
        rows = _rows(ordered, members, depth, width=width, limit=row)
        groups.append(Group(prefix, list(_batches(rows, depth, batch))))
    return Plan([number[request] for request in requests], groups)


def _groups(ordered: Sequence[Request]) -> list[tuple[int, list[int]]]:
    """(length of the prefix, requests): caching each prefix saves the most tokens.

    Requests with no prefix worth caching are together in one group without.
    """
    ranges = _best_ranges(ordered)
    edges = [0, *(edge for _, i, j in ranges for edge in (i, j)), len(ordered)]
    between = zip(edges[::2], edges[1::2], strict=True)
    rest = [member for i, j in between for member in range(i, j)]
    cached = [(depth, list(range(i, j))) for depth, i, j in ranges]
    return [*cached, (0, rest)] if rest else cached


@dataclass
class _Interval:
    """Neighbours from `first` on that share `depth` tokens at least.

    Attributes:
        depth: Length of what they share.
        first: Index of the first.
        inner: The best groups inside, as (depth, first, last + 1).
        saved: Tokens that those need not compute.
    """

    depth: int
    first: int
    inner: list[tuple[int, int, int]] = field(default_factory=list)
    saved: int = 0


def _best_ranges(ordered: Sequence[Request]) -> list[tuple[int, int, int]]:
    """(depth, first, last + 1) of each range of requests whose prefix is worth caching.

    The ranges of neighbours that share a prefix are a tree, the lcp intervals (Abouelhoda et al.
    2004, "Replacing suffix trees with enhanced suffix arrays", algorithm 4.4); they close from the
    inside out. When one closes, its own prefix is weighed against the best groups inside.
    """
    contexts = _count_contexts(ordered)
    stack = [_Interval(0, 0)]
    for i in range(1, len(ordered) + 1):
        depth = _cacheable(ordered[i - 1], ordered[i]) if i < len(ordered) else 0
        first = i - 1
        while stack[-1].depth > depth:
            closed = stack.pop()
            first = closed.first
            _choose(closed, i, questions=contexts[i - 1] - contexts[first] + 1)
            if stack[-1].depth < depth:
                stack.append(_Interval(depth, first))
            stack[-1].inner += closed.inner
            stack[-1].saved += closed.saved
        if stack[-1].depth < depth:
            stack.append(_Interval(depth, first))
    return stack[0].inner


def _choose(interval: _Interval, end: int, questions: int) -> None:
    """One group for the whole interval, if that saves more than those inside."""
    saved = interval.depth * (questions - 1) - FORWARD
    if saved > interval.saved:
        interval.inner, interval.saved = [(interval.depth, interval.first, end)], saved


def _count_contexts(ordered: Sequence[Request]) -> list[int]:
    """For each request, how often the context has changed up to it: choices are no questions."""
    counts = [0] * min(1, len(ordered))
    for a, b in zip(ordered, ordered[1:], strict=False):
        same = a.asked == b.asked and a.tokens[: a.asked + 1] == b.tokens[: b.asked + 1]
        counts.append(counts[-1] + (not same))
    return counts


def _cacheable(a: Request, b: Request) -> int:
    """Tokens that two requests share, and that are asked nothing."""
    return min(_common(a.tokens, b.tokens), a.asked, b.asked)


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the longest common prefix."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _rows(
    ordered: Sequence[Request], members: Iterable[int], depth: int, *, width: int, limit: int
) -> list[Row]:
    """Lays requests out as trees behind their prefix of `depth` tokens.

    Neighbours share a row if that takes less work than a row each. Work, in multiplications per
    layer over twice the width h: a token meets 12 h^2 weights (Kaplan et al. 2020, eq. 2.1) and
    every token of its row, also those that the mask hides, at 2 h each; so n tokens behind a
    prefix of p take n (n + p + 6 h).
    """
    fixed = depth + 6 * width
    rows: list[Row] = []
    path: Sequence[int] = ()
    before: Tokens = ()
    for member in members:
        request = ordered[member]
        shared = max(_common(before, request.tokens), depth)
        alone, more = len(request.tokens) - depth, len(request.tokens) - shared
        row = len(rows[-1].tokens) if rows else 0
        joins = more * (2 * row + more + fixed) <= alone * (alone + fixed)
        if not rows or not joins or depth + row + more > limit:
            rows.append(Row())
            path, shared = (), depth
        path = _grow(rows[-1], path[: shared - depth], request, shared)
        rows[-1].requests.append((member, len(request.targets)))
        before = request.tokens
    return rows


def _grow(row: Row, trunk: Sequence[int], request: Request, shared: int) -> Sequence[int]:
    """Adds a request as a branch of `trunk`; returns the nodes of its tokens behind the prefix."""
    start, end = len(row.tokens), len(row.tokens) + len(request.tokens) - shared
    row.tokens.extend(request.tokens[shared:])
    row.positions.extend(range(shared, len(request.tokens)))
    row.ends.extend([end] * (end - start))
    for node in trunk:
        row.ends[node] = end
    path = [*trunk, *range(start, end)]
    row.asked.extend(path[len(path) - len(request.targets) :])
    row.targets.extend(request.targets)
    return path


def _batches(rows: Iterable[Row], prefix: int, limit: int) -> Iterator[list[Row]]:
    """Packs rows of like length, longest first: memory runs out at once or never."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.tokens), reverse=True):
        longest = len((batch or [row])[0].tokens)
        if batch and (len(batch) + 1) * (prefix + longest) > limit:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
