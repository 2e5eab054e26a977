/* A clock that jumps: preloaded, it moves the time of day by CLOCK_JUMP seconds, CLOCK_AFTER seconds after
   the process first asks for it. Intervals are measured by other clocks, which do not jump. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#define WHOLE(name, type) static __typeof__(type) whole; if (!whole) whole = (type)dlsym(RTLD_NEXT, name)

static long moved(void) {
    static long start = 0;
    struct timespec now;
    WHOLE("clock_gettime", int (*)(clockid_t, struct timespec *));
    whole(CLOCK_MONOTONIC, &now);
    if (!start) start = now.tv_sec;
    return now.tv_sec - start < atol(getenv("CLOCK_AFTER")) ? 0 : atol(getenv("CLOCK_JUMP"));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    WHOLE("clock_gettime", int (*)(clockid_t, struct timespec *));
    int failed = whole(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += moved();
    return failed;
}

int gettimeofday(struct timeval *time, void *zone) {
    WHOLE("gettimeofday", int (*)(struct timeval *, void *));
    int failed = whole(time, zone);
    time->tv_sec += moved();
    return failed;
}

time_t time(time_t *there) {
    WHOLE("time", time_t (*)(time_t *));
    time_t now = whole(0) + moved();
    if (there) *there = now;
    return now;
}
