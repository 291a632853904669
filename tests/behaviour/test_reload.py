"""The configuration changes while it runs: what differs is applied, nothing else is touched, and no edit is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Event, Live, clean_environment, write

SERVICE = 'run = "exec sleep 1000"\n'
TWO = f"[service.api]\n{SERVICE}[service.db]\n{SERVICE}"


def up(live: Live, *names: str) -> dict[str, int]:
    """Wait until these services are ready for the first time: name -> process id."""
    return {name: live.wait("service_ready", f"service.{name}")["pid"] for name in names}


def newest(live: Live, name: str) -> int:
    """The process id of the newest instance that has been started."""
    return int(live.seen("service_started", f"service.{name}")[-1]["pid"])


def replace(path: Path, content: str) -> None:
    """Save as many editors do: write another file and rename it."""
    draft = write(path.with_name(f".{path.name}.new"), content)
    draft.replace(path)


def reloaded(live: Live, after: int = 0) -> Event:
    return live.wait("config_reloaded", after=after)


def test_only_the_service_that_was_edited_is_restarted(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    before = up(live, "api", "db")
    replace(project / "watch.toml", TWO.replace("[service.db]\n", '[service.db]\nenv = { A = "1" }\n'))
    told = reloaded(live)
    assert (told["effect"], told["names"]) == ("changed: service.db", ["service.db"])
    live.wait("service_switched", "service.db")
    assert newest(live, "api") == before["api"]
    assert not live.seen("service_stopped", "service.api")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('stop = "SIGTERM"', 'stop = "SIGINT"'),
        ("ready = { delay = 0.1 }", "ready = { delay = 0.2 }"),
        ('dir = "."', 'dir = "sub"'),
        ('env = { A = "1" }', 'env = { A = "2" }'),
        ('hooks = { pre_start = "true" }', 'hooks = { pre_start = "echo" }'),
        ("port = 1", "port = 2"),
        (SERVICE, SERVICE.replace("1000", "2000")),
    ],
)
def test_what_a_service_runs_counts_at_once(project: Path, start: Start, old: str, new: str) -> None:
    def toml(key: str) -> str:
        more = "" if key.startswith("run") else SERVICE
        timing = "" if key.startswith("ready") else "ready = { delay = 0.1 }\n"
        return f"[service.api]\n{SERVICE}[service.db]\n{more}{timing}{key}\n"

    (project / "sub").mkdir()
    write(project / "watch.toml", toml(old))
    live = start()
    before = up(live, "api", "db")
    write(project / "watch.toml", toml(new))
    live.wait("service_switched", "service.db")
    assert newest(live, "api") == before["api"]


@pytest.mark.parametrize(
    "key", ['restart = "never"', "log = { max_size = '8KiB' }", "autostart = false", 'switch = "signal"']
)
def test_what_counts_only_from_its_next_use_on_restarts_nothing(project: Path, start: Start, key: str) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    before = up(live, "api", "db")
    write(project / "watch.toml", TWO + key + "\n")
    assert reloaded(live)["effect"] == "changed: service.db"
    mark = live.mark()
    write(project / "watch.toml", TWO + key + "\n[service.last]\n" + SERVICE)
    live.wait("service_ready", "service.last", after=mark)
    assert {name: newest(live, name) for name in before} == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TWO + "wacth = 1\n", 'watch.toml:5:1: service "db": unknown key "wacth"; did you mean "watch"?'),
        (TWO + "x = \n", "watch.toml:5:5: not valid TOML"),
        ("", "watch.toml:1:1: nothing to run"),
        (None, "watch.toml: no such file"),
    ],
)
def test_what_is_wrong_is_told_once_and_changes_nothing(
    project: Path, start: Start, content: str | None, reason: str
) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    before = up(live, "api", "db")
    if content is None:
        (project / "watch.toml").unlink()
    else:
        write(project / "watch.toml", content)
    told = live.wait("config_rejected")
    assert told["reason"].startswith(reason)
    assert told["effect"] == "1 error; what runs stays as it is"
    if content is not None:
        (project / "watch.toml").touch()
    replace(project / "watch.toml", TWO)
    assert reloaded(live)["effect"] == "no build or service is changed by it"
    assert len(live.seen("config_rejected")) == 1
    assert {name: newest(live, name) for name in before} == before


def test_the_same_content_and_comments_do_nothing(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    before = up(live, "api", "db")
    replace(project / "watch.toml", TWO)
    write(project / "watch.toml", f"# a comment\n{TWO}")
    write(project / "watch.local.toml", "")
    mark = live.mark()
    write(project / "watch.local.toml", f"[service.new]\n{SERVICE}")
    live.wait("service_ready", "service.new", after=mark)
    assert [event["effect"] for event in live.seen("config_reloaded")] == ["new: service.new"]
    assert {name: newest(live, name) for name in before} == before


def test_watch_local_toml_can_appear_and_vanish(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    before = up(live, "api", "db")
    write(project / "watch.local.toml", 'service.db.env.A = "1"\n')
    live.wait("service_switched", "service.db")
    (project / "watch.local.toml").unlink()
    live.wait("service_switched", "service.db", times=2)
    assert newest(live, "api") == before["api"]


def test_a_renamed_service_is_a_stop_and_a_start(project: Path, start: Start) -> None:
    hooks = 'hooks = { pre_stop = "echo pre >> told", post_stop = "sleep 0.2; echo post >> told" }\n'
    write(project / "watch.toml", TWO + hooks)
    live = start()
    before = up(live, "api", "db")
    write(project / "watch.toml", (TWO + hooks).replace("service.db", "service.base"))
    live.wait("service_ready", "service.base")
    order = [(event["event"], event.get("name")) for event in live.events]
    assert order.index(("service_stopped", "service.db")) < order.index(("service_started", "service.base"))
    assert (project / "told").read_text() == "pre\npost\n"
    assert newest(live, "api") == before["api"]


def test_an_instance_is_stopped_by_the_definition_that_it_was_started_with(project: Path, start: Start) -> None:
    told = 'hooks = { post_stop = "echo old >> told" }\n'
    run = """run = "trap 'echo INT >> told; exit' INT; while :; do sleep 0.02; done"\nstop = "SIGINT"\n"""
    write(project / "watch.toml", f"[service.web]\n{run}{told}")
    live = start()
    up(live, "web")
    write(project / "watch.toml", f"[service.web]\n{SERVICE}")
    live.wait("service_switched", "service.web")
    assert (project / "told").read_text() == "INT\nold\n"


def test_a_changed_service_waits_for_its_changed_build(project: Path, start: Start) -> None:
    toml = f'[build.app]\nrun = "true"\nwatch = ["src"]\n[service.web]\n{SERVICE}needs = ["app"]\n'
    write(project / "src", "1")
    write(project / "watch.toml", toml)
    live = start()
    before = up(live, "web")
    changed = toml.replace('run = "true"', 'run = "until [ -e go ]; do sleep 0.02; done; exit $(cat go)"')
    write(project / "watch.toml", changed.replace("1000", "2000"))
    live.wait("build_started", "build.app", times=2)
    write(project / "go", "3")
    live.wait("build_failed", "build.app")
    assert newest(live, "web") == before["web"]
    write(project / "go", "0")
    write(project / "src", "2")
    live.wait("service_switched", "service.web")
    assert len(live.seen("service_started")) == 2


def test_what_comes_with_another_configuration_is_built_by_that_alone(project: Path, start: Start) -> None:
    def branch(version: str) -> None:
        toml = f'[build.app]\nrun = "echo {version} $(cat src/a) $PROCWATCH_CHANGED >> runs"\nwatch = ["src"]\n'
        write(project / "watch.toml", toml)
        write(project / "src/a", version)

    branch("one")
    live = start()
    live.wait("build_succeeded")
    for version in ("two", "three"):
        mark = live.mark()
        branch(version)
        live.wait("build_succeeded", after=mark)
    assert (project / "runs").read_text() == "one one\ntwo two src/a\nthree three src/a\n"


def test_a_run_is_stopped_only_by_a_change_of_its_own_definition(project: Path, start: Start) -> None:
    waits = "until [ -e go ]; do sleep 0.02; done"
    toml = f'[build.a]\nrun = "{waits}"\n[build.b]\nrun = "{waits}"\non_change = "finish"\n[service.web]\n{SERVICE}'
    write(project / "watch.toml", toml)
    live = start()
    for name in ("build.a", "build.b"):
        live.wait("build_started", name)
    write(project / "watch.toml", toml[::-1].replace(waits[::-1], "eurt", 1)[::-1])
    assert live.wait("build_cancelled")["name"] == "build.b"
    assert live.wait("build_succeeded", "build.b")["run"] == 2
    write(project / "go", "")
    assert live.wait("build_succeeded", "build.a")["run"] == 1


def test_what_is_removed_while_it_runs_is_stopped(project: Path, start: Start) -> None:
    write(project / "watch.toml", f'[build.slow]\nrun = "exec sleep 1000"\n{TWO}needs = ["slow"]\n')
    live = start()
    live.wait("build_started", "build.slow")
    write(project / "watch.toml", f"[service.api]\n{SERVICE}")
    assert live.wait("build_cancelled", "build.slow")["reason"] == "it has been removed"
    assert live.stop() == 130


def test_an_env_file_restarts_only_whom_it_concerns(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO + 'env_file = ["db.env"]\n')
    write(project / "db.env", "A=1\n")
    live = start()
    before = up(live, "api", "db")
    write(project / "db.env", "A=2\n")
    live.wait("service_switched", "service.db")
    assert newest(live, "api") == before["api"]
    assert not live.seen("config_reloaded")


def test_a_variable_of_the_projects_env_file_counts_where_it_was_expanded(project: Path, start: Start) -> None:
    run = 'run = "echo $A > told-$PROCWATCH_RUN; exec sleep 1000"\n'
    write(
        project / "watch.toml",
        f'[service.web]\n{run}ready = {{ run = "test -s told-$PROCWATCH_RUN" }}\nenv = {{ A = "is ${{X}}" }}\n',
    )
    write(project / ".env", "X=1\n")
    live = start()
    up(live, "web")
    write(project / ".env", "X=2\n")
    live.wait("service_switched", "service.web")
    assert (project / "told-2").read_text() == "is 2\n"
    assert reloaded(live)["effect"] == "changed: service.web"
    live.stop()
    assert len(live.seen("service_started")) == 2, "one restart for one edit"


def test_a_hundred_quick_edits_end_with_the_last(project: Path, start: Start) -> None:
    def toml(number: int) -> str:
        return (
            f'[build.app]\nrun = "cat src > out; echo {number} >> out"\nwatch = ["src"]\n'
            f'[service.web]\nrun = "exec sleep {1000 + number}"\nneeds = ["app"]\n[service.db]\n{SERVICE}'
        )

    write(project / "src", "0\n")
    write(project / "watch.toml", toml(0))
    live = start()
    before = up(live, "db", "web")
    for number in range(1, 101):
        (replace if number % 2 else write)(project / "watch.toml", toml(number))
        write(project / "src", f"{number}\n")

    def is_settled() -> bool:
        run = Path(f"/proc/{newest(live, 'web')}/cmdline")
        return (project / "out").read_text() == "100\n100\n" and run.exists() and b"1100" in run.read_bytes()

    live.until(is_settled, "the last edit")
    assert newest(live, "db") == before["db"]
    assert len(live.seen("config_reloaded")) < 50


def test_edits_that_fall_into_a_change_of_the_configuration_are_found(project: Path, start: Start) -> None:
    def toml(number: int) -> str:
        return f'[build.app]\nrun = "cat src/* > out"\nwatch = ["src"]\ntimeout = {number}\n[service.web]\n{SERVICE}'

    write(project / "src/a", "0\n")
    write(project / "watch.toml", toml(10))
    live = start()
    up(live, "web")
    for number in range(11, 16):
        mark = live.mark()
        write(project / "watch.toml", toml(number))
        edits = 0
        while not live.seen("config_reloaded", after=mark):
            edits += 1
            write(project / "src/a", f"{number} {edits}\n")
            os.sched_yield()
        for name in ("a", "b"):
            write(project / f"src/{name}", f"{number}\n")
        live.until(lambda: (project / "out").read_text() == f"{number}\n" * 2, "the newest content")  # noqa: B023


def test_a_trigger_file_of_another_service_is_not_lost(project: Path, start: Start) -> None:
    def toml(number: int) -> str:
        return f'[service.web]\n{SERVICE}watch = ["trigger"]\n[service.db]\nrun = "exec sleep {number}"\n'

    write(project / "trigger", "")
    write(project / "watch.toml", toml(1000))
    live = start()
    up(live, "web", "db")
    for number in range(1, 6):
        mark = live.mark()
        write(project / "watch.toml", toml(1000 + number))
        reloaded(live, mark)
        (project / "trigger").touch()
        live.wait("service_switched", "service.web", after=mark)


def test_a_procfile_is_read_again_too(project: Path, start: Start) -> None:
    write(project / "Procfile", "web: exec sleep 1000\n")
    live = start()
    before = up(live, "web")
    write(project / "Procfile", "web: exec sleep 1000\nworker: exec sleep 1000\n")
    live.wait("service_ready", "service.worker")
    write(project / "Procfile", "web exec sleep\n")
    assert "Procfile:1" in live.wait("config_rejected")["reason"]
    assert newest(live, "web") == before["web"]
    write(project / "Procfile", "web: exec sleep 1000\n")
    live.wait("service_stopped", "service.worker")


def test_only_what_was_asked_for_takes_part(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start("api")
    up(live, "api")
    write(
        project / "watch.toml",
        f"{TWO}[service.more]\n{SERVICE}[service.cache]\n{SERVICE}".replace(
            "[service.db]", 'needs = ["cache"]\n[service.db]'
        ),
    )
    live.wait("service_ready", "service.cache")
    live.stop()
    assert {event["name"] for event in live.seen("service_started")} == {"service.api", "service.cache"}


def test_what_is_new_is_watched(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    write(project / "deep/down/src", "1")
    live = start()
    up(live, "api", "db")
    write(project / "watch.toml", f'{TWO}[build.app]\nrun = "cat deep/down/src > out"\nwatch = ["deep/**"]\n')
    live.wait("build_succeeded", "build.app")
    write(project / "deep/down/src", "2")
    live.wait("build_succeeded", "build.app", times=2)
    assert (project / "out").read_text() == "2"


def test_how_files_are_watched_can_change(project: Path, start: Start) -> None:
    toml = '[build.app]\nrun = "cat src > out"\nwatch = ["src"]\n'
    write(project / "src", "1")
    write(project / "watch.toml", toml)
    live = start()
    live.wait("build_succeeded", "build.app")
    for number, watch in enumerate(("poll = '50ms'", "engine = 'watchfiles'", ""), 2):
        write(project / "watch.toml", f"{toml}[watch]\n{watch}\n")
        live.wait("config_reloaded", times=number - 1)
        write(project / "src", f"{number}")
        live.wait("build_succeeded", "build.app", times=number)
        assert (project / "out").read_text() == f"{number}"


def test_log_files_go_on(project: Path, start: Start) -> None:
    toml = """
[service.web]
run = "while read -r line; do echo $line; done < pipe"
[service.db]
run = "exec sleep 1000"
"""
    os.mkfifo(project / "pipe")
    write(project / "watch.toml", toml)
    live = start()
    live.wait("service_started", "service.web")
    with (project / "pipe").open("w") as pipe:
        up(live, "web", "db")
        log = project / ".procwatch/logs/service.web.log"
        for number in range(3):
            pipe.write(f"line {number}\n")
            pipe.flush()
            write(
                project / "watch.toml",
                toml.replace("1000", f"100{number + 1}").replace(
                    "[service.db]", f"log = {{ keep = {number} }}\n[service.db]"
                ),
            )
            live.wait("config_reloaded", times=number + 1)
        live.until(lambda: log.exists() and "line 2" in log.read_text(), "the last line")
    assert [line.rpartition(" | ")[2].split()[-1] for line in log.read_text().splitlines()] == ["0", "1", "2"]


def test_reload_reads_it_where_nothing_is_watched(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start("--no-watch")
    up(live, "api", "db")
    write(project / "watch.toml", TWO.replace("[service.db]", "[service.base]"))
    assert ask(project, "reload").stdout == "new: service.base; gone: service.db\n"
    live.wait("service_ready", "service.base")
    assert ask(project, "reload", "--json").stdout == '{"changed": "no build or service is changed by it"}\n'
    write(project / "watch.toml", "x")
    refused = ask(project, "reload")
    assert refused.returncode == 2
    assert refused.stderr.startswith("procwatch: watch.toml:1:")
    live.wait("config_rejected")
    assert ask(project, "reload", "api").returncode == 2, "it takes no names"


def test_wait_takes_in_an_edit_of_the_configuration(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    up(live, "api", "db")
    for number in range(2, 5):
        write(project / "watch.toml", TWO.replace("[service.db]\n", f'[service.db]\nenv = {{ A = "{number}" }}\n'))
        assert ask(project, "wait", "db").stdout.startswith(f"service.db: ready (run {number}, ")


def ask(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A command that asks the procwatch that runs."""
    command = [sys.executable, "-m", "procwatch", *args]
    return subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_next_start_recalls_what_was_read_last(project: Path, start: Start) -> None:
    write(project / "watch.toml", TWO)
    live = start()
    up(live, "api", "db")
    memory = project / ".procwatch/project.json"
    write(project / "watch.toml", TWO.replace("1000", "2000"))
    reloaded(live)
    live.until(lambda: memory.exists() and b"sleep 2000" in memory.read_bytes(), "the memory")
    live.stop()
    assert live.seen("config_reloaded")


def test_an_included_file_can_appear_change_and_vanish(project: Path, start: Start) -> None:
    main = f'[project]\ninclude = ["services/*/watch.toml"]\n{TWO}'
    write(project / "watch.toml", main)
    live = start()
    before = up(live, "api", "db")
    shop = project / "services/shop/watch.toml"
    write(shop, f'[build.gen]\nrun = "cat src > out"\nwatch = ["src"]\n[service.web]\n{SERVICE}needs = ["gen", "db"]\n')
    assert "build.shop.gen" in live.wait("build_failed")["name"]
    write(shop.with_name("src"), "1")
    up(live, "shop.web")
    write(shop.with_name("src"), "2")
    live.wait("service_switched", "service.shop.web")
    assert shop.with_name("out").read_text() == "2"
    replace(shop, shop.read_text().replace("1000", "2000"))
    live.wait("service_switched", "service.shop.web", times=2)
    shop.parent.rename(project / "services/store")
    live.wait("service_ready", "service.store.web")
    assert {"service.shop.web", "build.shop.gen"} <= {*live.seen("config_reloaded")[-1]["names"]}
    replace(project / "watch.toml", TWO)
    live.wait("service_stopped", "service.store.web")
    assert {name: newest(live, name) for name in before} == before


def test_the_folder_of_an_included_file_can_be_started_alone(project: Path, start: Start) -> None:
    write(project / "watch.toml", f'[project]\ninclude = ["services/*/watch.toml"]\n{TWO}')
    write(
        project / "services/shop/watch.toml",
        f'[service.web]\n{SERVICE}needs = ["db"]\n[service.tool]\n{SERVICE}autostart = false',
    )
    live = start("shop")
    up(live, "db", "shop.web")
    live.stop()
    assert {event["name"] for event in live.seen("service_started")} == {"service.db", "service.shop.web"}
    again = start("shop")
    up(again, "db", "shop.web")
    write(project / "services/mail/watch.toml", f"[service.smtp]\n{SERVICE}")
    assert reloaded(again)["effect"] == "new: service.mail.smtp"
    write(project / "services/shop/watch.toml", f'[service.web]\n{SERVICE}needs = ["db", "service.mail.smtp"]\n')
    up(again, "mail.smtp")
