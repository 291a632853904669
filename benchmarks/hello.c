/* A server that costs next to nothing, so that what is in front of it shows: one thread for each connection.
   Prints its port. "GET /N" is answered with N bytes, anything else with a few; connections are kept. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char body[1 << 20];

static int send_all(int fd, const char *data, size_t count) {
    while (count > 0) {
        ssize_t sent = send(fd, data, count, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        count -= (size_t)sent;
    }
    return 0;
}

static int answer(int fd, long count) {
    char head[128];
    int length = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", count);
    if (count <= 64) {
        memcpy(head + length, body, (size_t)count);
        return send_all(fd, head, (size_t)(length + count));
    }
    if (send_all(fd, head, (size_t)length) < 0) return -1;
    for (; count > 0; count -= (long)sizeof body)
        if (send_all(fd, body, count < (long)sizeof body ? (size_t)count : sizeof body) < 0) return -1;
    return 0;
}

static void *serve(void *given) {
    int fd = (int)(long)given, on = 1;
    char request[8192];
    size_t have = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (;;) {
        ssize_t got = recv(fd, request + have, sizeof request - 1 - have, 0);
        if (got <= 0) break;
        have += (size_t)got;
        request[have] = 0;
        if (have < 4 || memcmp(request + have - 4, "\r\n\r\n", 4) != 0) continue;
        long count = strncmp(request, "GET /", 5) == 0 ? atol(request + 5) : 0;
        have = 0;
        if (answer(fd, count > 0 ? count : 5) < 0) break;
    }
    close(fd);
    return NULL;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(body, 'x', sizeof body);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd) == 0) pthread_detach(thread);
        else close(fd);
    }
}
