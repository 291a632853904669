"""The values of watch.toml that are more than a string or a number: durations, signals, addresses, patterns.

Rule 1: a function here returns the value as the core wants it, or raises a ValueError whose text completes
"KEY must be ...".
Rule 2: standard library only.
"""

from __future__ import annotations

# ruff: noqa: TRY004 - pydantic turns a ValueError into its error, and lets a TypeError pass
import math
import posixpath
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from procwatch.config.dollar import Expanded

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
MAX_NAME_CHARS = 64


def is_name(text: str, *, most: int = MAX_NAME_CHARS) -> bool:
    """Whether a build, a service, a group or a project may be called so."""
    return bool(re.fullmatch(NAME_PATTERN, text)) and len(text) <= most


# honcho's names for the colours that every terminal has.
_PLAIN_COLOURS = ("grey", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
COLOURS = (*_PLAIN_COLOURS, *(f"intense_{name}" for name in _PLAIN_COLOURS))

# About thirty years: more is a slip of the pen, and far more than that overflows the system's timers.
MAX_DURATION_S = 1e9
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_WORDS = 'a duration such as 2.5 (seconds), "250ms", "5s", "2m" or "1h"'

# A smaller log file would hold a few lines, and all the work would be beginning new ones.
MIN_SIZE_BYTES = 4096
MAX_SIZE_BYTES = 1024**4
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_SIZE_BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE_WORDS = 'a size such as 65536 (bytes), "512KiB", "10MiB" or "1GiB"'
# Each is renamed when a new file is begun.
MAX_KEEP = 1000

MAX_PORT = 65535
# Far above the processors of any machine; a larger number is a slip of the pen.
MAX_COUNT = 10_000
# More of one service is a slip of the pen; and the ports of a Procfile's would run into those of the next one.
MAX_REPLICAS = 100
# What a server can answer (RFC 9110, section 15).
HTTP_STATUSES = (100, 599)
_PORT_WORDS = f"a port number from 1 to {MAX_PORT}"


def similar(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one of the known words that was probably meant."""
    import difflib  # noqa: PLC0415 - only needed when something is wrong

    return next(iter(difflib.get_close_matches(word[:MAX_NAME_CHARS], known, n=1, cutoff=cutoff)), None)


def text(value: object) -> str:
    """A string; a number gets the advice to quote it."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f'a string; write "{str(value)[:40]}"')
    raise ValueError("a string")


def filled_text(value: object) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a string that is not empty")
    return value


def flag(value: object) -> bool:
    """A boolean, or an expanded "true" or "false"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Expanded) and value in ("true", "false"):
        return value == "true"
    raise ValueError("true or false")


def true(value: object) -> bool:
    """Just true: what is not wanted is left out instead."""
    if flag(value) is not True:
        raise ValueError("true, or left out")
    return True


def whole_number(value: object) -> int:
    """An integer, or an expanded string of digits."""
    if isinstance(value, Expanded) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def count(value: object) -> int:
    """How many: at least one, and few enough that it can be meant."""
    number = whole_number(value)
    if not 1 <= number <= MAX_COUNT:
        raise ValueError(f"a whole number from 1 to {MAX_COUNT}")
    return number


def replicas(value: object) -> int:
    """How many instances of a service."""
    number = whole_number(value)
    if not 1 <= number <= MAX_REPLICAS:
        raise ValueError(f"a whole number from 1 to {MAX_REPLICAS}")
    return number


def size(value: object) -> int:
    """Bytes: from a number, or from a string with a unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        size_bytes = value
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value)) and (found[2] or isinstance(value, Expanded)):
        size_bytes = int(found[1]) * _SIZE_BYTES.get(found[2], 1)
    else:
        raise ValueError(_SIZE_WORDS)
    if not MIN_SIZE_BYTES <= size_bytes <= MAX_SIZE_BYTES:
        raise ValueError("a size from 4KiB to 1024GiB")
    return size_bytes


def keep(value: object) -> int:
    """How many old files are kept: none is possible."""
    number = whole_number(value)
    if not 0 <= number <= MAX_KEEP:
        raise ValueError(f"a whole number from 0 to {MAX_KEEP}")
    return number


def http_status(value: object) -> int:
    """A status code that a server can answer."""
    number = whole_number(value)
    if not HTTP_STATUSES[0] <= number <= HTTP_STATUSES[1]:
        raise ValueError("an HTTP status from 100 to 599")
    return number


def port(value: object) -> int:
    """A TCP port."""
    try:
        number = whole_number(value)
    except ValueError:
        raise ValueError(_PORT_WORDS) from None
    if not 1 <= number <= MAX_PORT:
        raise ValueError(_PORT_WORDS)
    return number


def duration(value: object) -> float:
    """Seconds: from a number, or from a string with a unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= MAX_DURATION_S else math.inf
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value)) and (found[2] or isinstance(value, Expanded)):
        seconds = float(found[1]) * _UNIT_S[found[2] or "s"]
    else:
        raise ValueError(_DURATION_WORDS)
    if not 0 <= seconds <= MAX_DURATION_S:  # not-a-number fails this too
        raise ValueError(f"a duration from 0 to {MAX_DURATION_S:.0f} seconds")
    return seconds


def span(value: object) -> float:
    """A duration that is longer than nothing."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("a duration longer than 0")
    return seconds


def quiet(value: object) -> float | None:
    """A duration, or None for "auto"."""
    if value == "auto":
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f'"auto" or {error}') from None


def poll(value: object) -> float | None:
    """An interval in seconds, or None for false."""
    if value is False or (isinstance(value, Expanded) and value == "false"):
        return None
    try:
        return span(value)
    except ValueError as error:
        raise ValueError(f"false or {error}") from None


def signal_name(value: object) -> str:
    """A signal, with or without SIG, as "SIGTERM"."""
    if isinstance(value, str):
        upper = value.upper()
        known = signal.Signals.__members__.get(upper if upper.startswith("SIG") else f"SIG{upper}")
        if known is not None:
            return known.name
    raise ValueError('a signal such as "SIGTERM", "SIGINT" or "HUP"')


def colour(value: object) -> str:
    """One of the names of the terminal's colours."""
    if isinstance(value, str) and value in COLOURS:
        return value
    raise ValueError(f"a colour: {', '.join(_PLAIN_COLOURS)}, or one of these with intense_ before it")


def regex(value: object) -> str:
    """A regular expression of Python's `re`."""
    import warnings  # noqa: PLC0415 - only needed where there is a pattern

    pattern = filled_text(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful but valid pattern is not this program's to remark on
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"a regular expression; {reason}") from None
    return pattern


def pattern(value: object) -> str:
    """A path or a pattern to watch, relative to the folder of watch.toml."""
    if not isinstance(value, str) or not value.removeprefix("!").strip():
        raise ValueError("a path or pattern that is not empty")
    if "\\" in value:
        raise ValueError('a pattern without a backslash; put a special character in brackets: "[*]"')
    if value.removeprefix("!").startswith("/"):
        relative = value.replace("/", "./", 1)
        raise ValueError(f'relative to the folder of watch.toml; write "{relative[:80]}"')
    return value


def ignore_pattern(value: object) -> str:
    """A pattern to leave out; gitignore's syntax would drop a comment in silence."""
    if isinstance(value, str) and value.startswith("#"):
        raise ValueError('a pattern; a leading # makes it a comment, write "[#]" for the character')
    return pattern(value)


def output(value: object) -> str:
    """A path or a pattern of what a build makes."""
    text = pattern(value)
    parts = posixpath.normpath(text).split("/")
    if text.startswith("!") or ".." in text.split("/") or parts in (["."], [".procwatch"]):
        raise ValueError('what the build makes inside the folder of watch.toml, such as "dist" or "out/*.js"')
    return text if any(char in text for char in "*?[{") else "/".join(parts)


def command(value: object) -> str | tuple[str, ...]:
    """What to run: a string for the shell, or one program and its arguments."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("a command that is not empty")
        return value
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise ValueError('a string for the shell, or a list of strings such as ["cargo", "build"]')
    if not value or not value[0].strip():
        raise ValueError("a list that begins with a program")
    return tuple(value)


def commands(value: object) -> tuple[str | tuple[str, ...], ...]:
    """The commands of a hook: one, a list of them, or none as an empty string."""
    if value in ("", [], ()):
        return ()
    return tuple(command(part) for part in value) if isinstance(value, (list, tuple)) else (command(value),)


def variable_name(value: object) -> object:
    """What the environment can hold the name of."""
    if isinstance(value, str) and (not value or "=" in value or "\0" in value):
        raise ValueError(f'"{value[:40]}" cannot be the name of a variable; it has at least one character, and no "="')
    return value


@dataclass(frozen=True, slots=True)
class Address:
    """Where a TCP probe connects; without a port it is the service's own."""

    port: int | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What an HTTP probe asks for; without a port it is the service's own."""

    path: str
    port: int | None = None
    host: str | None = None
    tls: bool = False


_HOST_AND_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)
_URL_PATH = re.compile(r"/[!-\"$-~]*")  # what can stand in a request line: visible ASCII without "#"


def tcp_address(value: object) -> Address:
    """Where to connect: true for the service's own port, a port, or "host:port"."""
    words = 'true, a port number, or an address such as "127.0.0.1:5432"'
    if value is True or (isinstance(value, Expanded) and value == "true"):
        return Address()
    if isinstance(value, str) and (found := _HOST_AND_PORT.fullmatch(value)):
        number = int(found["port"])
        host = found["six"] or found["host"]
    else:
        host = None
        try:
            number = whole_number(value)
        except ValueError:
            raise ValueError(words) from None
    if not 1 <= number <= MAX_PORT:
        raise ValueError(words)
    return Address(number, host)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where procwatch is to listen: an IP address and a port, or a path."""

    host: str = ""
    port: int = 0
    path: str = ""


_SOCKET_WORDS = 'an address such as "127.0.0.1:8000" or "[::1]:8000", or a path such as "run/api.sock"'
_TCP_WORDS = 'an address such as "127.0.0.1:8000" or "[::1]:8000"'
_SOCKET_PATH = re.compile(r"(?!unix:)(?!.*://)(?=.*/|.*\.sock$)[^\0]*[^/\0]")


def socket_address(value: object) -> SocketAddress:
    """Where to listen: "host:port", or the path of a unix socket, which holds a slash or ends in ".sock"."""
    if isinstance(value, str) and (found := _HOST_AND_PORT.fullmatch(value)):
        number, host = int(found["port"]), found["six"] or found["host"]
        if not 1 <= number <= MAX_PORT:
            raise ValueError(f"{_SOCKET_WORDS}; the port is a number from 1 to {MAX_PORT}")
        return SocketAddress(_ip_address(host), number)
    if isinstance(value, str) and _SOCKET_PATH.fullmatch(value):
        return SocketAddress(path=value)
    only_port = str(value).removeprefix(":") if isinstance(value, int | str) else ""
    advice = f'; write "127.0.0.1:{only_port}"' if re.fullmatch(r"[1-9][0-9]{0,4}", only_port) else ""
    raise ValueError(f"{_SOCKET_WORDS}{advice}")


def tcp_socket(value: object) -> SocketAddress:
    """Where to listen, which is no path."""
    try:
        found = socket_address(value)
    except ValueError as error:
        raise ValueError(str(error).replace(_SOCKET_WORDS, _TCP_WORDS)) from None
    if found.path:
        raise ValueError(_TCP_WORDS)
    return found


def _ip_address(host: str) -> str:
    """Without names: which of the addresses of one is meant, only the user knows."""
    import ipaddress  # noqa: PLC0415 - only needed where there is a socket to open

    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(f"{_SOCKET_WORDS}; of names only localhost (127.0.0.1) is known here") from None


def http_target(value: object) -> Target:
    """What to ask for: a path on the service's own port, or a full URL."""
    words = 'a path such as "/health", or a full http:// or https:// address'
    if isinstance(value, str) and _URL_PATH.fullmatch(value):
        return Target(value)
    found = _URL.fullmatch(value) if isinstance(value, str) else None
    path = (found["path"] or "/") if found else ""
    if not found or not _URL_PATH.fullmatch(path):
        raise ValueError(words)
    tls = found["scheme"] == "https"
    number = int(found["port"]) if found["port"] else (443 if tls else 80)
    if not 1 <= number <= MAX_PORT:
        raise ValueError(words)
    return Target(path, number, found["host"].strip("[]"), tls)
