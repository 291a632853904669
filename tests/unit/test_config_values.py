"""Durations, signals, addresses, patterns: what is understood, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from procwatch.config import values
from procwatch.config.dollar import Expanded
from procwatch.config.values import Address, Target

Read = Callable[[object], object]


@pytest.mark.parametrize(
    ("read", "written", "meant"),
    [
        (values.duration, "250ms", 0.25),
        (values.duration, "5s", 5.0),
        (values.duration, "1.5s", 1.5),
        (values.duration, "2m", 120.0),
        (values.duration, "1h", 3600.0),
        (values.duration, 3, 3.0),
        (values.duration, 0.5, 0.5),
        (values.duration, 0, 0.0),
        (values.duration, Expanded("7"), 7.0),
        (values.quiet, "auto", None),
        (values.quiet, "20ms", 0.02),
        (values.poll, False, None),
        (values.poll, "1s", 1.0),
        (values.flag, True, True),
        (values.flag, Expanded("false"), False),
        (values.size, "10MiB", 10 * 1024 * 1024),
        (values.size, "4KiB", 4096),
        (values.size, "1GiB", 1024**3),
        (values.size, 65536, 65536),
        (values.size, Expanded("65536"), 65536),
        (values.keep, 0, 0),
        (values.port, 5432, 5432),
        (values.port, Expanded("5432"), 5432),
        (values.signal_name, "SIGTERM", "SIGTERM"),
        (values.signal_name, "INT", "SIGINT"),
        (values.signal_name, "sigusr1", "SIGUSR1"),
        (values.colour, "intense_blue", "intense_blue"),
        (values.regex, "ready on port [0-9]+$", "ready on port [0-9]+$"),
        (values.regex, "[[a]", "[[a]"),
        (values.pattern, "../trigger", "../trigger"),
        (values.pattern, "!src/*.rs", "!src/*.rs"),
        (values.pattern, "#notes", "#notes"),
        (values.command, "cargo build", "cargo build"),
        (values.command, ["cargo", ""], ("cargo", "")),
        (values.commands, "", ()),
        (values.commands, "a b", ("a b",)),
        (values.commands, [["cargo", "test"], "x"], (("cargo", "test"), "x")),
        (values.tcp_address, True, Address()),
        (values.tcp_address, 80, Address(80)),
        (values.tcp_address, "db.local:5432", Address(5432, "db.local")),
        (values.tcp_address, "[::1]:80", Address(80, "::1")),
        (values.http_target, "/health?full=1", Target("/health?full=1")),
        (values.http_target, "http://127.0.0.1:8000", Target("/", 8000, "127.0.0.1")),
        (values.http_target, "https://[::1]/x", Target("/x", 443, "::1", tls=True)),
    ],
)
def test_a_value_is_understood(read: Read, written: object, meant: object) -> None:
    assert read(written) == meant


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        (values.duration, "5", "duration"),
        (values.duration, "5 s", "duration"),
        (values.duration, "1h30m", "duration"),
        (values.duration, "-1s", "duration"),
        (values.duration, "\u0665s", "duration"),
        (values.duration, -1, "from 0 to"),
        (values.duration, float("nan"), "from 0 to"),
        (values.duration, float("inf"), "from 0 to"),
        (values.duration, 10**400, "from 0 to"),
        (values.duration, True, "duration"),
        (values.span, "0s", "longer than 0"),
        (values.quiet, "automatic", '"auto" or a duration'),
        (values.poll, True, "false or a duration"),
        (values.flag, "true", "true or false"),
        (values.true, False, "true, or left out"),
        (values.text, 3000, 'a string; write "3000"'),
        (values.text, ["x"], "a string"),
        (values.filled_text, "  ", "not empty"),
        (values.whole_number, 1.5, "whole number"),
        (values.whole_number, True, "whole number"),
        (values.count, 0, "from 1 to"),
        (values.size, "65536", "a size such as"),
        (values.size, "10 MiB", "a size such as"),
        (values.size, "1.5GiB", "a size such as"),
        (values.size, True, "a size such as"),
        (values.size, "1KiB", "from 4KiB to"),
        (values.size, "999999999999999GiB", "from 4KiB to"),
        (values.keep, -1, "from 0 to"),
        (values.keep, 1001, "from 0 to"),
        (values.http_status, 1000, "from 100 to 599"),
        (values.port, 0, "from 1 to 65535"),
        (values.port, 65536, "from 1 to 65535"),
        (values.port, "5432", "from 1 to 65535"),
        (values.signal_name, "SIGNOPE", "a signal such as"),
        (values.signal_name, 15, "a signal such as"),
        (values.colour, "pink", "a colour: grey, red"),
        (values.regex, "(", "missing )"),
        (values.regex, "a{99999999999}", "a regular expression"),
        (values.pattern, "a\\b", "without a backslash"),
        (values.pattern, "/src", 'write "./src"'),
        (values.pattern, "!/src", 'write "!./src"'),
        (values.pattern, "!", "not empty"),
        (values.ignore_pattern, "#x", "comment"),
        (values.command, " ", "not empty"),
        (values.command, [], "begins with a program"),
        (values.command, [""], "begins with a program"),
        (values.command, ["a", 1], "list of strings"),
        (values.commands, [""], "not empty"),
        (values.tcp_address, False, "true, a port number"),
        (values.tcp_address, "localhost", "true, a port number"),
        (values.tcp_address, "a:70000", "true, a port number"),
        (values.http_target, "health", "a path such as"),
        (values.http_target, "/a b", "a path such as"),
        (values.http_target, "/a\r\nX: y", "a path such as"),
        (values.http_target, "ftp://x/", "a path such as"),
        (values.http_target, "http://user@host/", "a path such as"),
        (values.http_target, "http://h:99999/", "a path such as"),
        (values.variable_name, "A=B", "cannot be the name"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(read: Read, written: object, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(written)
    assert words in str(caught.value)


def test_a_regular_expression_nested_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        values.regex("(" * 5000 + ")" * 5000)
