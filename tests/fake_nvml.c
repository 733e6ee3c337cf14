/* A libnvidia-ml.so.1 without a GPU, for tests through the real nvidia-ml-py.

   Unscripted it is alive: power flickers around (300 + GPU) W and the counter is its integral. Any call of any GPU can be given a return
   code and a value:  fake_set(gpu, call, code, value), gpu -1 for calls of no GPU;  or before the process starts, in the environment:
       FAKE_NVML_GPUS=4  FAKE_NVML_SCRIPT="0 power 15 0; -1 init 9 0"
   Calls: init count driver handle uuid name cc mig energy power cap clock events throttle fields, and field<id>/<scope>.
   -DOLD_DRIVER leaves out what drivers before 535 have not. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { MAX_GPUS = 128, MAX_SCRIPTED = 256, U32 = 1, U64 = 3 };

typedef unsigned long long u64;
typedef struct { int index, mig; } gpu_t;
typedef struct { int gpu, code; u64 value; char call[24]; } scripted_t;
typedef struct {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type, code;
    union { double d; unsigned u32; u64 u64; } value;
} field_t;

static gpu_t gpus[MAX_GPUS], mig = {0, 1};
static scripted_t script[MAX_SCRIPTED];
static int scripted, count = 2, started;

static scripted_t *found(int gpu, const char *call) {
    for (int i = 0; i < scripted; i++)
        if (script[i].gpu == gpu && !strcmp(script[i].call, call)) return &script[i];
    return NULL;
}

void fake_set(int gpu, const char *call, int code, u64 value) {
    scripted_t *s = found(gpu, call);
    if (!s && scripted == MAX_SCRIPTED) abort();
    if (!s) s = &script[scripted++];
    s->gpu = gpu, s->code = code, s->value = value;
    snprintf(s->call, sizeof s->call, "%s", call);
}

void fake_reset(int n) { scripted = 0, count = n, started = 0; }

int fake_started(void) { return started; }

__attribute__((constructor)) static void from_environment(void) {
    const char *n = getenv("FAKE_NVML_GPUS"), *s = getenv("FAKE_NVML_SCRIPT");
    char call[24];
    int gpu, code;
    u64 value;
    for (int i = 0; i < MAX_GPUS; i++) gpus[i].index = i;
    if (n) count = atoi(n);
    for (; s && sscanf(s, "%d %23s %d %llu", &gpu, call, &code, &value) == 4; s = strchr(s, ';'), s = s ? s + 1 : 0)
        fake_set(gpu, call, code, value);
}

/* The return code; *value is left as it is where the script says nothing of the call. */
static int answer(int gpu, const char *call, u64 *value) {
    scripted_t *s = found(gpu, call);
    if (!started && strcmp(call, "init")) return UNINITIALIZED;
    if (s && value) *value = s->value;
    return s ? s->code : OK;
}

static u64 now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static u64 live_mw(gpu_t *g) { return (300 + g->index) * 1000 + now_us() / 1000 % 7 * 100; }

static u64 live_mj(gpu_t *g) { return (300300 + g->index * 1000) * (now_us() / 1000) / 1000 + 1; }

static int number(gpu_t *g, const char *call, u64 live, unsigned *out) {
    u64 value = live;
    int code = answer(g->index, call, &value);
    if (!code) *out = value;
    return code;
}

static int text(int gpu, const char *call, const char *value, char *out, unsigned size) {
    int code = answer(gpu, call, 0);
    if (!code) snprintf(out, size, "%s", value);
    return code;
}

int nvmlInitWithFlags(unsigned flags) {
    int code = answer(-1, "init", 0);
    (void)flags;
    if (!code) started++;
    return code;
}

int nvmlShutdown(void) {
    if (!started) return UNINITIALIZED;
    started--;
    return OK;
}

const char *nvmlErrorString(int code) {
    static char words[40];
    snprintf(words, sizeof words, "error %d of the fake", code);
    return words;
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text(-1, "driver", "570.86.15", out, size); }

int nvmlDeviceGetCount_v2(unsigned *out) {
    u64 value = count;
    int code = answer(-1, "count", &value);
    if (!code) *out = value;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **out) {
    if ((int)index >= count) return INVALID_ARGUMENT;
    *out = &gpus[index];
    return answer(index, "handle", 0);
}

int nvmlDeviceGetUUID(gpu_t *g, char *out, unsigned size) {
    char uuid[64];
    snprintf(uuid, sizeof uuid, "GPU-%08x-1111-2222-3333-444455556666", g->index);
    return text(g->index, "uuid", uuid, out, size);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **out) {
    int index;
    if (!strncmp(uuid, "MIG-", 4)) return *out = &mig, OK;
    if (sscanf(uuid, "GPU-%8x-1111-2222-3333-444455556666", (unsigned *)&index) != 1 || index >= count) return NOT_FOUND;
    return nvmlDeviceGetHandleByIndex_v2(index, out);
}

int nvmlDeviceIsMigDeviceHandle(gpu_t *g, unsigned *out) { return *out = g->mig, OK; }

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(gpu_t *g, gpu_t **out) { return *out = &gpus[g->index], OK; }

int nvmlDeviceGetName(gpu_t *g, char *out, unsigned size) { return text(g->index, "name", "NVIDIA H100 80GB HBM3", out, size); }

int nvmlDeviceGetCudaComputeCapability(gpu_t *g, int *major, int *minor) {
    u64 value = 90;
    int code = answer(g->index, "cc", &value);
    if (!code) *major = value / 10, *minor = value % 10;
    return code;
}

int nvmlDeviceGetMigMode(gpu_t *g, unsigned *current, unsigned *pending) {
    int code = number(g, "mig", 0, current);
    if (!code) *pending = *current;
    return code;
}

int nvmlDeviceGetTotalEnergyConsumption(gpu_t *g, u64 *out) {
    *out = live_mj(g);
    return answer(g->index, "energy", out);
}

int nvmlDeviceGetPowerUsage(gpu_t *g, unsigned *out) { return number(g, "power", live_mw(g), out); }

int nvmlDeviceGetEnforcedPowerLimit(gpu_t *g, unsigned *out) { return number(g, "cap", 700000, out); }

int nvmlDeviceGetClockInfo(gpu_t *g, unsigned type, unsigned *out) { return type == 1 ? number(g, "clock", 1980, out) : NOT_SUPPORTED; }

static int mask(gpu_t *g, const char *call, u64 *out) {
    *out = 0;
    return answer(g->index, call, out);
}

#ifndef OLD_DRIVER
int nvmlDeviceGetCurrentClocksEventReasons(gpu_t *g, u64 *out) { return mask(g, "events", out); }
#endif

int nvmlDeviceGetCurrentClocksThrottleReasons(gpu_t *g, u64 *out) { return mask(g, "throttle", out); }

int nvmlDeviceGetFieldValues(gpu_t *g, int n, field_t *fields) {
    int code = answer(g->index, "fields", 0);
    for (int i = 0; i < n && !code; i++) {
        char call[24];
        u64 type = fields[i].id == 191 ? U64 : U32, value = live_mw(g); /* energies are 64 bits wide, all else here 32 */
        snprintf(call, sizeof call, "field%u/%u", fields[i].id, fields[i].scope);
        int there = (fields[i].id == 186 && fields[i].scope == 0) || found(g->index, call);
        fields[i].code = there ? answer(g->index, call, &value) : NOT_SUPPORTED;
        answer(g->index, "type", &type);
        fields[i].type = type;
        if (type == U64) fields[i].value.u64 = value;
        else if (type == 0) fields[i].value.d = value;
        else fields[i].value.u64 = 0xdeadbeef00000000ULL | (unsigned)value; /* the upper half of the union is not the value's */
    }
    return code;
}
