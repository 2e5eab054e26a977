/* A file system that refuses: preloaded, it lets one kind of call on some paths fail.

   FAULT_CALL   open, write, rename, mkdir, fsync or unlink
   FAULT_AT     part of the path
   FAULT_ERRNO  the error
   FAULT_AFTER  how many such calls succeed before */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls = 0;

static int refused(const char *call, const char *path) {
    const char *kind = getenv("FAULT_CALL"), *part = getenv("FAULT_AT");
    if (!kind || !part || !path || strcmp(kind, call) || !strstr(path, part)) return 0;
    if (__sync_fetch_and_add(&calls, 1) < atoi(getenv("FAULT_AFTER"))) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int refused_open(const char *call, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refused(call, path);
}

#define WHOLE(name, type) static __typeof__(type) whole; if (!whole) whole = (type)dlsym(RTLD_NEXT, name)

int rename(const char *from, const char *to) {
    WHOLE("rename", int (*)(const char *, const char *));
    return refused("rename", from) ? -1 : whole(from, to);
}

int mkdir(const char *path, mode_t mode) {
    WHOLE("mkdir", int (*)(const char *, mode_t));
    return refused("mkdir", path) ? -1 : whole(path, mode);
}

ssize_t write(int file, const void *bytes, size_t count) {
    WHOLE("write", ssize_t (*)(int, const void *, size_t));
    return file > 2 && refused_open("write", file) ? -1 : whole(file, bytes, count);
}

int fsync(int file) {
    WHOLE("fsync", int (*)(int));
    return refused_open("fsync", file) ? -1 : whole(file);
}

int unlinkat(int folder, const char *path, int flags) {
    WHOLE("unlinkat", int (*)(int, const char *, int));
    return refused("unlink", path) ? -1 : whole(folder, path, flags);
}

static int opened(const char *name, const char *path, int flags, int mode) {
    int (*whole)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    return (flags & (O_WRONLY | O_RDWR)) && refused("open", path) ? -1 : whole(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return opened("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return opened("open64", path, flags, mode);
}
