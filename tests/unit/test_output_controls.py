"""What a terminal is shown of a process's bytes."""

from __future__ import annotations

import pytest

from procwatch.output.controls import ControlFilter

RED, RESET = b"\x1b[31m", b"\x1b[0m"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param(b"plain\ttext\n", b"plain\ttext\n", id="plain"),
        pytest.param(b"10 %\r20 %\rdone\r\n", b"10 %20 %done\n", id="carriage returns"),
        pytest.param(b"a\x07b\x08c\x00d\x7fe\n", b"abcde\n", id="single controls"),
        pytest.param(b"a\x0b\x0cb\n", b"ab\n", id="vertical tab and form feed end no line"),
        pytest.param(b"\x1b[2J\x1b[10;20Hx\x1b[?25l\x1b[Ky\n", b"xy\n", id="clear, move, hide the cursor"),
        pytest.param(b"\x1b]0;title\x07x\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\\n", b"xlink\n", id="titles and links"),
        pytest.param(b"\x1bPq#0;2;0\x1b\\x\x1b_G\x1b\\y\n", b"xy\n", id="pictures"),
        pytest.param(b"\x1bc\x1b7\x1b(B\x1b=x\n", b"x\n", id="reset, save, character set"),
        pytest.param(b"\x1b[>4;2mx\x1b[?1m\n", b"x\n", id="private sequences that end as colours do"),
        pytest.param(b"\xc2\x9b2Jx\xc2\x85\x9b\x90y\n", b"2Jxy\n", id="C1 go alone"),
        pytest.param("é “日本” 🦀\n".encode(), "é “日本” 🦀\n".encode(), id="text beyond ASCII"),
        pytest.param(b"caf\xe9 \xe9t\xe9 \xff\n", b"caf\xe9 \xe9t\xe9 \xff\n", id="Latin-1 stays"),
        pytest.param(b"\xe2\x80\n", b"\xe2\n", id="half a character: its C1 byte goes"),
        pytest.param(b"\x1b]no end\nnext\n", b"\nnext\n", id="a line feed ends a string"),
        pytest.param(b"\x1b[12\nnext\n", b"\nnext\n", id="a line feed ends a sequence"),
        pytest.param(b"\x1b\nnext\n", b"\nnext\n", id="an escape alone"),
        pytest.param(b"\x1b]0;a\x1b[31mred\x1b[0m\n", b"\x1b[31mred\x1b[0m\n", id="an escape ends a string"),
        pytest.param(b"\x1b[3\r1mred\x1b[0m\n", b"\x1b[31mred\x1b[0m\n", id="a control inside a sequence"),
        pytest.param(b"\x1b[" + b"1;" * 80 + b"mx\n", b"x\n", id="too long for a colour"),
    ],
)
def test_only_text_and_colours_come_through(written: bytes, shown: bytes) -> None:
    assert ControlFilter().feed(written) == shown
    filter_ = ControlFilter()
    assert b"".join(filter_.feed(bytes([byte])) for byte in written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param(RED + b"x" + RESET + b"\n", RED + b"x" + RESET + b"\n", id="closed"),
        pytest.param(RED + b"x\x1b[m\n", RED + b"x\x1b[m\n", id="closed in short"),
        pytest.param(RED + b"x\ny\n", RED + b"x" + RESET + b"\ny\n", id="open"),
        pytest.param(RESET + b"x" + RED + b"\n", RESET + b"x" + RED + RESET + b"\n", id="opened last"),
        pytest.param(
            RED + b"a\nb\n" + RED + b"c\n", RED + b"a" + RESET + b"\nb\n" + RED + b"c" + RESET + b"\n", id="two"
        ),
        pytest.param(b"\x1b[38;2;1;2;3mx\n", b"\x1b[38;2;1;2;3mx" + RESET + b"\n", id="true colour"),
        pytest.param(b"\x1b[38:2::1:2:3mx\n", b"\x1b[38:2::1:2:3mx" + RESET + b"\n", id="true colour with colons"),
    ],
)
def test_a_colour_left_open_is_reset_at_the_end_of_its_line(written: bytes, shown: bytes) -> None:
    assert ControlFilter().feed(written) == shown
    filter_ = ControlFilter()
    assert b"".join(filter_.feed(bytes([byte])) for byte in written) == shown


def test_what_waits_for_its_end_stays_small() -> None:
    filter_ = ControlFilter()
    for start in (b"\x1b]", b"\x1b[", b"\x1b(", b"\x1bP"):
        assert filter_.feed(start) == b""
        for _ in range(100):
            assert filter_.feed(b" " * 10_000) == b""
        assert len(filter_._carried) < 200
        assert filter_.feed(b"\n") == b"\n"
