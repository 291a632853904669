/* What every tool under test starts: says when it runs, as cheaply as a program can.
 *
 *   beacon stamp FIFO TAG           tell and end                        (a build)
 *   beacon stay FIFO TAG            tell and wait for a signal          (a service)
 *   beacon lines FIFO TAG COUNT FROM    tell, print COUNT lines with numbers from FROM on, and end     (a talker)
 *
 * Telling is one line "TAG PID NANOSECONDS" (CLOCK_MONOTONIC), short enough to be written whole.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int tell(const char *fifo, const char *tag) {
    struct timespec now;
    char text[256];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(text, sizeof text, "%s %ld %lld\n", tag, (long)getpid(),
                        (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
    int file = open(fifo, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, (size_t)size) != size) return 1;
    return close(file);
}

/* 64 bytes a line with its end: "L", the number in 11 digits, a space, 50 times "x". */
static int print_lines(long count, long from) {
    char filling[51];
    memset(filling, 'x', 50);
    filling[50] = 0;
    for (long number = from; number < from + count; number++)
        if (printf("L%011ld %s\n", number, filling) != 64) return 1;
    return fflush(stdout);
}

int main(int count, char **words) {
    if (count < 4 || tell(words[2], words[3]) != 0) return 2;
    if (strcmp(words[1], "stay") == 0)
        for (;;) pause();
    if (strcmp(words[1], "lines") == 0 && count == 6) return print_lines(atol(words[4]), atol(words[5]));
    return 0;
}
