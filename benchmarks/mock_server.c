/* A streaming chat-completions server (and of plain completions) on loopback with known timing, which logs what it truly sent (built and run by mock.py).

   One thread, epoll, a heap of timers. Its clock is CLOCK_MONOTONIC, the same as the client's, so that a benchmark can
   hold what the client reports against what happened here. The schedule never drifts: event k of an answer is due at
   read + ttft + k * interval, however late the ones before it went out; how late they went is in the log.

   On stdout: "listening on http://127.0.0.1:PORT/v1". Ends when stdin does.

   Options (each takes a value)
     --port N               0: any free one (0)
     --ttft-ms X            request fully read -> first token (200)
     --jitter-ms X          0..X more, uniform, the same sequence in every run (0)
     --interval-ms X        between tokens; 0: as fast as the socket takes them (20)
     --tokens N             of an answer (100)
     --obey 1               max_tokens of the request instead
     --tokens-per-event N   one SSE event carries N tokens and N intervals lie between events (1)
     --role none|with|early the role-only event: never, with the first token, or 5 ms after the request (with)
     --reasoning N          the first N tokens are reasoning (0)
     --reasoning-key K      their field (reasoning_content)
     --toolcall N           the last N tokens are arguments of a tool call (0)
     --usage always|asked|never
     --prompt-tokens bytes|number
                            usage.prompt_tokens is a quarter of the body's bytes, or the request's number in the log: it
                            ties a client's row to the server's (bytes)

   GET /log answers one row of seven int64 for each request so far, in the order in which they were read:
     read_ns   the request was fully read
     first_ns  the clock just before the send() of its first token; 0: not sent
     last_ns   the same of its last token so far
     late_ns   the worst lateness of any of its events against the schedule
     tokens    sent so far
     first_tokens  of them, in the first event
     body      bytes of the request's body

   GET /v1/models and GET /health say that it is there, for clients that ask before they send. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef int64_t ns;
enum { MS = 1000000, EARLY_ROLE = 5 * MS, BATCH = 512, TEXT = 2048 };
enum { ROLE_NONE, ROLE_WITH, ROLE_EARLY };
enum { USAGE_NEVER, USAGE_ASKED, USAGE_ALWAYS };

static struct {
    int port, tokens, per_event, role, reasoning, toolcall, usage;
    bool obey, numbered;
    ns ttft, jitter, interval;
    const char *reasoning_key;
} option = {0, 100, 1, ROLE_WITH, 0, 0, USAGE_ASKED, false, false, 200 * MS, 0, 20 * MS, "reasoning_content"};

typedef struct { ns read, first, last, late, tokens, first_tokens, body; } Row;
static Row *rows;
static size_t row_count, row_room;

typedef struct {
    int fd;
    int slot;                            /* in the timer heap; -1: not in it */
    char *in, *out;
    size_t in_length, in_room, out_length, out_sent, out_room;
    bool answering, role_due, usage, continuous, blocked, plain;
    size_t number;                       /* of the request in hand: index into rows */
    int tokens, queued, in_event;        /* asked for; put into `out` so far; of them by the event that is in `out` */
    int prompt_tokens;
    ns due;
} Conn;

static int epoll, listener;

static ns clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *grown(void *memory, size_t *room, size_t needed, size_t item) {
    if (needed <= *room) return memory;
    *room = needed * 2;
    memory = realloc(memory, *room * item);
    if (!memory) { perror("mock_server: memory"); exit(1); }
    return memory;
}

/* -- timers: a binary heap by due time -------------------------------------------------------------------------------- */

static Conn **heap;
static size_t heap_length, heap_room;

static void place(Conn *c, size_t at) { heap[at] = c; c->slot = (int)at; }

static void sift(Conn *c, size_t at) {
    for (; at && heap[(at - 1) / 2]->due > c->due; at = (at - 1) / 2) place(heap[(at - 1) / 2], at);
    for (size_t child; (child = 2 * at + 1) < heap_length; at = child) {
        if (child + 1 < heap_length && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        place(heap[child], at);
    }
    place(c, at);
}

static void arm(Conn *c) {
    heap = grown(heap, &heap_room, heap_length + 1, sizeof *heap);
    sift(c, heap_length++);
}

static void disarm(Conn *c) {
    if (c->slot < 0) return;
    size_t at = (size_t)c->slot;
    Conn *last = heap[--heap_length];
    c->slot = -1;
    if (last != c) sift(last, at);
}

/* -- what goes out ------------------------------------------------------------------------------------------------------ */

static void put(Conn *c, const char *data, size_t length) {
    c->out = grown(c->out, &c->out_room, c->out_length + length, 1);
    memcpy(c->out + c->out_length, data, length);
    c->out_length += length;
}

/* One server-sent event in an HTTP chunk of its own, as vLLM and SGLang send them. */
static void put_event(Conn *c, const char *format, ...) {
    char data[TEXT], chunk[TEXT + 64];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(data, sizeof data, format, values);
    va_end(values);
    put(c, chunk, (size_t)snprintf(chunk, sizeof chunk, "%x\r\ndata: %s\n\n\r\n", length + 8, data));
}

static const char *usage_of(const Conn *c) {
    static char text[128];
    snprintf(text, sizeof text, "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}", c->prompt_tokens, c->queued,
             c->prompt_tokens + c->queued);
    return text;
}

static void put_chunk(Conn *c, const char *delta, const char *finish) {
    put_event(c, "{\"id\":\"chatcmpl-%08zx\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"mock\",\"choices\":"
              "[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]%s%s}", c->number, delta, finish,
              c->continuous ? ",\"usage\":" : "", c->continuous ? usage_of(c) : "");
}

/* The same for POST /v1/completions. */
static void put_text(Conn *c, const char *text, const char *finish) {
    put_event(c, "{\"id\":\"cmpl-%08zx\",\"object\":\"text_completion\",\"created\":1764000000,\"model\":\"mock\",\"choices\":"
              "[{\"index\":0,\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":%s}]%s%s}", c->number, text, finish,
              c->continuous ? ",\"usage\":" : "", c->continuous ? usage_of(c) : "");
}

static void put_role(Conn *c) { put_chunk(c, "{\"role\":\"assistant\",\"content\":\"\"}", "null"); }

static void put_tokens(Conn *c) {
    char text[TEXT / 2] = "", delta[TEXT];
    int at = c->queued, count = c->tokens - at < option.per_event ? c->tokens - at : option.per_event;
    for (int i = 0; i < count; i++) strcat(text, " the");
    if (at == 0 && option.role == ROLE_WITH && !c->plain) put_role(c);
    c->queued += count;
    c->in_event = count;
    int calls_from = c->tokens - option.toolcall;
    if (c->plain) {
        put_text(c, text, "null");
    } else if (option.toolcall && at >= calls_from) {
        if (at - calls_from < option.per_event)
            put_chunk(c, "{\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"index\":0,\"function\":{\"name\":\"bash\","
                      "\"arguments\":\"\"}}]}", "null");
        snprintf(delta, sizeof delta, "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"%s\"}}]}", text);
        put_chunk(c, delta, "null");
    } else {
        snprintf(delta, sizeof delta, "{\"%s\":\"%s\"}", at < option.reasoning ? option.reasoning_key : "content", text);
        put_chunk(c, delta, "null");
    }
    if (c->queued < c->tokens) return;
    if (c->plain) put_text(c, "", "\"stop\"");
    else put_chunk(c, "{}", option.toolcall ? "\"tool_calls\"" : "\"stop\"");
    if (c->usage)
        put_event(c, "{\"id\":\"chatcmpl-%08zx\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"mock\","
                  "\"choices\":[],\"usage\":%s}", c->number, usage_of(c));
    put_event(c, "[DONE]");
    put(c, "0\r\n\r\n", 5);
}

static void put_whole(Conn *c, const char *status, const void *body, size_t length) {
    char head[128];
    put(c, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, length));
    put(c, body, length);
}

/* -- a connection's course: take a request, flush, [fire, flush]... until the answer is out, take the next ------------- */

static void hang_up(Conn *c) {
    disarm(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(Conn *c, bool blocked) {
    if (c->blocked == blocked) return;
    c->blocked = blocked;
    struct epoll_event e = {EPOLLIN | (blocked ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static bool take(Conn *c, ns now);

/* False: the connection is gone. A blocked socket is left until it drains; the answer then catches up with its schedule. */
static bool flush(Conn *c) {
    ns began = clock_ns();
    while (c->out_sent < c->out_length) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) { watch(c, true); return true; }
        if (sent < 0) { hang_up(c); return false; }
        c->out_sent += (size_t)sent;
    }
    c->out_length = c->out_sent = 0;
    watch(c, false);
    if (!c->answering) return take(c, clock_ns());
    if (c->in_event) {
        Row *row = &rows[c->number];
        if (!row->first) { row->first = began; row->first_tokens = c->in_event; }
        row->last = began;
        row->tokens += c->in_event;
        c->in_event = 0;
    }
    if (c->queued < c->tokens) { arm(c); return true; }
    c->answering = false;
    return take(c, clock_ns());
}

static void fire(Conn *c) {
    Row *row = &rows[c->number];
    ns late = clock_ns() - c->due;
    if (late > row->late) row->late = late;
    if (c->role_due) {
        c->role_due = false;
        put_role(c);
        c->due += option.ttft - EARLY_ROLE;
    } else {
        put_tokens(c);
        c->due += option.interval * option.per_event;
    }
    flush(c);
}

static bool has(const char *text, size_t length, const char *word) { return memmem(text, length, word, strlen(word)) != NULL; }

static void answer(Conn *c, const char *body, size_t length, ns now) {
    static uint32_t random = 12345;
    const char *messages = memmem(body, length, "\"messages\":", 11), *limit;
    size_t head = messages ? (size_t)(messages - body) : length; /* a history may quote the words looked for here */
    c->number = row_count;
    rows = grown(rows, &row_room, row_count + 1, sizeof *rows);
    rows[row_count++] = (Row){.read = now, .body = (ns)length};
    c->answering = true;
    c->tokens = option.tokens;
    if (option.obey && (limit = memmem(body, head, "\"max_tokens\":", 13))) c->tokens = atoi(limit + 13);
    if (c->tokens < 1) c->tokens = 1;
    c->queued = c->in_event = 0;
    c->prompt_tokens = option.numbered ? (int)c->number : (int)(length / 4);
    c->usage = option.usage == USAGE_ALWAYS || (option.usage == USAGE_ASKED && has(body, head, "\"include_usage\":true"));
    c->continuous = c->usage && has(body, head, "\"continuous_usage_stats\":true");
    c->role_due = option.role == ROLE_EARLY && !c->plain;
    random = random * 1664525u + 1013904223u;
    c->due = now + (c->role_due ? EARLY_ROLE : option.ttft) + (ns)((random >> 8) / 16777216.0 * (double)option.jitter);
    static const char head_of_answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    put(c, head_of_answer, sizeof head_of_answer - 1);
}

/* A whole request in `in`, if there is one, and begin to answer it. False: the connection is gone. */
static bool take(Conn *c, ns now) {
    char *blank = c->in_length ? memmem(c->in, c->in_length, "\r\n\r\n", 4) : NULL;
    if (!blank || c->answering) return true;
    size_t head = (size_t)(blank + 4 - c->in), body = 0;
    blank[2] = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    if (length) body = strtoul(length + 17, NULL, 10);
    bool chat = !strncmp(c->in, "POST /v1/chat/completions ", 26);
    c->plain = !strncmp(c->in, "POST /v1/completions ", 21);
    blank[2] = '\r';
    if (c->in_length < head + body) return true;
    if (chat || c->plain) answer(c, c->in + head, body, now);
    else if (!strncmp(c->in, "GET /log ", 9)) put_whole(c, "200 OK", rows, row_count * sizeof *rows);
    else if (!strncmp(c->in, "GET /v1/models ", 15)) {
        static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\"}]}";
        put_whole(c, "200 OK", models, sizeof models - 1);
    } else if (!strncmp(c->in, "GET /health ", 12)) put_whole(c, "200 OK", "{}", 2);
    else put_whole(c, "404 Not Found", "{}", 2);
    c->in_length -= head + body;
    memmove(c->in, c->in + head + body, c->in_length);
    return flush(c);
}

static void read_from(Conn *c) {
    for (;;) {
        c->in = grown(c->in, &c->in_room, c->in_length + 65536, 1);
        ssize_t got = recv(c->fd, c->in + c->in_length, c->in_room - c->in_length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) { hang_up(c); return; }
        c->in_length += (size_t)got;
    }
    take(c, clock_ns());
}

static void accept_all(void) {
    int on = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->slot = -1;
        struct epoll_event e = {EPOLLIN, {.ptr = c}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

static void read_options(int count, char **words) {
    for (int i = 1; i < count; i += 2) {
        const char *name = words[i], *value = i + 1 < count ? words[i + 1] : "";
        bool known = true;
#define IS(text) (!strcmp(name, text))
        if (IS("--port")) option.port = atoi(value);
        else if (IS("--ttft-ms")) option.ttft = (ns)(atof(value) * MS);
        else if (IS("--jitter-ms")) option.jitter = (ns)(atof(value) * MS);
        else if (IS("--interval-ms")) option.interval = (ns)(atof(value) * MS);
        else if (IS("--tokens")) option.tokens = atoi(value);
        else if (IS("--obey")) option.obey = atoi(value);
        else if (IS("--tokens-per-event")) option.per_event = atoi(value);
        else if (IS("--role")) option.role = *value == 'n' ? ROLE_NONE : *value == 'e' ? ROLE_EARLY : ROLE_WITH;
        else if (IS("--reasoning")) option.reasoning = atoi(value);
        else if (IS("--reasoning-key")) option.reasoning_key = value;
        else if (IS("--toolcall")) option.toolcall = atoi(value);
        else if (IS("--usage")) option.usage = !strcmp(value, "never") ? USAGE_NEVER : !strcmp(value, "always") ? USAGE_ALWAYS : USAGE_ASKED;
        else if (IS("--prompt-tokens")) option.numbered = *value == 'n';
        else known = false;
        if (known && *value && option.per_event >= 1 && option.per_event <= 128) continue;
        fprintf(stderr, "mock_server: %s %s: no such option, or no such value (tokens per event: 1 to 128)\n", name, value);
        exit(2);
    }
}

static void listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) { perror("mock_server: listen"); exit(1); }
    getsockname(listener, (void *)&address, &length);
    printf("listening on http://127.0.0.1:%d/v1\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int count, char **words) {
    read_options(count, words);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for the program that holds our stdin */
    prctl(PR_SET_TIMERSLACK, 1);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(0);
    listen_on_loopback();
    struct epoll_event events[BATCH], e = {EPOLLIN, {.ptr = &listener}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    e = (struct epoll_event){EPOLLIN, {.ptr = &option}}; /* stdin; a file cannot be watched and never ends */
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &e);
    for (;;) {
        for (int burst = 0; heap_length && heap[0]->due <= clock_ns() && burst < BATCH; burst++) {
            Conn *c = heap[0];
            disarm(c);
            fire(c);
        }
        ns wait = heap_length ? heap[0]->due - clock_ns() : 1000 * (ns)MS;
        struct timespec timeout = {0, wait < 0 ? 0 : wait > 999 * (ns)MS ? 999 * (ns)MS : wait};
        int ready = epoll_pwait2(epoll, events, BATCH, &timeout, NULL);
        for (int i = 0; i < ready; i++) {
            Conn *c = events[i].data.ptr;
            char byte;
            if ((void *)c == &listener) accept_all();
            else if ((void *)c == &option) { if (read(0, &byte, 1) <= 0) return 0; }
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(c);
            else if (events[i].events & EPOLLOUT) flush(c);
        }
    }
}
