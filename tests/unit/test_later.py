"""What is put off comes when it is asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = "import sys; from procwatch.later import put_off; put_off()\n"


def _says(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_asyncio_is_imported_without_what_reads_source() -> None:
    assert _says("import asyncio; print('ast' in sys.modules, 'tokenize' in sys.modules)") == "False False"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import inspect; print(inspect.isclass(int), type(sys.modules['inspect']).__name__)", "True module"),
        ("import inspect; print(hasattr(inspect, 'nothing'), inspect.__name__)", "False inspect"),
        ("from ipaddress import ip_address; print(ip_address('::1').is_loopback)", "True"),
        ("import urllib.parse as one; print(one.urlsplit('http://[::1]:80/').hostname)", "::1"),
        ("import asyncio; print(asyncio.iscoroutinefunction(print))", "False"),
        ("import subprocess; print(subprocess.run(['echo', 'x'], stdout=-1, text=True).stdout)", "x"),
    ],
)
def test_whoever_asks_gets_it(code: str, said: str) -> None:
    assert _says(code) == said


def test_what_is_there_already_stays() -> None:
    code = "import locale, sys; from procwatch.later import put_off; put_off(); print(type(locale).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "module"


def test_threads_that_ask_at_the_same_time_all_get_it() -> None:
    code = """
import inspect, threading
start, found = threading.Barrier(8), []
def ask():
    start.wait()
    found.append(inspect.Parameter)
threads = [threading.Thread(target=ask) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
print(len(found), len(set(found)), found[0] is sys.modules['inspect'].Parameter)
"""
    assert _says(code) == "8 1 True"
