"""Files that are no configuration at all: each is a clear error, and quickly told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from procwatch.config.load import load
from procwatch.config.text import MAX_BYTES
from procwatch.errors import ConfigError, ExitCode, UsageError
from tests.rig.privileges import bound_by_permissions

# Far below what tomllib needs for such files, far above what a busy machine makes of a few milliseconds.
FAST_S = 5.0


def error_of(folder: Path) -> str:
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})
    assert time.monotonic() - begun < FAST_S
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[service.a]\nrun = "\xff"\n', "watch.toml:2:8: not UTF-8: found the byte 0xff"),
        (b"\xef\xbb\xbf[service.a]\n", "watch.toml:1:1: begins with a byte order mark; save it as UTF-8 without one"),
        (b"a = 1\nb = \x00", "watch.toml:2:5: not valid TOML: found the character U+0000"),
        (b"[" * 10_000_000, "watch.toml: has more than 256 KiB, the most that is read"),
        (b"a = " + b"[" * 200_000, "watch.toml:1:37: not read: it has lists and tables nested more than 32 deep"),
        (b"a = " + b"{a=" * 60_000, "watch.toml:1:99: not read: it has lists and tables nested more than 32 deep"),
        (b"a." * 20_000 + b"a = 1", "watch.toml:1:1: not read: it has a key of more than 16 parts"),
        (b"[" + b"a." * 20_000 + b"a]", "watch.toml:1:2: not read: it has a key of more than 16 parts"),
        (b"a = " + b"9" * 5000, "watch.toml:1:5: not read: it has a value of more than 100 characters without quotes"),
        (b"[service.web]\nrun = x\n", 'watch.toml:2:7: not valid TOML: expected a value; a string needs quotes: "like'),
        (b'[service.web]\nrun = "x\n', "watch.toml:2:9: not valid TOML: this string has no closing quote in its line"),
        (b"run = [1\n", 'watch.toml:1:8: not valid TOML: this list is not closed, or lacks a ","'),
        (b"[a]\nx = 1\n  x = 2\n", "watch.toml:3:3: not valid TOML: this key is there already"),
        (b"[a]\n[a]\n", "watch.toml:2:1: not valid TOML: this table is there already"),
        (b"a = {b = 1}\n[a.c]\n", "watch.toml:2:"),
        (b"hello world\n", 'watch.toml:1:7: not valid TOML: expected "=" after the key'),
        (b"a = 2021-02-30\n", "watch.toml:1:5: not valid TOML: invalid date or datetime"),
        (b"", "watch.toml:1:1: nothing to run; declare a [build.NAME] or a [service.NAME]"),
        (b"\r\r\r", "watch.toml:1:1: not valid TOML:"),
    ],
)
def test_junk_is_a_clear_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "watch.toml").write_bytes(content)
    assert error_of(tmp_path).startswith(said)


def test_the_line_that_is_meant_is_shown(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text("[service.web]\r\nrun = 'x' y\r\n", newline="")
    assert error_of(tmp_path).splitlines() == [
        "watch.toml:2:11: not valid TOML: expected the end of the line",
        "   2 | run = 'x' y",
        "     |           ^",
    ]


def test_a_byte_order_mark_is_shown_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_bytes(b"\xef\xbb\xbf[service.a]\n")
    assert error_of(tmp_path).splitlines()[1:] == ["   1 | [service.a]", "     | ^"]


def test_a_long_line_is_cut_with_marks(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text(f"a = '{'x' * 300}' y '{'z' * 300}'\n")
    _, shown, marked = error_of(tmp_path).splitlines()
    assert (shown[7], shown[-1], len(shown)) == ("…", "…", 169)
    assert shown[marked.index("^")] == "y"


def test_a_file_of_the_size_that_is_read_is_read(tmp_path: Path) -> None:
    text = "[service.a]\nrun = 'x'\n"
    (tmp_path / "watch.toml").write_text(text + "#" * (MAX_BYTES - len(text)))
    assert list(load(tmp_path, environ={}).project.services) == ["service.a"]


def test_a_folder_named_watch_toml_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").mkdir()
    assert error_of(tmp_path) == "watch.toml: is a folder, not a file"


def test_a_dangling_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").symlink_to("nowhere")
    assert error_of(tmp_path) == "watch.toml: is a link to a file that does not exist"


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").symlink_to("watch.toml")
    assert error_of(tmp_path).startswith("watch.toml: cannot be read: too many levels of symbolic links")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "watch.toml")
    assert error_of(tmp_path) == "watch.toml: is not a regular file"


def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").touch(mode=0)
    with bound_by_permissions():
        assert error_of(tmp_path) == "watch.toml: cannot be read: permission denied"


def test_a_name_that_no_file_can_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a possible file name"):
        load(tmp_path, file=Path("a\0b"), environ={})


def test_without_any_file_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folders above belong to the machine: nothing of theirs may count here.
    monkeypatch.setattr(os.path, "lexists", lambda path: Path(path).is_relative_to(tmp_path) and Path(path).exists())
    with pytest.raises(UsageError, match="procwatch init") as caught:
        load(tmp_path, environ={})
    assert "there is no watch.toml here or in a folder above, and no Procfile" in str(caught.value)


def test_thousands_of_errors_are_not_all_told(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text("[service.a]\n" + "".join(f"k{at} = 1\n" for at in range(20_000)))
    lines = error_of(tmp_path).splitlines()
    assert lines[0].startswith('watch.toml:2:1: service "a": unknown key "k0"; the keys here are: run, needs, ')
    assert lines[-1] == "there may be more problems; mend these first"
    assert len(lines) < 4000


def test_groups_of_groups_to_a_depth_of_thousands_are_understood(tmp_path: Path) -> None:
    groups = "".join(f"g{at} = ['g{at + 1}', 'a']\n" for at in range(5000))
    (tmp_path / "watch.toml").write_text(f"[groups]\n{groups}g5000 = ['a']\n[service.a]\nrun = 'x'\n")
    begun = time.monotonic()
    project = load(tmp_path, environ={}).project
    assert time.monotonic() - begun < FAST_S
    assert project.groups["g0"] == ("service.a",)
