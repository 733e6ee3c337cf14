/* What reading streams costs at the least: N connections in closed loop, epoll, recv, count the events, keep two times.

   raw_reader PORT CONNECTIONS SECONDS REQUEST_BYTES [TOKENS]  prints CPU microseconds per event, the events counted, the seconds it took,
   and in ms P50 and P95 from before the request's send to the first event, and P50 from the first event to the last.

   TOKENS asks for answers of exactly so many; otherwise the server decides. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef int64_t ns;
typedef struct { int fd; size_t sent; ns asked, first, last; } Conn;
typedef struct { double *at; size_t length, room; } Values;

static char *request;
static size_t request_length;
static int epoll;

static ns clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void keep(Values *v, double value) {
    if (v->length == v->room) v->at = realloc(v->at, (v->room = v->room * 2 + 1024) * sizeof *v->at);
    v->at[v->length++] = value;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

/* The value at rank q (n - 1), rounded down; 0 of none. */
static double quantile(Values *v, double q) {
    if (!v->length) return 0;
    qsort(v->at, v->length, sizeof *v->at, by_size);
    return v->at[(size_t)(q * (double)(v->length - 1))];
}

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {events, {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void push(Conn *c) {
    while (c->sent < request_length) {
        ssize_t sent = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) { watch(c, EPOLLIN | EPOLLOUT); return; }
        if (sent < 0) { perror("raw_reader: send"); exit(1); }
        c->sent += (size_t)sent;
    }
    watch(c, EPOLLIN);
}

static void ask(Conn *c) {
    c->sent = 0;
    c->first = c->last = 0;
    c->asked = clock_ns();
    push(c);
}

static void make_request(size_t body, const char *tokens) {
    char open[512], exact[96] = "";
    if (tokens) snprintf(exact, sizeof exact, "\"max_tokens\":%ld,\"ignore_eos\":true,", atol(tokens));
    int opened = snprintf(open, sizeof open, "{\"model\":\"mock\",\"stream\":true,\"stream_options\":{\"include_usage\":true},%s\"messages\":[{\"role\":\"user\",\"content\":\"", exact);
    size_t fixed = (size_t)opened + 4;
    if (body < fixed) body = fixed;
    request = malloc(body + 256);
    request_length = (size_t)sprintf(request, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", body, open);
    memset(request + request_length, 'x', body - fixed);
    request_length += body - fixed;
    memcpy(request + request_length, "\"}]}", 4);
    request_length += 4;
}

int main(int count, char **words) {
    if (count != 5 && count != 6) { fprintf(stderr, "raw_reader PORT CONNECTIONS SECONDS REQUEST_BYTES [TOKENS]\n"); return 2; }
    int connections = atoi(words[2]), live = connections, on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    make_request((size_t)atol(words[4]), count == 6 ? words[5] : NULL);
    epoll = epoll_create1(0);
    Conn *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        int fd = all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&address, sizeof address)) { perror("raw_reader: connect"); return 1; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {EPOLLIN, {.ptr = &all[i]}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
    static char data[1 << 18];
    Values waits = {0}, spans = {0};
    struct epoll_event ready[512];
    double cpu = cpu_s();
    long events = 0;
    ns began = clock_ns(), end = began + (ns)(atof(words[3]) * 1e9);
    for (int i = 0; i < connections; i++) ask(&all[i]);
    while (live && clock_ns() < end + 20000000000LL) {
        int n = epoll_wait(epoll, ready, 512, 200);
        for (int i = 0; i < n; i++) {
            Conn *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT) push(c);
            if (!(ready[i].events & EPOLLIN)) continue;
            ssize_t got = recv(c->fd, data, sizeof data, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { fprintf(stderr, "raw_reader: a connection closed\n"); return 1; }
            ns now = clock_ns();
            for (char *at = data; (at = memmem(at, (size_t)(data + got - at), "\n\n", 2)); at += 2) {
                events++;
                if (!c->first) c->first = now;
                c->last = now;
            }
            if (got < 5 || memcmp(data + got - 5, "0\r\n\r\n", 5)) continue;
            keep(&waits, (double)(c->first - c->asked) / 1e6);
            keep(&spans, (double)(c->last - c->first) / 1e6);
            if (now < end) ask(c);
            else { close(c->fd); live--; }
        }
    }
    double used = cpu_s() - cpu;
    printf("%.4f %ld %.3f %.3f %.3f %.3f\n", events ? used * 1e6 / (double)events : 0.0, events, (double)(clock_ns() - began) / 1e9,
           quantile(&waits, 0.5), quantile(&waits, 0.95), quantile(&spans, 0.5));
    return 0;
}
