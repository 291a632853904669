"""`listen` with real servers: each is found ready by itself, and is never missed while it is restarted."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.behaviour.test_listen import ask
from tests.rig.live import DEADLINE_S, clean_environment, write
from tests.rig.needs import need_commands
from tests.rig.sample import free_port

UVICORN = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"uvicorn"})
"""
NODE = """
const server = require("http").createServer((_, answer) => answer.end("node"));
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close());
"""
GO = """package main
import ("context"; "net"; "net/http"; "os"; "os/signal"; "syscall")
func main() {
    listener, err := net.FileListener(os.NewFile(3, "listener"))
    if err != nil { panic(err) }
    answer := func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("go")) }
    server := &http.Server{Handler: http.HandlerFunc(answer)}
    done := make(chan bool)
    go func() {
        asked := make(chan os.Signal, 1)
        signal.Notify(asked, syscall.SIGTERM)
        <-asked
        server.Shutdown(context.Background())
        close(done)
    }()
    server.Serve(listener)
    <-done
}
"""
PYTHON = """
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"python")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""


def uvicorn(project: Path) -> str:
    write(project / "app.py", UVICORN)
    return "exec python -m uvicorn app:app --fd 3 --log-level error"


def node(project: Path) -> str:
    need_commands("node")
    write(project / "server.js", NODE)
    return "node server.js"


def go(project: Path) -> str:
    need_commands("go")
    write(project / "main.go", GO)
    env = {**clean_environment(), "GO111MODULE": "off", "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", "server", "main.go"], cwd=project, env=env, check=True, timeout=300)
    return "./server"


def python(project: Path) -> str:
    """A thread for each connection, poll(2) on the socket."""
    write(project / "server.py", PYTHON)
    return "python server.py"


@pytest.mark.parametrize("server", [uvicorn, node, go, python])
def test_a_real_server_is_found_ready_and_nobody_is_refused_while_it_is_away(
    project: Path, start: Start, server: Callable[[Path], str]
) -> None:
    port = free_port()
    run = server(project)
    text = f'[service.web]\nrun = "{run}"\nlisten = ["127.0.0.1:{port}"]\nwatch = ["trigger"]\n'
    write(project / "watch.toml", text + 'restart = { min_delay = "10ms" }\n')
    live = start()
    pid = live.wait("service_ready", "service.web")["pid"]
    refused: list[Exception] = []
    answers: list[str] = []
    enough = threading.Event()

    def go_on() -> None:
        while not enough.is_set():
            try:
                answers.append(ask(port))
            except ConnectionRefusedError as error:
                refused.append(error)
            except (OSError, http.client.HTTPException):  # what it had taken goes with it
                continue

    clients = [threading.Thread(target=go_on) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        live.until(lambda: len(answers) > 10, "answers")
        os.kill(pid, signal.SIGKILL)
        live.wait("service_ready", "service.web", times=2)
        before = len(answers)
        live.until(lambda: len(answers) > before + 10, "answers after a crash")
        write(project / "trigger", "")
        live.wait("service_ready", "service.web", times=3)
        before = len(answers)
        live.until(lambda: len(answers) > before + 10, "answers after a restart")
    finally:
        enough.set()
        for client in clients:
            client.join(DEADLINE_S)
    assert refused == []
    assert set(answers) == {server.__name__}
