"""What is wrong with a watch.toml is told in these words, at this place, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from procwatch.config.load import load
from procwatch.errors import ConfigError, Location, Problem

NO_SOCKET = (
    'an entry of listen must be an address such as "127.0.0.1:8000" or "[::1]:8000", '
    'or a path such as "run/api.sock", not '
)
NO_ADDRESS = 'proxy must be an address such as "127.0.0.1:8000" or "[::1]:8000", not '


def problems(folder: Path, text: str, local: str | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    """The first line of each problem."""
    return [str(problem).splitlines()[0] for problem in found(folder, text, local, environ)]


def found(
    folder: Path, text: str, local: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    (folder / "watch.toml").write_text(text)
    if local is not None:
        (folder / "watch.local.toml").write_text(local)
    with pytest.raises(ConfigError) as caught:
        load(folder, environ=environ or {})
    return caught.value.problems


def test_the_contract_s_example(tmp_path: Path) -> None:
    text = (
        '[build.app]\nrun = "x"\n\n[build.assets]\nrun = "x"\n\n\n\n\n\n\n[service.web]\nrun = "x"\n'
        'wacth = ["config/*.toml"]\nneeds = ["build.api"]\n'
    )
    assert "\n".join(str(problem) for problem in found(tmp_path, text)) == (
        'watch.toml:14:1: service "web": unknown key "wacth"; did you mean "watch"?\n'
        '   14 | wacth = ["config/*.toml"]\n'
        "      | ^^^^^\n"
        'watch.toml:15:9: service "web": needs "build.api", but there is no such build; builds are: app, assets\n'
        '   15 | needs = ["build.api"]\n'
        "      |         ^^^^^^^^^^^^^"
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("wacth = []", 'unknown key "wacth"; did you mean "watch"?'),
        ("depends_on = []", 'unknown key "depends_on"; did you mean "needs"?'),
        ("command = 'x'", 'unknown key "command"; did you mean "run"?'),
        ("cmd = 'x'", 'unknown key "cmd"; did you mean "run"?'),
        ("cwd = 'x'", 'unknown key "cwd"; did you mean "dir"?'),
        ("working_dir = 'x'", 'unknown key "working_dir"; did you mean "dir"?'),
        ("environment = {}", 'unknown key "environment"; did you mean "env"?'),
        ("healthcheck = {}", 'unknown key "healthcheck"; did you mean "ready" or "health"?'),
        ("inputs = []", 'unknown key "inputs"; did you mean "watch"?'),
        ("sources = []", 'unknown key "sources"; did you mean "watch"?'),
        ("exclude = []", 'unknown key "exclude"; did you mean "ignore"?'),
        ("profiles = []", 'unknown key "profiles"; did you mean the table "groups"?'),
        ("timeout = 1", 'unknown key "timeout"; it is a key of builds'),
        ("qqq = 1", 'unknown key "qqq"'),
        ("stop.gracee = 1", 'unknown key "stop.gracee"; did you mean "stop.grace"?'),
        ("ready.zzz = 1", 'unknown key "ready.zzz"; the keys here are: http, status, tcp, run, log'),
        ("watch = 'src'", 'watch must be a list, not "src"; write ["src"]'),
        ("watch = ['a', 3]", "an entry of watch must be a path or pattern that is not empty, not 3"),
        (
            "watch = ['/src']",
            'an entry of watch must be relative to the folder of watch.toml, not "/src"; write "./src"',
        ),
        ("watch = ['a\\b']", "an entry of watch must be a pattern without a backslash"),
        ("watch = ['{src,/etc}/x']", 'an entry of watch must be relative to the folder of watch.toml, not "{src,/etc}'),
        ("ignore = ['{/etc/*,src}']", "an entry of ignore must be relative to the folder of watch.toml, not "),
        ("watch = ['{,a}']", 'an entry of watch must be a path or pattern that is not empty, not "{,a}"'),
        (
            "watch = ['a', 'src/[z-a].rs']",
            "an entry of watch must be a path, or a pattern in the syntax of .gitignore",
        ),
        ("ignore = ['[z-a]']", 'an entry of ignore must be a path, or a pattern in the syntax of .gitignore, not "[z-'),
        (f"watch = ['{'{1,2}' * 11}']", "an entry of watch must be a pattern that stands for at most 1000, not "),
        ("ignore = ['#x']", 'an entry of ignore must be a pattern, not "#x"; a leading # makes it a comment'),
        ("env = { A = 1 }", 'env.A must be a string, not 1; write "1"'),
        ("env = 'A=1'", 'env must be a table, not "A=1"'),
        ("env = { 'A=B' = 'x' }", 'env: "A=B" cannot be the name of a variable; it has at least one character, and'),
        ("port = 'x'", 'port must be a port number from 1 to 65535, not "x"'),
        ("port = 0", "port must be a port number from 1 to 65535, not 0"),
        ("autostart = 'yes'", 'autostart must be true or false, not "yes"'),
        ("dir = 3", "dir must be a string that is not empty, not 3"),
        ("stdin = 'tty'", 'stdin must be "null" or "open", not "tty"'),
        ("stop = { grace = '5x' }", "stop.grace must be a duration such as 2.5 (seconds)"),
        (
            "stop = { grace = 1979-05-27 }",
            'stop.grace must be a duration such as 2.5 (seconds), "250ms", "5s", "2m" or',
        ),
        ("stop = 'SIGFOO'", 'stop.signal must be a signal such as "SIGTERM", "SIGINT" or "HUP", not "SIGFOO"'),
        ("stop = 3", "stop must be a table, not 3"),
        ("restart = 'no'", 'restart.policy must be "always", "on-failure" or "never", not "no"'),
        ("restart = { max_delay = 0.01 }", "restart.max_delay is less than restart.min_delay"),
        ("reload_signal = 'x'", "reload_signal must be a signal such as"),
        ("log = { color = 'pink' }", "log.color must be a colour: grey, red"),
        ("log = { terminal = 'never' }", 'log.terminal must be "all", "on-failure" or "none", not "never"'),
        ("hooks = { pre_start = ['x', ''] }", "hooks.pre_start must be a command that is not empty, not a list"),
        ("hooks = { pre_build = 'x' }", 'unknown key "hooks.pre_build"'),
        ("needs = [{ restart = true }]", 'an entry of needs has no "name"'),
        ("needs = [3]", "an entry of needs must be a name, or a table such as"),
        ("needs = ['zzz']", 'needs "zzz", but there is no such build, service or group; names are: api, web, backend'),
        ("needs = ['service.wep']", 'needs "service.wep", but there is no such service; services are: web'),
        (
            "needs = ['build.apii']",
            'needs "build.apii", but there is no such build; did you mean "build.api"? builds are: ',
        ),
        ("needs = ['build.api', 'api']", 'needs "build.api" twice'),
        ("needs = [{ name = 'api', until = 'ready' }]", '"until" is for services, and "api" is not one'),
        ("needs = ['service.web']", "needs itself: service.web -> service.web"),
        ("needs = ['build.seed']", 'needs "build.seed", but there is no such build'),
        ("dir = 'nowhere'", 'dir "nowhere" does not exist'),
        ("dir = 'watch.toml'", 'dir "watch.toml" is not a folder'),
        ("env_file = ['no.env']", "env_file: no.env: no such file"),
        (
            "ready = { tcp = true }",
            'ready.tcp has no port to ask; add "port", "listen" or "proxy", or write an address such as "127.0.0.1:',
        ),
        (
            "ready = { http = '/' }",
            'ready.http has no port to ask; add "port", "listen" or "proxy", or write an address such as "http://',
        ),
        ("ready = { tcp = 1, delay = 1 }", 'ready has "tcp" and "delay"; just one of these can be'),
        ("ready = { notify = false }", "ready.notify must be true, or left out, not false"),
        ("ready = { tcp = 1, status = 200 }", 'ready.status is for a probe with "http"'),
        ("ready = { status = 200 }", 'ready.status is for a probe with "http"'),
        ("ready = { log = '[' }", 'ready.log must be a regular expression, not "["; unterminated character set'),
        ("ready = { delay = -1 }", "ready.delay must be a duration from 0 to 1000000000 seconds, not -1"),
        ("ready = { interval = 0 }", "ready.interval must be a duration longer than 0, not 0"),
        ("dir = '${NOPE}'", 'dir: "${NOPE}" is not set; set it, or give a default: "${NOPE:-default}"'),
        ("dir = '${1}'", 'dir: "${1}" is no variable; write "${NAME}" or "${NAME:-default}", "$$" for a dollar'),
        ("dir = '${A:-${B}}'", 'dir: "${A:-${B}}" is no variable'),
        ('dir = "a\\u0000"', "dir: a string cannot hold the character U+0000"),
        ("listen = '127.0.0.1:80'", 'listen must be a list, not "127.0.0.1:80"; write ["127.0.0.1:80"]'),
        ("listen = [8000]", NO_SOCKET + '8000; write "127.0.0.1:8000"'),
        ("listen = [':8000']", NO_SOCKET + '":8000"; write "127.0.0.1:8000"'),
        ("listen = ['localhost:0']", NO_SOCKET + '"localhost:0"; the port is a number from 1 to 65535'),
        ("listen = ['a.example:80']", NO_SOCKET + '"a.example:80"; of names only localhost (127.0.0.1) is known here'),
        ("listen = ['[::1]:99999']", NO_SOCKET + '"[::1]:99999"; the port is a number from 1 to 65535'),
        ("listen = ['unix:/tmp/x']", NO_SOCKET + '"unix:/tmp/x"'),
        ("listen = ['http://x/']", NO_SOCKET + '"http://x/"'),
        ("listen = { 'a:b' = 'localhost:80' }", "a name begins with a letter or digit"),
        ("listen = { http = 'x' }", 'listen.http must be an address such as "127.0.0.1:8000"'),
        ("listen = ['localhost:80', '127.0.0.1:80']", "127.0.0.1:80 is listened at above already (127.0.0.1:80)"),
        ("listen = ['0.0.0.0:80', '[::]:80']", "[::]:80 is listened at above already (0.0.0.0:80)"),
        ("listen = ['run/a.sock', './run/a.sock']", "run/a.sock is listened at above already (run/a.sock)"),
        ("proxy = 'x'", NO_ADDRESS + '"x"'),
        ("proxy = 8000", NO_ADDRESS + '8000; write "127.0.0.1:8000"'),
        ("proxy = 'run/api.sock'", NO_ADDRESS + '"run/api.sock"'),
        ("proxy = 'a.example:80'", NO_ADDRESS + '"a.example:80"; of names only localhost (127.0.0.1) is known here'),
        ("replicas = 0", "replicas must be a whole number from 1 to 100"),
        (
            "health = { tcp = true }",
            'health.tcp has no port to ask; add "port", "listen" or "proxy", or write an address such as "127.0.0.1',
        ),
        ("health = {}", 'health has no probe; add "http", "tcp" or "run"'),
        ("health = { status = 200 }", 'health.status is for a probe with "http"'),
        ("health = { tcp = 1, run = 'x' }", 'health has "tcp" and "run"; just one of these can be'),
        (
            "health.log = 'x'",
            'unknown key "health.log"; it is a key of "ready" alone; health asks again and again: http',
        ),
        ("health.notify = true", 'unknown key "health.notify"; it is a key of "ready" alone'),
        ("health.delay = 1", 'unknown key "health.delay"; it is a key of "ready" alone'),
        ("health.deadline = 1", 'unknown key "health.deadline"; it is a key of "ready" alone'),
        ("health.retries = 1", 'unknown key "health.retries"'),
        ("health = { tcp = 1, failures = 0 }", "health.failures must be a whole number from 1 to 10000, not 0"),
        ("health = { tcp = 1, interval = 0 }", "health.interval must be a duration longer than 0, not 0"),
        ("health = true", "health must be a table, not true"),
        ("limits = {}", '"limits" is not supported yet'),
        ("tty = 'yes'", 'tty must be true or false, not "yes"'),
        ("switch = 'x'", 'switch must be "replace", "overlap" or "signal", not "x"'),
        ("log = { file = 'yes' }", "log.file must be true or false"),
        ("log = { max_size = '10MB' }", "log.max_size must be a size such as 65536 (bytes)"),
        ("log = { max_size = 1 }", "log.max_size must be a size from 4KiB to 1024GiB"),
        ("log = { keep = -1 }", "log.keep must be a whole number from 0 to 1000"),
        ("needs = [{ name = 'api', uses = [] }]", "needs.uses must be a list with something in it"),
        ("needs = [{ name = 'api', uses = ['x'] }]", 'uses "x", which is no output of "build.api"; it has no outputs'),
    ],
)
def test_a_wrong_key_of_a_service(tmp_path: Path, key: str, said: str) -> None:
    text = f"[service.web]\nrun = 'x'\n{key}\n[build.api]\nrun = 'x'\n[groups]\nbackend = ['web']\n"
    (only,) = found(tmp_path, text)
    assert only.message.startswith(f'service "web": {said}')
    assert only.location is not None
    assert only.location.line == 3
    assert only.source == key


def test_an_open_standard_input_means_nothing_on_a_terminal(tmp_path: Path) -> None:
    (only,) = found(tmp_path, "[service.web]\nrun = 'x'\ntty = true\nstdin = 'open'\n")
    assert (
        only.message
        == 'service "web": stdin = "open" means nothing with tty = true: its standard input is the terminal'
    )
    assert only.location is not None
    assert only.location.line == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[build.a]\n", '1:1: build "a": has no "run"; say what to run, such as run = ["program", "argument"]'),
        ("[build.a]\nrun = ' '\n", '2:7: build "a": run must be a command that is not empty, not " "'),
        ("[build.a]\nrun = []\n", '2:7: build "a": run must be a list that begins with a program, not an empty list'),
        (
            "[build.a]\nrun = 3\n",
            '2:7: build "a": run must be a string for the shell, or a list of strings such as ["cargo"',
        ),
        *(
            (f"[build.a]\nrun = 'x'\noutputs = ['{output}']\n", f'3:12: build "a": an entry of outputs must be {said}')
            for output, said in {
                ".": "what the build makes inside the folder of watch.toml",
                "../out": "what the build makes inside the folder of watch.toml",
                "!out": "what the build makes inside the folder of watch.toml",
                ".procwatch/": "what the build makes inside the folder of watch.toml",
                "/out": "relative to the folder of watch.toml",
                "": "a path or pattern that is not empty",
            }.items()
        ),
        (
            "[service.a]\nrun = 'x'\nneeds = [{ name = 'b', uses = ['x'] }]\n[service.b]\nrun = 'x'\n",
            '3:9: service "a": "uses" is for a build, and "b" is not one',
        ),
        ("[build.a]\nrun = 'x'\nkeep = 0\n", '3:8: build "a": keep must be a whole number from 1 to'),
        (
            (
                "[build.a]\nrun = 'x'\noutputs = ['bin', 'doc/']\n"
                "[service.b]\nrun = 'x'\nneeds = [{ name = 'a', uses = ['doc', 'lib'] }]\n"
            ),
            '6:9: service "b": uses "lib", which is no output of "build.a"; its outputs are: bin, doc',
        ),
        (
            (
                "[build.a-b]\nrun = 'x'\noutputs = ['x']\n[build.a_b]\nrun = 'x'\noutputs = ['y']\n"
                "[service.c]\nrun = 'x'\nneeds = ['a-b', 'a_b']\n"
            ),
            '9:17: service "c": PROCWATCH_RELEASE_A_B would tell of "build.a-b" and of "build.a_b"; rename one of them',
        ),
        ("[build.a]\nrun = 'x'\nport = 3\n", '3:1: build "a": unknown key "port"; it is a key of services'),
        (
            "[build.a]\nrun = 'x'\ntimeout = '0s'\n",
            '3:11: build "a": timeout must be a duration longer than 0, not "0s"',
        ),
        ("[build]\na = 3\n", '2:5: build "a" must be a table, not 3'),
        ("build = 3\n", "1:9: build must be a table, not 3"),
        ("[build.'a b']\nrun = 'x'\n", '1:8: build "a b": a name begins with a letter or digit, has only letters'),
        (f"[build.{'a' * 65}]\nrun = 'x'\n", f'1:8: build "{"a" * 64}...": a name begins with a letter or digit'),
        ("[biuld.a]\nrun = 'x'\n", '1:2: unknown table "biuld"; did you mean "build"?'),
        ("[environment]\nA = 'x'\n", '1:2: unknown table "environment"; "env" is a key of [project] and builds and'),
        ("[watch]\ninputs = []\n", '2:1: watch: unknown key "inputs"; "watch" is a key of builds and services'),
        ("[build.a]\nhealthcheck = {}\n", '1:1: build "a": has no "run"'),
        ("[build.a]\nrun = 'x'\nhealthcheck = {}\n", '3:1: build "a": unknown key "healthcheck"; "ready" is a key of'),
        ("[zzz]\n", '1:2: unknown table "zzz"; the tables here are: project, groups, defaults, watch, build, service'),
        ("[project]\nneeds = []\n", '2:1: project: unknown key "needs"; it is a key of builds and services'),
        ("[profiles]\na = ['x']\n", '1:2: unknown table "profiles"; did you mean "groups"?'),
        ("[alerts]\nhook = 'x'\n", '1:2: "alerts" is not supported yet'),
        ("x = 1\n[service.a]\nrun = 'x'\n", '1:1: unknown key "x"'),
        ("[project]\nname = 'a b'\n", '2:8: project: "a b" is not a name: a name begins with a letter or digit'),
        ("[project]\njobs = 0\n", "2:8: project: jobs must be a whole number from 1 to 10000, not 0"),
        ("[project]\nshell = []\n", "2:9: project: shell must be a list with something in it, not an empty list"),
        ("[project]\nisolation = 'vm'\n", '2:13: project: isolation must be "tree" or "pidns", not "vm"'),
        ("[project]\nenv_file = ['a.env']\n", "2:13: project: env_file: a.env: no such file"),
        ("[project]\nprocfile = 'P'\n", "2:12: project: procfile: P: no such file"),
        (
            "[project]\ndefault = ['wep']\n",
            '2:12: project: default lists "wep", but there is no such build, service or',
        ),
        (
            "[watch]\nengine = 'magic'\n",
            '2:10: watch: engine must be "auto", "inotify", "watchfiles" or "poll", not "magic"',
        ),
        ("[watch]\nquiet = 'x'\n", '2:9: watch: quiet must be "auto" or a duration such as'),
        ("[watch]\npoll = true\n", "2:8: watch: poll must be false or a duration such as"),
        ("[watch]\nignore = ['[z-a]']\n", "2:11: watch: an entry of ignore must be a path, or a pattern in the syntax"),
        ("[watch]\nignore = ['#x']\n", "2:11: watch: an entry of ignore must be a pattern"),
        (
            "[groups]\na = ['zz']\n",
            '2:6: group "a": lists "zz", but there is no such build, service or group; names are: a',
        ),
        ("[groups]\na = 'web'\n", '2:5: group "a" must be a list, not "web"; write ["web"]'),
        ("[groups]\na = [3]\n", '2:6: group "a" must be a string that is not empty, not 3'),
        ("[groups]\na = ['b']\nb = ['a']\n", '2:1: group "a": is a member of itself: a -> b -> a'),
        (
            "[groups]\nx = []\n[service.x]\nrun = 'x'\n",
            '2:1: group "x": a service has this name too; give the group another',
        ),
        (
            "[defaults.service]\nstop = { grace = 'x' }\n",
            "2:18: defaults.service: stop.grace must be a duration such as",
        ),
        ("[defaults.sevice]\n", '1:11: defaults: unknown key "sevice"; did you mean "service"?'),
    ],
)
def test_what_is_wrong_elsewhere(tmp_path: Path, text: str, said: str) -> None:
    assert problems(tmp_path, text)[0].startswith(f"watch.toml:{said}")


def test_an_ambiguous_name_is_told_with_both_full_names(tmp_path: Path) -> None:
    text = "[build.api]\nrun = 'x'\n[service.api]\nrun = 'x'\n[service.web]\nrun = 'x'\nneeds = ['api']\n"
    (told,) = problems(tmp_path, text)
    assert told == (
        'watch.toml:7:9: service "web": needs "api", which is both a build and a service; '
        'write "build.api" or "service.api"'
    )


def test_a_cycle_is_told_with_its_path(tmp_path: Path) -> None:
    text = (
        "[build.a]\nrun = 'x'\nneeds = ['service.b']\n[service.b]\nrun = 'x'\nneeds = ['build.a', 'build.c']\n"
        "[build.c]\nrun = 'x'\n"
    )
    assert problems(tmp_path, text) == ['watch.toml:3:9: build "a": needs itself: build.a -> service.b -> build.a']


def test_a_cycle_through_the_procfile_s_release_is_told_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: x\nrelease: y\n")
    text = "[project]\nprocfile = 'Procfile'\n[build.release]\nneeds = ['service.web']\n"
    assert problems(tmp_path, text) == [
        'watch.toml:4:9: build "release": needs itself: build.release -> service.web -> build.release'
    ]


def test_each_of_two_cycles_is_told(tmp_path: Path) -> None:
    text = "".join(f"[service.{name}]\nrun = 'x'\nneeds = ['service.{name}']\n" for name in "ab")
    assert [line.partition(": ")[0] for line in problems(tmp_path, text)] == ["watch.toml:3:9", "watch.toml:6:9"]


def test_a_manual_build_cannot_be_needed(tmp_path: Path) -> None:
    text = (
        "[build.seed]\nrun = 'x'\nmanual = true\n[service.a]\nrun = 'x'\nneeds = ['seed']\n"
        "[groups]\ng = ['seed']\n[service.b]\nrun = 'x'\nneeds = ['a', 'g']\n"
    )
    assert problems(tmp_path, text) == [
        'watch.toml:6:9: service "a": needs "build.seed", which is manual: it runs only when asked for by name',
        'watch.toml:11:15: service "b": needs "build.seed", which is manual: it runs only when asked for by name',
    ]


def test_all_problems_come_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        "[service.web]\nrun = 'x'\nneeds = ['build.no']\nwacth = []\nport = 'x'\nready = { tcp = true }\n"
        "dir = '${NOPE}'\n[build.a]\nlisten = 1\n[groups]\ng = ['zz']\n"
    )
    assert [line.split(":")[1] for line in problems(tmp_path, text)] == ["3", "4", "5", "7", "8", "9", "11"]


def test_what_is_known_to_be_wrong_is_not_told_again_in_other_words(tmp_path: Path) -> None:
    # No "no port to ask" because of the port, no "no run" because of the run, no "no such service" because of the name.
    text = (
        "[service.web]\nrun = 3\nport = 'x'\nready = { http = '/' }\nneeds = ['db', 'a b', 'bad']\n"
        "[service]\ndb = 3\n'a b' = { run = 'x' }\n[groups]\nbad = ['zz']\n"
    )
    assert [line.split(":")[1] for line in problems(tmp_path, text)] == ["2", "3", "7", "8", "10"]


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ("needs = [3, 'nope', 'build.a']", [9, 10, 13]),
        ("needs = ['x', {name='build.x', restart='no'}, 'x']", [10, 40, 47]),
        ("needs = [{name=3}, 4, 'y']", [16, 20, 23]),
        ("env_file = ['missing.env', '${UNSET}.env', 'other.env']", [13, 28, 44]),
        ("env = {'B=C'='x', D=3}", [8, 21]),
        ("run = ['\\u0000', 'x']".replace("'", '"'), [8]),
        ('hooks = { pre_build = [["\\u0000"]] }', [25]),
        ("watch = ['/x', 'ok', '\\x', '/y']", [10, 22, 28]),
    ],
)
def test_a_wrong_entry_of_a_list_hides_no_other(tmp_path: Path, keys: str, columns: list[int]) -> None:
    text = f"[build.a]\n{keys}\nlock = 'x'\n[build.x]\nrun = 'x'\n[service.x]\nrun = 'x'\n"
    text = text if keys.startswith("run") else text.replace("lock", "run")
    places = [problem.location for problem in found(tmp_path, text)]
    assert [(place.line, place.column) for place in places if place] == [(2, column) for column in columns]


def test_patterns_that_are_too_many_together_are_told_once(tmp_path: Path) -> None:
    many = "{1,2,3}" * 6
    text = "".join(f"[build.b{n}]\nrun = 'x'\nwatch = [{', '.join([repr(f'a{many}')] * 7)}]\n" for n in range(3))
    (told,) = problems(tmp_path, text)
    assert told.startswith("watch.toml:6:")
    assert told.endswith('build "b1": with this entry there are more than 10000 patterns; write fewer braces')


def test_a_wrong_entry_of_a_list_of_defaults_hides_no_other(tmp_path: Path) -> None:
    text = "[defaults.build]\nneeds = [3, 'nope', 4, 'nope2']\n[build.a]\nrun = 'x'\n"
    assert [line.split(":")[2] for line in problems(tmp_path, text)] == ["10", "13", "21", "24"]


def test_wrong_entries_of_groups_and_default_are_told_together(tmp_path: Path) -> None:
    text = "[project]\ndefault = ['s', 3, 'nope']\n[groups]\ng = [3, 'nope2']\n[service.s]\nrun = 'x'\n"
    places = [line.split(":")[1:3] for line in problems(tmp_path, text)]
    assert places == [["2", "17"], ["2", "20"], ["4", "6"], ["4", "9"]]


def test_a_group_is_never_called_like_a_build_or_a_service(tmp_path: Path) -> None:
    text = (
        "[build.a]\nrun = 'x'\n[service.b]\nrun = 'x'\nneeds = ['build.a']\n"
        "[groups]\n'build.a' = []\n'service.c' = ['b']\n'builds.c' = ['b']\n"
    )
    assert problems(tmp_path, text) == [
        'watch.toml:7:1: group "build.a": a name that begins with "build." is that of a build',
        'watch.toml:8:1: group "service.c": a name that begins with "service." is that of a service',
    ]


def test_a_default_that_stands_for_nothing_is_told(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "[project]\ndefault = ['g']\n[groups]\ng = []\n[service.a]\nrun = 'x'\n")
    assert told.startswith("watch.toml:2:11: project: default lists only empty groups, or what -c leaves out")


def test_all_of_many_problems_are_told_and_of_too_many_a_thousand(tmp_path: Path) -> None:
    text = "".join(f"[build.b{number}]\n" for number in range(1200))
    (tmp_path / "watch.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={})
    assert len(caught.value.problems) == 1000
    assert str(caught.value).endswith("\nthere may be more problems; mend these first")


def test_a_group_that_is_wrong_is_still_a_group(tmp_path: Path) -> None:
    text = "[service.a]\nrun = 'x'\nneeds = ['g', 'h']\n[groups]\ng = [3]\nh = 'x'\n"
    assert [line.split(":")[1] for line in problems(tmp_path, text)] == ["5", "6"]


@pytest.mark.parametrize(("key", "column"), [("listen = ['x']", 11), ("proxy = 'x'", 9)])
def test_an_address_that_is_wrong_is_not_asked_for_as_well(tmp_path: Path, key: str, column: int) -> None:
    (told,) = problems(tmp_path, f"[service.web]\nrun = 'x'\nready = {{ tcp = true }}\n{key}\n")
    assert told.startswith(f"watch.toml:4:{column}: ")


def test_a_service_opens_its_port_itself_or_is_given_sockets(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "[service.web]\nrun = 'x'\nport = 1\nlisten = ['localhost:80']\n")
    assert told.startswith(
        'watch.toml:3:1: service "web": port is one that the service opens itself; leave it out, or '
    )


@pytest.mark.parametrize(("other", "key"), [("port = 1", "port"), ("listen = ['localhost:81']", "listen")])
def test_behind_a_proxy_a_service_has_no_other_port(tmp_path: Path, other: str, key: str) -> None:
    (told,) = problems(tmp_path, f"[service.web]\nrun = 'x'\nproxy = 'localhost:80'\n{other}\n")
    assert told.startswith('watch.toml:3:1: service "web": proxy is for a service that opens the port in $PORT, ')
    assert told.endswith(f'leave out "{key}"')


def test_two_services_at_one_address_are_told_at_the_second(tmp_path: Path) -> None:
    text = "[service.a]\nrun = 'x'\nlisten = ['127.0.0.1:80']\n[service.b]\nrun = 'x'\nlisten = ['[::1]:80', '{}:80']\n"
    wanted = 'watch.toml:6:23: service "b": {0}:80 is listened at by service "a" already (127.0.0.1:80)'
    for host in ("127.0.0.1", "0.0.0.0"):
        assert problems(tmp_path, text.format(host)) == [wanted.format(host)]
    (tmp_path / "watch.toml").write_text(text.replace("'{}:80'", "'127.0.0.2:80'"))
    load(tmp_path, environ={})


def test_a_public_address_is_had_by_one_service(tmp_path: Path) -> None:
    text = "[service.a]\nrun = 'x'\nlisten = ['127.0.0.1:80']\n[service.b]\nrun = 'x'\nproxy = '0.0.0.0:80'\n"
    wanted = 'watch.toml:6:9: service "b": 0.0.0.0:80 is listened at by service "a" already (127.0.0.1:80)'
    assert problems(tmp_path, text) == [wanted]


def test_a_wrong_default_is_told_once_and_at_its_place(tmp_path: Path) -> None:
    text = "[defaults.service]\nneeds = ['zz']\nrun = 3\n[service.a]\n[service.b]\n"
    told = problems(tmp_path, text)
    needs = 'watch.toml:2:9: service "{}": needs "zz", but there is no such build, service or group; names are: a, b'
    assert told[:2] == [needs.format("a"), needs.format("b")]
    assert "watch.toml:3:7: defaults.service: run must be a string for the shell" in told[2]
    assert len(told) == 3


def test_an_error_in_watch_local_toml_points_there(tmp_path: Path) -> None:
    text = "[service.web]\nrun = 'x'\nport = 1\n"
    assert problems(tmp_path, text, local="[service.web]\nport = 'x'\nprot = 2\n") == [
        'watch.local.toml:2:8: service "web": port must be a port number from 1 to 65535, not "x"',
        'watch.local.toml:3:1: service "web": unknown key "prot"; did you mean "port"?',
    ]


def test_an_error_in_watch_toml_points_there_though_the_table_is_in_both(tmp_path: Path) -> None:
    text = "[service.web]\nprot = 1\n"
    assert problems(tmp_path, text, local="\n\n[service.web]\nport = 2\n") == [
        'watch.toml:1:1: service "web": has no "run"; say what to run, such as run = ["program", "argument"]',
        'watch.toml:2:1: service "web": unknown key "prot"; did you mean "port"?',
    ]


def test_a_broken_watch_local_toml_hides_no_wrong_key_of_watch_toml(tmp_path: Path) -> None:
    # Whether there is a "zz", or a "run" of b, or an X, nobody knows: watch.local.toml may say it.
    text = "[service.a]\nrun = 'x'\nprot = 1\nport = 'x'\nneeds = ['zz']\ndir = '${X}'\n[service.b]\n"
    assert [line.partition(": ")[0] for line in problems(tmp_path, text, local="y =")] == [
        "watch.local.toml:1:3",
        "watch.toml:3:1",
        "watch.toml:4:8",
    ]


def test_both_files_are_told_if_neither_is_toml(tmp_path: Path) -> None:
    places = [problem.location for problem in found(tmp_path, "x", local="y =")]
    assert [place.file for place in places if place] == ["watch.toml", "watch.local.toml"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("env = { A = '${NOPE}', B = '${A}' }", 'env.A: "${NOPE}" is not set'),
        ("env = { B = '${A}', A = 3 }", "env.A must be a string, not 3"),
        ("env = { A = '${B}', B = '${C}', C = '${A}' }", "env.A: needs itself: A -> B -> C -> A"),
        ("env_file = '.env'", 'env_file must be a list, not ".env"'),
        ("env_file = ['${NOPE}.env']", 'an entry of env_file: "${NOPE}" is not set'),
        ("env_file = ['no.env']", "env_file: no.env: no such file"),
        ("env_file = ['']", "an entry of env_file must be a string that is not empty"),
        ("env = 3", "env must be a table, not 3"),
    ],
)
def test_what_is_wrong_with_a_variable_is_not_told_of_its_uses(tmp_path: Path, keys: str, said: str) -> None:
    uses = "dir = '${B}'\n" if "B" in keys else "dir = '${LATER}'\n"
    (told,) = problems(tmp_path, f"[project]\n{keys}\n[service.a]\nrun = 'x'\n{uses}")
    assert told.startswith("watch.toml:2:")
    assert f"project: {said}" in told


def test_variables_that_grow_without_end_are_told(tmp_path: Path) -> None:
    env = ", ".join(f"A{n} = '${{A{n - 1}}}${{A{n - 1}}}'" for n in range(1, 40))
    (told,) = problems(tmp_path, f"[project]\nenv = {{ A0 = 'x', {env} }}\n[service.a]\nrun = 'x'\n")
    assert told.endswith("project: env.A18: its variables hold more than 128 KiB")


def test_an_env_file_is_told_with_its_own_lines(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("A=1\nwhat is this\n\n\nB='open\n")
    text = "[service.a]\nrun = 'x'\nenv_file = ['a.env']\n[service.b]\nrun = 'x'\nenv_file = ['a.env']\n"
    told = found(tmp_path, text)
    assert [(problem.message, problem.location) for problem in told] == [
        ("expected NAME=value", Location("a.env", 2, 1, 12)),
        ("this value has an opening quote but no closing one", Location("a.env", 5, 1, 7)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '["\\u001b[31m"]\n[service."\\u001b"]\nrun = "x"\n',
        '[service.a]\nneeds = ["\\u001b[31m\\n", "\\u202e", "x"]\nrun = "x"\n',
        '[service.a]\ndir = "\\u001b[31m"\nrun = "x"\nenv_file = ["\\r\\u001b"]\n',
        '[service.a]\nrun = "\x1b[31m\n',
        "[service.a]\nrun = 'x'\r\rx\n",
    ],
)
def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, text: str) -> None:
    told = [str(problem) for problem in found(tmp_path, text)]
    assert all(line.isprintable() for one in told for line in one.split("\n"))
    assert not any("\n" in str(problem).split("\n   ")[0] for problem in found(tmp_path, text))


def test_a_control_character_is_shown_as_wide_as_it_is(tmp_path: Path) -> None:
    (told,) = found(tmp_path, "[service.a]\nrun = '\x1b[31m'\n")
    assert str(told).splitlines()[1:] == ["   2 | run = '␛[31m'", "     |        ^"]


def test_a_variable_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (told,) = found(tmp_path, "[service.a]\nrun = 'x'\nenv = { A = '${Q}' }\n", environ={"Q": "\udcff"})
    assert told.message == 'service "a": env.A: the value of "${Q}" in the environment is not UTF-8; set it to text'


def test_from_a_folder_below_the_file_is_named_so_that_it_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text("[service.a]\n")
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load(below, environ={})
    assert str(caught.value).startswith('../../watch.toml:1:1: service "a": has no "run"')


def test_two_instances_cannot_open_the_same_port(tmp_path: Path) -> None:
    (only,) = found(tmp_path, "[service.web]\nrun = 'x'\nport = 1234\nswitch = 'overlap'\n")
    assert only.message == (
        'service "web": switch = "overlap" starts a second instance, which cannot open the same port; use "replace"'
    )
    assert only.location is not None
    assert (only.location.line, only.location.column) == (4, 10)
