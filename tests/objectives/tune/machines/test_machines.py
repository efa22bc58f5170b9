"""Who runs what since when, and for how many hours: trials whose sums are done by hand."""

from __future__ import annotations

from datetime import timedelta

import optuna
import pytest
from trials import ago
from trials import NOW
from trials import ran

from objectives.tune.machines.lines import line
from objectives.tune.machines.lines import lines
from objectives.tune.machines.rows import rows
from objectives.tune.machines.rows import summary


def test_a_worker_is_a_process_with_its_trials() -> None:
    trials = [
        ran(0, "node1:17", 7200, 3600, devices=["0", "1"], name="12_0"),
        ran(1, "node2:17", 7000, 6990),
        ran(2, "node1:17", 3500, 3400, devices=["0", "1"], name="12_0", failed=True),
        ran(3, "node1:17", 3000, devices=["0", "1"], name="12_0"),
    ]
    first, second = rows(trials, {3: 25.0}, NOW)
    assert (first.worker.host, first.name, first.device) == ("node1", "12_0", "GPU 0, 1")
    assert (first.trials, first.since, first.sign) == ((3,), ago(3000), ago(25))
    assert (first.done, first.seconds) == (1, 2 * (3600 + 100 + 3000))
    assert (second.name, second.device, second.trials) == ("process 17", "CPU", ())
    assert (second.since, second.sign, second.done, second.seconds) == (None, ago(6990), 1, 10)
    assert summary([first, second]) == "1 running on 1 host, 3.7 GPU-hours so far"


def test_trials_of_a_pack_share_their_time() -> None:
    """From 100 to 60 s ago, and from 50 on: 90 s."""
    spans = [(100, 70), (90, 60), (50, None), (40, None)]
    pack = [ran(n, "node1:17", begun, ended) for n, (begun, ended) in enumerate(spans)]
    (row,) = rows(pack, {}, NOW)
    assert row.trials == (2, 3) and row.since == ago(50) and row.seconds == 90
    assert "trials 2, 3 for 50 s" in lines([row], NOW)[0]


def test_without_a_sign_the_last_one_is_a_trial_s_begin_or_end() -> None:
    assert rows([ran(0, "node1:17", 500)], {}, NOW)[0].sign == ago(500)
    trials = [ran(0, "node1:17", 500, 400), ran(1, "node1:17", 399)]
    assert rows(trials, {1: 450.0}, NOW)[0].sign == ago(399)


def test_those_that_run_come_first_and_the_second_before_the_tenth() -> None:
    trials = [
        ran(0, "node1:1", 900, 800, name="0"),
        ran(1, "node1:2", 900, 700, name="1"),
        ran(2, "node1:3", 90, name="10"),
        ran(3, "node1:4", 90, name="2"),
        ran(4, "node0:4", 90, name="7"),
    ]
    assert [row.name for row in rows(trials, {}, NOW)] == ["7", "2", "10", "1", "0"]


def test_trials_that_nobody_has_marked_have_no_row() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 1})
    study.tell(study.ask(), 1.0)
    study.ask()
    assert rows(study.trials, {}, NOW) == []
    assert lines([], NOW) == []


@pytest.mark.parametrize(
    ("devices", "told"),
    [((), "CPU"), (("7",), "GPU 7"), (("GPU-8f6f2f1c-1", "MIG-1"), "GPU-8f6f2f1c, MIG-1")],
)
def test_devices_are_told_by_number_or_name(devices: tuple[str, ...], told: str) -> None:
    assert rows([ran(0, "node1:17", 9, devices=devices)], {}, NOW)[0].device == told


def test_few_workers_have_a_line_each() -> None:
    trials = [
        ran(0, "node1:17", 30, name="0", devices=["0"]),
        ran(1, "node1:18", 400, 20, name="1", devices=["1"]),
        ran(2, "node1:19", 4000, 3000, name="2", devices=["2"]),
        ran(3, "node2:99", 185, 5),
        ran(4, "node2:99", 4),
    ]
    assert lines(rows(trials, {0: 12.4}, NOW), NOW) == [
        "worker 0       node1 GPU 0   trial 0 for 30 s   heard of 12 s ago   "
        "0 done, 0.01 GPU-hours",
        "worker 1       node1 GPU 1   between trials     heard of 20 s ago   "
        "1 done, 0.11 GPU-hours",
        "process 99     node2 CPU     trial 4 for 4 s    heard of 4 s ago    1 done, 0.05 hours",
    ], "one that has been away for long has none"


def test_many_have_one_for_all_with_the_quietest() -> None:
    trials = [ran(n, f"node{n % 3}:{n}", 3600, name=str(n)) for n in range(9)]
    found = rows(trials, {**dict.fromkeys(range(9), 20.0), 4: 95.0}, NOW)
    assert lines(found, NOW) == [
        "workers        9 running on 3 hosts, 9.0 hours so far; "
        "quietest: 4 on node1, 1 min 35 s ago"
    ]
    assert len(lines(found[1:], NOW)) == 8
    later = [ran(0, "node1:17", 7200, 3600)]
    assert line(rows(later, {}, NOW), NOW) == "workers        none running, 1.0 hours so far"


def test_a_clock_that_is_ahead_gives_no_time_below_zero() -> None:
    (row,) = rows([ran(0, "node1:17", 10)], {}, NOW)
    assert "trial 0 for 0 s   heard of 0 s ago" in lines([row], NOW - timedelta(minutes=1))[0]
