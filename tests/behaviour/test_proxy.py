"""The proxy passes any bytes unharmed, moves clients between requests only, and tells what broke as broken."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.rig.proxied import DEADLINE_S, GET, Proxied, ends, is_cut, ok, receive, reset, serve

MIB = 1024 * 1024


@pytest.fixture
def proxied() -> Iterator[Proxied]:
    with Proxied() as made:
        yield made


# --- bytes, whatever they are ----------------------------------------------------------------------------------------


def test_bytes_go_both_ways_unharmed(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    every_byte = bytes(range(256)) * 16
    client.sendall(every_byte)
    server = instance.accept()
    assert receive(server, len(every_byte)) == every_byte
    server.sendall(every_byte[::-1])
    assert receive(client, len(every_byte)) == every_byte[::-1]


def test_a_server_may_speak_first(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    instance.accept().sendall(b"220 ready\r\n")
    assert receive(client, 11) == b"220 ready\r\n"


def test_a_client_may_close_its_half_first(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    server = instance.accept()
    assert receive(server, 100) == b"question"
    server.sendall(b"answer")
    server.close()
    assert receive(client, 100) == b"answer"


def test_a_server_may_close_its_half_first(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    server = instance.accept()
    server.sendall(b"tell me\n")
    server.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"tell me\n"
    client.sendall(b"the long story")
    client.close()
    assert receive(server, 100) == b"the long story"


def test_a_server_that_has_closed_its_half_gets_what_would_wait_for_an_answer(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    server = instance.accept()
    server.shutdown(socket.SHUT_WR)
    assert ends(client)
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + GET
    client.sendall(asked)
    client.shutdown(socket.SHUT_WR)
    assert receive(server, len(asked) + 1) == asked
    proxied.until(open=0)


def test_an_answer_comes_after_the_client_has_closed_its_half(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    client.shutdown(socket.SHUT_WR)
    server = instance.accept()
    assert receive(server, 1000) == GET
    server.sendall(ok())
    server.close()
    assert receive(client, 1000) == ok()


def test_ipv6_reaches_an_instance_on_ipv4_and_one_on_ipv6(proxied: Proxied) -> None:
    front = proxied.open("service.six", "::1", 0)
    for host in ("127.0.0.1", "::1"):
        instance = proxied.instance(host)
        front.point_to(instance.port)
        proxied.run(front.counts())
        client = proxied.connect(front)
        client.sendall(GET)
        server = instance.accept()
        assert receive(server, len(GET)) == GET
        server.sendall(ok())
        assert receive(client, len(ok())) == ok()


def test_a_large_upload_and_download_pass_with_bounded_memory(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    piece, count = bytes(range(256)) * 4096, 100
    client = proxied.connect()
    memory_before = peak_kib(proxied)

    def send(sock: socket.socket) -> None:
        for _ in range(count):
            sock.sendall(piece)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count)
    client.sendall(head)
    server = instance.accept()
    assert receive(server, len(head)) == head
    with in_thread(send, client):
        for _ in range(count):
            assert receive(server, len(piece)) == piece
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count)
    server.sendall(answer)
    assert receive(client, len(answer)) == answer
    with in_thread(send, server):
        for _ in range(count):
            assert receive(client, len(piece)) == piece
    assert peak_kib(proxied) - memory_before < 16 * 1024


def test_a_slow_reader_holds_the_sender_up_and_gets_everything(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(b"go")
    server = instance.accept()
    server.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < 200 * MIB:
            sent += server.send(b"x" * MIB)
    assert sent < 200 * MIB
    server.settimeout(DEADLINE_S)
    server.shutdown(socket.SHUT_WR)
    received = 0
    while piece := client.recv(MIB):
        received += len(piece)
    assert received == sent


# --- ends that are none ----------------------------------------------------------------------------------------------


def test_a_client_that_vanishes_resets_the_instance(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    server = instance.accept()
    receive(server, len(GET))
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    reset(client)
    assert is_cut(server)
    proxied.until(open=0)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", b"HTTP/1.1 200 OK\r\n\r\nhal",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n", b"no HTTP at all"],
)  # fmt: skip
def test_an_answer_that_is_reset_in_its_midst_is_reset_for_the_client(proxied: Proxied, answer: bytes) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    server = instance.accept()
    receive(server, len(GET))
    server.sendall(answer)
    assert receive(client, len(answer)) == answer
    reset(server)
    assert is_cut(client)


def test_an_answer_that_ends_in_its_midst_ends_in_its_midst_for_the_client(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    server = instance.accept()
    receive(server, len(GET))
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"
    server.sendall(cut)
    server.close()
    assert receive(client, 1000) == cut
    instance.listener.setblocking(False)
    with pytest.raises(BlockingIOError):  # nobody has asked again
        instance.listener.accept()


def test_an_upload_that_is_refused_gets_its_answer(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
    server = instance.accept()
    receive(server, 1000)
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    server.sendall(refusal)
    server.shutdown(socket.SHUT_WR)
    assert receive(client, len(refusal)) == refusal
    assert ends(client)


# --- a switch --------------------------------------------------------------------------------------------------------


def test_an_idle_client_is_kept_and_asks_the_new_instance(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    server = serve(client, old)
    new = proxied.in_charge()
    assert ends(server)
    assert proxied.drain(old).result(DEADLINE_S) == 0
    serve(client, new)
    assert proxied.counts().moved == 1


def test_a_client_in_a_request_is_moved_when_that_is_answered(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    server = old.accept()
    receive(server, len(GET))
    new = proxied.in_charge()
    drained = proxied.drain(old)
    server.sendall(ok()[:-1])
    assert receive(client, len(ok()) - 1) == ok()[:-1]
    assert not drained.done()
    server.sendall(ok()[-1:])
    assert receive(client, 1) == ok()[-1:]
    assert drained.result(DEADLINE_S) == 0
    serve(client, new)


def test_a_drain_ends_at_its_deadline_and_says_how_many_are_left(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    receive(old.accept(), len(GET))
    proxied.in_charge()
    assert proxied.drain(old, 0.2).result(DEADLINE_S) == 1
    assert proxied.drain(proxied.instance(), DEADLINE_S).result(DEADLINE_S) == 0


def test_pipelined_requests_are_cut_between_two_of_them(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    server = old.accept()
    receive(server, len(GET))
    new = proxied.in_charge()
    client.sendall(GET * 2 + GET[:5])
    server.sendall(ok(b"1"))
    assert receive(client, len(ok(b"1"))) == ok(b"1")
    assert ends(server)
    server = new.accept()
    assert receive(server, len(GET) * 2 + 5) == GET * 2 + GET[:5]
    server.sendall(ok(b"2") + ok(b"3"))
    client.sendall(GET[5:])
    assert receive(server, len(GET) - 5) == GET[5:]
    server.sendall(ok(b"4"))
    assert receive(client, 3 * len(ok(b"1"))) == ok(b"2") + ok(b"3") + ok(b"4")


def test_a_client_that_has_said_nothing_goes_to_the_new_instance(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    assert old.accept()
    new = proxied.in_charge()
    assert proxied.drain(old).result(DEADLINE_S) == 0
    new.accept().sendall(b"hello")
    assert receive(client, 5) == b"hello"


def test_who_is_not_let_in_by_the_old_instance_goes_to_the_new_one(proxied: Proxied) -> None:
    old = proxied.instance()
    old.listener.listen(0)
    with ExitStack() as stack:
        for _ in range(4):  # its queue is full: the kernel takes no more connections for it
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(old.listener.getsockname())
        proxied.point_to(old)
        client = proxied.connect()
        client.sendall(GET)
        proxied.until(open=1)
        new = proxied.in_charge()
        serve(client, new, is_asked=True)
        assert proxied.drain(old).result(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (GET, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
         b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"\x16\x03\x01 hello of TLS", b"\x16\x03\x03 hello"),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MIB + b"\r\n\r\n", ok()),
    ],
    ids=["until the end", "events", "websocket", "connect", "tls", "redis", "http2", "long head"],
)  # fmt: skip
def test_what_has_no_boundary_stays_where_it_is(proxied: Proxied, question: bytes, answer: bytes) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    client.sendall(question)
    server = old.accept()
    assert receive(server, len(question)) == question
    server.sendall(answer)
    assert receive(client, len(answer)) == answer
    proxied.in_charge()
    drained = proxied.drain(old)
    more = b"4\r\nmore\r\n"
    server.sendall(more)
    assert receive(client, len(more)) == more
    if question != GET:  # else it would be the next question, which waits for this answer
        client.sendall(b"\x81\x00")
        assert receive(server, 2) == b"\x81\x00"
    assert not drained.done()
    server.close()
    client.close()
    assert drained.result(DEADLINE_S) == 0


def test_an_upgrade_that_is_declined_goes_on_as_http(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    client.sendall(asked + GET)
    server = old.accept()
    assert receive(server, len(asked)) == asked
    server.sendall(ok())
    assert receive(client, len(ok())) == ok()
    assert receive(server, len(GET)) == GET
    server.sendall(ok())
    assert receive(client, len(ok())) == ok()
    new = proxied.in_charge()
    serve(client, new)


def test_new_clients_are_spread_over_replicas(proxied: Proxied) -> None:
    replicas = [proxied.instance() for _ in range(3)]
    proxied.point_to(*replicas)
    clients = [proxied.connect() for _ in range(6)]
    for client in clients:
        client.sendall(GET)
    for replica in replicas:
        for _ in range(2):
            receive(replica.accept(), len(GET))


# --- an instance that closes a kept connection -----------------------------------------------------------------------


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_client_outlives_its_idle_connection_to_an_instance(
    proxied: Proxied, leave: Callable[[socket.socket], None], method: bytes
) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    leave(serve(client, instance))
    question = GET.replace(b"GET", method)
    client.sendall(question)
    server = instance.accept()
    assert receive(server, len(question)) == question
    server.sendall(ok())
    assert receive(client, len(ok())) == ok()


def test_a_request_that_was_not_read_is_sent_again(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    server = serve(client, old)
    client.sendall(GET)
    assert server.recv(len(GET), socket.MSG_PEEK)  # it is there, and is not read
    new = proxied.in_charge()
    server.close()
    server = new.accept()
    assert receive(server, len(GET)) == GET
    server.sendall(ok())
    assert receive(client, len(ok())) == ok()


def test_a_request_is_sent_again_only_once(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    for _ in range(2):
        server = instance.accept()
        assert server.recv(len(GET), socket.MSG_PEEK)
        server.close()
    assert is_cut(client)


@pytest.mark.parametrize(
    "question",
    [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", GET + GET.replace(b"GET", b"POST"),
     b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + bytes(90000)],
    ids=["post", "one of two", "long"],
)  # fmt: skip
def test_what_might_do_harm_is_not_sent_again(proxied: Proxied, question: bytes) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    client.sendall(question)
    server = instance.accept()
    assert server.recv(1)  # the rest is not read
    server.close()
    assert is_cut(client)
    instance.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        instance.listener.accept()


# --- nobody serves ---------------------------------------------------------------------------------------------------


def test_who_comes_before_the_first_start_waits(proxied: Proxied) -> None:
    clients = [proxied.connect() for _ in range(5)]
    for client in clients:
        client.sendall(GET)
    proxied.until(waiting=5)
    instance = proxied.in_charge()
    for _ in clients:
        server = instance.accept()
        assert receive(server, len(GET)) == GET
        server.sendall(ok())
    for client in clients:
        assert receive(client, len(ok())) == ok()
    assert proxied.counts().waiting == 0


def test_who_comes_after_a_crash_waits(proxied: Proxied) -> None:
    crashed = proxied.in_charge()
    crashed.close()
    client = proxied.connect()
    client.sendall(GET)
    proxied.until(waiting=1)
    serve(client, proxied.in_charge(), is_asked=True)


def test_an_instance_that_listens_later_is_found_without_being_told(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    instance.listener.close()
    client = proxied.connect()
    client.sendall(GET)
    proxied.until(waiting=1)
    instance.listener = socket.create_server(("127.0.0.1", instance.port))
    instance.listener.settimeout(DEADLINE_S)
    serve(client, instance, is_asked=True)


def test_a_kept_client_waits_while_nobody_serves(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    server = serve(client, old)
    proxied.point_to()
    assert ends(server)
    client.sendall(GET)
    proxied.until(waiting=1)
    serve(client, proxied.in_charge(), is_asked=True)


def test_a_client_that_vanishes_while_it_waits_is_forgotten(proxied: Proxied) -> None:
    client = proxied.connect()
    proxied.until(waiting=1)
    client.close()
    proxied.until(open=0, waiting=0)


def test_who_has_waited_too_long_is_told() -> None:
    with Proxied(wait_s=0.2) as proxied:
        asks, is_silent = proxied.connect(), proxied.connect()
        asks.sendall(GET)
        answer = receive(asks, 10000)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert answer.endswith(b"\r\n\r\nprocwatch: service.api does not run\n")
        assert receive(is_silent, 1) == b""
        asks.close()
        is_silent.close()
        proxied.until(open=0, waiting=0)


@contextmanager
def in_thread(work: Callable[[socket.socket], None], sock: socket.socket) -> Iterator[None]:
    """Do this beside; at the end it must have succeeded."""
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(work, sock)
        yield
        doing.result(DEADLINE_S)


def peak_kib(proxied: Proxied) -> int:
    """The most memory that the process has had so far."""
    (tree,) = proxied.forest.trees
    status = Path(f"/proc/{tree.leader.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
