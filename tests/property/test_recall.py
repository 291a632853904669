"""What is recalled is what a load would give: for any project, and after any change of what was read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.config import recall
from procwatch.config.find import FOLDER
from procwatch.config.load import load
from procwatch.config.recall import Declared, Request, declared, remember
from procwatch.errors import ProcwatchError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=12)
WORDS = st.text("abcü.-_ \"'\\", min_size=1, max_size=8).map(lambda text: f"x{text}")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
COMMANDS = st.one_of(WORDS, st.lists(WORDS, min_size=1, max_size=3))
SECONDS = st.one_of(st.integers(1, 90), st.floats(0.001, 1e6), st.sampled_from(["250ms", "2m", "1.5h"]))
PROBES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda port: {"tcp": port}, st.integers(1, 65535)),
    st.builds(
        lambda port, path: {"http": f"http://127.0.0.1:{port}/{path}"}, st.integers(1, 65535), st.sampled_from("ab")
    ),
    st.builds(lambda command: {"run": command}, COMMANDS),
    st.just({"notify": True}),
    st.just({"log": "^up$"}),
    st.builds(lambda delay: {"delay": delay}, SECONDS),
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "env": st.dictionaries(NAMES, TEXT, max_size=2),
    "watch": st.lists(st.sampled_from(["src/**", "*.py", "!a.py", "b", "{a,b}/*"]), max_size=3),
    "ignore": st.lists(st.sampled_from(["*.tmp", "./x"]), max_size=2),
}
BUILDS = st.fixed_dictionaries(
    {"run": COMMANDS},
    optional={
        **COMMON,
        "timeout": SECONDS,
        "on_change": st.sampled_from(["restart", "finish"]),
        "lock": NAMES,
        "hooks": st.builds(lambda commands: {"post_build": commands}, st.lists(WORDS, max_size=2)),
    },
)
SERVICES = st.fixed_dictionaries(
    {"run": COMMANDS},
    optional={
        **COMMON,
        "port": st.integers(1, 65535),
        "ready": PROBES,
        "stop": st.builds(lambda grace: {"signal": "SIGINT", "grace": grace}, SECONDS),
        "log": st.sampled_from([{"file": False}, {"max_size": "1MiB", "keep": 0}, {"color": "cyan"}]),
        "autostart": st.booleans(),
    },
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    builds = draw(st.dictionaries(NAMES.map("b-{}".format), BUILDS, max_size=2))
    services = draw(st.dictionaries(NAMES.map("s-{}".format), SERVICES, min_size=1, max_size=3))
    for port, service in enumerate(services.values(), 8000):
        if "port" not in service:
            sockets = st.sampled_from([[f"127.0.0.1:{port}", f"run/{port}.sock"], {"six": f"[::1]:{port}"}, []])
            service["listen"] = draw(sockets)
            if not service["listen"] and draw(st.booleans()):
                service["proxy"] = f"127.0.0.1:{port}"
        service["needs"] = [f"build.{name}" for name in builds if draw(st.booleans())]
    project = {"env": draw(st.dictionaries(NAMES, TEXT, max_size=2))}
    return {"project": project, "build": builds, "service": services, "groups": {"g": [*services]}}


def _write(folder: Path, document: Mapping[str, Any]) -> None:
    import tomli_w

    (folder / "watch.toml").write_text(tomli_w.dumps(document))
    (folder / FOLDER).mkdir(exist_ok=True)


def _plain(known: Declared) -> tuple[object, ...]:
    return known.project, known.warnings, known.files


@settings(max_examples=30, deadline=None)
@given(documents())
def test_any_project_is_recalled_as_it_was_read(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("p")
    _write(folder, document)
    request = Request(folder, None, {})
    first = declared(request)
    remember(request, first)
    second = declared(request)
    assert not first.is_recalled
    assert second.is_recalled, "it was read again"
    assert _plain(second) == _plain(first)
    assert repr(second.project) == repr(first.project), "keys of builds are made from this text"


# --- any change is seen ----------------------------------------------------------------------------------------------

TOML = """
[project]
procfile = "Procfile"
env_file = ["a.env"]
env = { X = "${HOME_OF_X:-none}" }

[build.b]
run = "true"
watch = ["src/*.[ch]", "src/[a].c"]

[service.web]
dir = "sub"
needs = ["build.b", "extra"]
env_file = ["web.env"]
env = { Y = "${A}" }
"""
FILES = {
    "watch.toml": TOML,
    "watch.local.toml": "[project]\nname = 'local'\n",
    "Procfile": "web: serve\nextra: more\n",
    "a.env": "A=1\n",
    "web.env": "W=1\n",
}


def _make(folder: Path) -> Request:
    (folder / "sub").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / FOLDER).mkdir()
    request = Request(folder, None, {"PATH": os.environ["PATH"]})
    remember(request, declared(request))
    assert declared(request).is_recalled
    return request


@pytest.mark.parametrize("name", FILES)
def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path, name: str) -> None:
    request = _make(tmp_path / "p")
    path = tmp_path / "p" / name
    about = path.stat()
    edited = {"watch.toml": ("true", "four"), "watch.local.toml": ("local", "LOCAL"), "Procfile": ("serve", "SERVE")}
    path.write_text(FILES[name].replace(*edited.get(name, ("=1", "=2"))))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    known = declared(request)
    assert not known.is_recalled
    assert _plain(known) == _plain(recall._read(request))


def test_a_file_that_appears_or_goes_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / FOLDER).mkdir()
    (folder / "watch.toml").write_text('[service.web]\nrun = "x"\nenv = { A = "${A:-}" }\nwatch = ["[a].c"]\n')
    request = Request(folder, None, {})
    for name, text in ((".env", "A=1\n"), ("watch.local.toml", "[project]\nname = 'n'\n"), ("[a].c", "")):
        for _ in ("without", "with"):
            known = declared(request)
            assert not known.is_recalled, name
            remember(request, known)
            assert declared(request).is_recalled
            if (folder / name).exists():
                (folder / name).unlink()
            else:
                (folder / name).write_text(text)


@pytest.mark.parametrize("change", ["set", "unset", "PORT"])
def test_a_variable_that_was_looked_at_is_seen_and_no_other(tmp_path: Path, change: str) -> None:
    request = _make(tmp_path / "p")

    def with_environ(**values: str) -> Request:
        return Request(request.start, None, {**request.environ, **values})

    assert declared(with_environ(OTHER="1")).is_recalled
    if change == "PORT":
        assert declared(with_environ(PORT="6000")).project.services["service.web"].given_port == 6000
        return
    known = declared(with_environ(HOME_OF_X="x"))
    assert known.project.env["X"] == "x"
    if change == "unset":
        remember(with_environ(HOME_OF_X="x"), known)
        assert declared(with_environ(HOME_OF_X="x")).is_recalled
        assert declared(request).project.env["X"] == "none"


def test_other_options_and_another_folder_are_seen(tmp_path: Path) -> None:
    request = _make(tmp_path / "p")
    (tmp_path / "p" / "dev.env").write_text("A=3\n")
    (tmp_path / "p" / "dev.toml").write_text("[service.dev]\nrun = 'x'\n")
    start = request.start
    assert declared(Request(start, None, request.environ, ("dev.env",))).project.services["service.web"].env["Y"] == "3"
    assert "service.web.2" in declared(Request(start, None, request.environ, (), "web=2")).project.services
    assert list(declared(Request(start, Path("dev.toml"), request.environ)).project.services) == ["service.dev"]
    assert not declared(Request(start / "sub", None, request.environ)).is_recalled, "places are told from there"
    (tmp_path / "p").rename(tmp_path / "q")
    assert declared(Request(tmp_path / "q", None, request.environ)).project.folder == str(tmp_path / "q")


def test_a_folder_that_has_gone_is_told_as_ever(tmp_path: Path) -> None:
    request = _make(tmp_path / "p")
    (tmp_path / "p" / "sub").rmdir()
    assert [str(warning) for warning in declared(request).warnings if 'dir "sub" does not exist yet' in str(warning)]
    (tmp_path / "p" / "sub").write_text("")
    with pytest.raises(ProcwatchError, match='dir "sub" is not a folder'):
        declared(request)


def test_another_version_or_another_installation_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = _make(tmp_path / "p")
    (tmp_path / "site-packages").mkdir()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "site-packages"))
        remember(request, recall._read(request))
        assert declared(request).is_recalled
        (tmp_path / "site-packages" / "new").mkdir()
        assert not declared(request).is_recalled
    remember(request, recall._read(request))
    for name, value in (("__version__", "9"), ("_program", list)):
        with monkeypatch.context() as patch:
            patch.setattr(recall, name, value)
            assert not declared(request).is_recalled


# --- what is damaged, or not ours ------------------------------------------------------------------------------------


def test_a_damaged_memory_is_none(tmp_path: Path) -> None:
    request = _make(tmp_path / "p")
    memory = tmp_path / "p" / FOLDER / recall.MEMORY
    whole = memory.read_bytes()
    junk = [b"", b"\n\n", b"[]\n[]\n[]", b"\xff" * 9, b"[" * 100_000, whole[:-1], whole.replace(b"serve", b"SERVE")]
    for content in (*junk, *(whole[:cut] for cut in range(0, len(whole), 397))):
        memory.write_bytes(content)
        assert not declared(request).is_recalled
    memory.write_bytes(whole)
    assert declared(request).is_recalled


def test_only_a_file_of_our_own_is_believed(tmp_path: Path) -> None:
    request = _make(tmp_path / "p")
    memory = tmp_path / "p" / FOLDER / recall.MEMORY
    assert memory.stat().st_mode & 0o777 == 0o600
    for mode in (0o640, 0o604, 0o622):
        memory.chmod(mode)
        assert not declared(request).is_recalled
    memory.chmod(0o600)
    memory.rename(memory.with_name("other"))
    memory.symlink_to("other")
    assert not declared(request).is_recalled
    memory.unlink()
    os.mkfifo(memory, 0o600)
    assert not declared(request).is_recalled


def test_where_it_cannot_be_written_nothing_is_said(tmp_path: Path) -> None:
    request = _make(tmp_path / "p")
    known = recall._read(request)
    for path in (tmp_path / "p" / FOLDER).iterdir():
        path.unlink()
    (tmp_path / "p" / FOLDER).rmdir()
    remember(request, known)
    assert not (tmp_path / "p" / FOLDER).exists()


def test_variables_that_were_only_looked_at_are_not_written_down(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text('[service.web]\nrun = ["x", "${SECRET}"]\nenv = { A = "${USED}" }\n')
    (tmp_path / FOLDER).mkdir()
    request = Request(tmp_path, None, {"SECRET": "hidden", "USED": "shown", "OTHER": "hidden"})
    remember(request, declared(request))
    written = (tmp_path / FOLDER / recall.MEMORY).read_text()
    assert "hidden" not in written
    assert "shown" in written


def test_warnings_are_told_each_time(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text("[build.b]\nrun = 'x'\n")
    (tmp_path / "Procfile").write_text("web: x\n")
    (tmp_path / FOLDER).mkdir()
    request = Request(tmp_path, None, {})
    first = declared(request)
    remember(request, first)
    assert [str(warning) for warning in declared(request).warnings] == [str(warning) for warning in first.warnings]
    assert len(first.warnings) == 1
    assert load(tmp_path, environ={}).warnings == first.warnings


def test_included_files_are_seen_to_change_appear_and_go(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "watch.toml").write_text('[project]\ninclude = ["s/*/watch.toml"]\n[service.a]\nrun = "x"\n')
    request = Request(tmp_path, None, {})
    shop, mail = (tmp_path / "s" / name / "watch.toml" for name in ("shop", "mail"))

    def known() -> list[str]:
        """What is read anew, and then recalled."""
        first = declared(request)
        assert not first.is_recalled
        remember(request, first)
        second = declared(request)
        assert second.is_recalled
        assert second.project == first.project
        return list(second.project.services)

    assert known() == ["service.a"]
    shop.parent.mkdir(parents=True)
    shop.write_text('service.web.run = "x"\n')
    assert known() == ["service.shop.web", "service.a"]
    shop.write_text('service.api.run = "x"\n')
    assert known() == ["service.shop.api", "service.a"]
    mail.parent.mkdir()
    mail.write_text('service.web.run = "x"\n')
    shop.unlink()
    assert known() == ["service.mail.web", "service.a"]


# --- a Procfile by itself --------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.builds(lambda name, command: f"{name}: {command}", st.sampled_from(["web", "w-1", "release", "9"]), WORDS),
    st.sampled_from(["", "# note", "web:", "no process", "_x: y", "web: $PORT ${X}", " a:\tb "]),
)
PORTS = st.sampled_from(["", "PORT=7000\n", "PORT=\n", "A='\n", "PORT=65535\n"])


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=5), PORTS, st.sampled_from([None, "6000", "x", "65535"]))
def test_a_procfile_by_itself_is_what_a_load_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], env_file: str, port: str | None
) -> None:
    folder = tmp_path_factory.mktemp("p")
    (folder / "Procfile").write_text("\n".join(lines))
    if env_file:
        (folder / ".env").write_text(env_file)
    request = Request(folder, None, {} if port is None else {"PORT": port})
    alone = recall._read_alone(request)
    try:
        loaded = recall._read(request)
    except ProcwatchError:
        assert alone is None, "what is wrong is for `load` to tell"
        return
    assert alone is not None
    assert _plain(alone) == _plain(loaded)
    assert repr(alone.project) == repr(loaded.project), "keys of builds are made from this text"
    assert dict(alone.answers).items() <= dict(loaded.answers).items()


@pytest.mark.parametrize("name", ["Procfile", ".env"])
def test_a_procfile_by_itself_is_recalled_until_it_is_edited(tmp_path: Path, name: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "Procfile").write_text("web: serve\n")
    request = Request(tmp_path, None, {})
    remember(request, declared(request))
    assert declared(request).is_recalled
    (tmp_path / name).write_text("PORT=7000\n" if name == ".env" else "web: other\n")
    assert not declared(request).is_recalled
    assert _plain(declared(request)) == _plain(recall._read(request))
