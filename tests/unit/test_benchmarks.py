"""The benchmarks' own arithmetic, tables, plans and options: nothing here starts a process."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.__main__ import SUBJECTS, main, takes_part
from benchmarks.beacon import Mark, parse_marks
from benchmarks.ends import in_words
from benchmarks.figures import Result, Row, Spread, as_data, number, ratio, render, spread, table
from benchmarks.load import Load
from benchmarks.peers import PEERS, Peer, procfile
from benchmarks.servers import SERVERS, Server, files, remarks
from benchmarks.session import environment
from benchmarks.throughput import MEMORY, Outcome, fault_in, throughput_row, verdict


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], Spread(1, 7.0, 7.0)),
        ([3.0, 1.0, 2.0], Spread(3, 2.0, 3.0)),
        ([4.0, 1.0, 3.0, 2.0], Spread(4, 2.5, 4.0)),
        ([float(value) for value in range(1, 101)], Spread(100, 50.5, 95.0)),
        ([float(value) for value in range(1, 21)], Spread(20, 10.5, 19.0)),
    ],
)
def test_a_spread_is_the_median_and_what_95_of_100_do_not_exceed(values: list[float], expected: Spread) -> None:
    assert spread(values) == expected


@pytest.mark.parametrize(("count", "expected"), [(1000, Spread(1000, 500.5, 990.0, 99)), (3, Spread(3, 2.0, 3.0, 99))])
def test_another_percentile(count: int, expected: Spread) -> None:
    assert spread([float(value) for value in range(1, count + 1)], 99) == expected


def test_no_values_have_no_spread() -> None:
    assert spread([]) is None


def test_a_subject_without_ratios_has_only_its_own_columns() -> None:
    text = render(replace(RESULT, has_ratios=False))
    assert "ratio" not in text
    assert "| slow      | 50              | 1 missed |" in text


ALL_KINDS = Counter(["plain", "stubborn", "own-session", "double-forked"])


@pytest.mark.parametrize(
    ("left", "hanging", "words"),
    [
        ([Counter[str](), Counter[str]()], 0, ""),
        ([ALL_KINDS, ALL_KINDS], 0, "all kinds"),
        (
            [ALL_KINDS, Counter(["plain"])],
            1,
            "1 of 2 hang, 1 of 2 double-forked, 1 of 2 own-session, plain, 1 of 2 stubborn",
        ),
        ([Counter(["plain"])], 1, "hang, plain"),
    ],
)
def test_what_was_left_is_told_in_words(left: list[Counter[str]], hanging: int, words: str) -> None:
    assert in_words(left, hanging) == words


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(3.0, 0.0) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.456, "0.46"), (9.994, "9.99"), (12.34, "12.3"), (1234.5, "1,234"), (-0.5, "-0.50")],
)  # fmt: skip
def test_a_number_is_shown_with_the_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_is_padded_markdown() -> None:
    assert table(("tool", "ms"), [("procwatch", "9")]) == (
        "| tool      | ms  |\n| --------- | --- |\n| procwatch | 9   |"
    )


RESULT = Result(
    "saves",
    "In turns",
    ("ms",),
    (Row("procwatch", {"ms": (10.0, 20.0, 30.0)}), Row("slow", {"ms": (50.0,)}, "1 missed"), Row("gone", note="no")),
)


def test_a_result_shows_medians_and_ratios_to_procwatch() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in render(RESULT).splitlines()[4:]]
    assert rows[2:] == [
        ["procwatch", "20.0 (max 30.0)", "1.00x", ""],
        ["slow", "50", "2.50x", "1 missed"],
        ["gone", "-", "-", "no"],
    ]


def test_without_procwatch_there_are_no_ratios() -> None:
    assert "x |" not in render(Result("saves", "In turns", ("ms",), (Row("slow", {"ms": (50.0,)}),)))


def test_the_largest_is_called_p95_only_where_there_are_twenty_values() -> None:
    many = Row("procwatch", {"ms": tuple(float(value) for value in range(1, 21))})
    assert "10.5 (p95 19.0)" in render(Result("saves", "In turns", ("ms",), (many,)))


def test_the_percentile_of_a_subject_is_named_where_there_are_enough_values() -> None:
    row = Row("procwatch", {"ms": tuple(float(value) for value in range(1, 101)), "s": (1.0, 2.0)})
    text = render(Result("control", "In turns", ("ms", "s"), (row,), percent=99))
    assert "50.5 (p99 99.0)" in text
    assert "1.50 (max 2.00)" in text


def test_data_for_json_has_every_value() -> None:
    assert json.loads(json.dumps(as_data(RESULT)))["rows"][0]["values"] == {"ms": [10.0, 20.0, 30.0]}


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ([0, 1, 2], ""),
        ([0, 1], "1 of 3 lines lost"),
        ([], "3 of 3 lines lost"),
        ([0, 2, 1], "all lines there, but not each once and in order"),
        ([0, 1, 1, 2], "all lines there, but not each once and in order"),
    ],
)
def test_lines_that_are_lost_doubled_or_out_of_order_are_found(numbers: list[int], fault: str) -> None:
    assert fault_in(numbers, 3) == fault


def test_lines_of_several_processes_may_mix_but_not_change_places_within_one() -> None:
    assert fault_in([3, 0, 4, 1, 2, 5], 3, 2) == ""
    assert fault_in([3, 0, 5, 1, 2, 4], 3, 2) == "all lines there, but not each once and in order"
    assert fault_in([3, 0, 4, 1, 2], 3, 2) == "1 of 6 lines lost"


def test_a_verdict_tells_in_how_many_runs_something_was_wrong() -> None:
    assert verdict(["", ""]) == "all there, in order"
    assert verdict(["", "1 of 3 lines lost"]) == "1 of 2 runs: 1 of 3 lines lost"


def test_the_time_of_a_run_that_lost_lines_does_not_count() -> None:
    outcomes = {"to a pipe, s": [Outcome(1.0, "1 of 3 lines lost"), Outcome(2.0, "")], "to a file, s": []}
    made = throughput_row("frob", outcomes, 4_000_000)
    assert made.values == {"to a pipe, s": (2.0,), "to a file, s": (), MEMORY: ()}
    assert made.note == "2.00 M lines/s at best; 1 of 2 runs: 1 of 3 lines lost"


def test_marks_are_read_from_whole_lines() -> None:
    assert parse_marks(b"a.build 12 345\nb 6 7") == (Mark("a.build", 12, 345), Mark("b", 6, 7))


def test_pythons_switches_and_colours_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "FORCE_COLOR", "PROCWATCH_NAME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "1")
    passed = environment({"ADDED": "1"})
    assert (passed["KEPT"], passed["ADDED"]) == ("1", "1")
    assert not {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "FORCE_COLOR", "PROCWATCH_NAME"} & passed.keys()


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.watch], ids=lambda peer: str(peer.name))
def test_every_tool_that_watches_is_given_both_commands(peer: object) -> None:
    plan = next(one for one in PEERS if one is peer).watch
    assert plan is not None
    made = plan("the-build", "the-service")
    everything = " ".join((*made.command, *made.files.values()))
    assert "the-build" in everything
    assert "exec the-service" in everything


def test_every_tool_that_runs_services_is_given_all_of_them() -> None:
    services = {f"s{number}": f"command-{number}" for number in range(3)}
    plans = {peer.name: peer.run(services) for peer in PEERS if peer.run}
    assert {"procwatch", "honcho", "foreman"} <= plans.keys()
    for plan in plans.values():
        everything = " ".join((*plan.command, *plan.files.values()))
        assert all(f"exec {command}" in everything for command in services.values())
    assert plans["procwatch"].files == plans["honcho"].files == {"Procfile": procfile(services)}


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: str(server.name))
def test_a_server_of_the_sample_takes_its_socket_or_opens_its_port(server: Server) -> None:
    with_listen, with_proxy = (files(server, way, 12345) for way in ("listen", "proxy"))
    assert 'listen = ["127.0.0.1:12345"]' in with_listen["watch.toml"]
    assert 'proxy = "127.0.0.1:12345"' in with_proxy["watch.toml"]
    assert "listen = " not in with_proxy["watch.toml"].partition(f"[service.{server.service}]")[2].partition("[")[0]
    assert sum("PORT" in text for text in with_proxy.values()) == 1
    assert f"[build.{server.build}]" in with_listen["watch.toml"]
    assert with_listen.keys() == with_proxy.keys() == set(server.files)


def test_switches_that_failed_and_requests_that_were_lost_are_remarked_on() -> None:
    load = Load(1)
    load.bodies = {b"process 1": 4, b"process 2": 3}
    assert remarks(load, [0]) == ""
    load.fresh.failed("closed in an answer")
    load.kept.failed("closed in an answer")
    assert remarks(load, [0, 1]) == ("1 of 2 switches failed, 2 of 3 instances have answered, closed in an answer 2x")


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.control], ids=lambda peer: str(peer.name))
def test_every_tool_that_can_be_asked_is_given_services_and_builds(peer: Peer) -> None:
    assert peer.control is not None
    asked = peer.control({f"s{number}": f"command-{number}" for number in range(3)}, "the-build")
    everything = " ".join((*asked.plan.command, *asked.plan.files.values()))
    assert all(f"command-{number}" in everything for number in range(3))
    assert "the-build" in everything
    assert Path(asked.status[0]).name[:6] == peer.name[:6]  # supervisorctl asks supervisord


@pytest.mark.parametrize(
    ("tool", "subjects"),
    [
        ("supervisord", ["control"]),
        ("cargo-watch+pm2", ["saves", "switching", "tree"]),
        ("honcho", ["startup", "idle", "throughput", "ends"]),
    ],
)
def test_a_tool_that_is_missing_is_named_where_it_would_belong(tool: str, subjects: list[str]) -> None:
    (missing,) = (peer for peer in PEERS if peer.name == tool)
    assert [name for name in SUBJECTS if takes_part(missing, name)] == subjects


def test_what_is_made_of_two_programs_is_there_if_both_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    peer = Peer("one+two", programs=("one-of-these", "two-of-these"))
    for name, expected in (("one-of-these", None), ("two-of-these", str(tmp_path / "one-of-these"))):
        (tmp_path / name).touch(0o755)
        assert peer.find() == expected


def test_an_unknown_tool_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--tools", "frob"])
    assert "--tools: unknown: frob; tools are: procwatch, cargo-watch" in capsys.readouterr().err
