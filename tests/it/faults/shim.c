/* Fails chosen calls of the C library on files below one directory. Preloaded into the program under test.
 *
 * FAULT_DIR    the directory, absolute, as the program is given it
 * FAULT_STATE  a file of 4096 zero bytes: the counters, shared by all processes of one scenario
 * FAULT_GROUP  0 open, 1 read, 2 write, 3 sync, 4 rename, 5 unlink; none: counts alone
 * FAULT_NTH    which call of the group fails first, from 1
 * FAULT_TIMES  how many in a row fail
 * FAULT_ERRNO  with which error
 *
 * Counters are eight bytes each: the calls of groups 0 to 5, then the failures.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, READ, WRITE, SYNC, RENAME, UNLINK, FAILED, COUNTERS };
#define MAX_FD 65536

static _Atomic uint64_t *counters;
static const char *dir;
static size_t dir_len;
static int group = -1, error;
static uint64_t nth, times;
static _Atomic char ours[MAX_FD];

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = next(#name)

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *state = getenv("FAULT_STATE");
    dir = getenv("FAULT_DIR");
    if (!state || !dir) return;
    dir_len = strlen(dir);
    group = getenv("FAULT_GROUP") ? (int)number("FAULT_GROUP") : -1;
    nth = number("FAULT_NTH");
    times = number("FAULT_TIMES");
    error = (int)number("FAULT_ERRNO");
    int (*real_open)(const char *, int, ...) = next("open");
    int fd = real_open(state, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) counters = map;
}

static int fails(int of) {
    if (!counters) return 0;
    uint64_t n = atomic_fetch_add(&counters[of], 1) + 1;
    if (of != group || n < nth || n - nth >= times) return 0;
    atomic_fetch_add(&counters[FAILED], 1);
    errno = error;
    return 1;
}

static int is_ours(int fd) { return fd >= 0 && fd < MAX_FD && atomic_load(&ours[fd]); }
static void mark(int fd, int yes) {
    if (fd >= 0 && fd < MAX_FD) atomic_store(&ours[fd], yes);
}
static int is_below(int at, const char *path) {
    if (!counters || !path) return 0;
    if (path[0] != '/') return is_ours(at);
    return !strncmp(path, dir, dir_len) && (path[dir_len] == '/' || !path[dir_len]);
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int below = is_below(-1, path); \
        if (below && fails(OPEN)) return -1; \
        int fd = real(path, flags, mode); \
        mark(fd, below); \
        return fd; \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int below = is_below(at, path); \
        if (below && fails(OPEN)) return -1; \
        int fd = real(at, path, flags, mode); \
        mark(fd, below); \
        return fd; \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
    REAL(close);
    mark(fd, 0);
    return real(fd);
}

/* Duplicates are of the same file. */
#define DUPLICATES(name) \
    int name(int fd, int command, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        int result = real(fd, command, argument); \
        if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) mark(result, is_ours(fd)); \
        return result; \
    }
DUPLICATES(fcntl)
DUPLICATES(fcntl64)

#define CALL(result, name, of, parameters, arguments, fd) \
    result name parameters { \
        REAL(name); \
        if (is_ours(fd) && fails(of)) return -1; \
        return real arguments; \
    }
CALL(ssize_t, read, READ, (int fd, void *to, size_t n), (fd, to, n), fd)
CALL(ssize_t, readv, READ, (int fd, const struct iovec *to, int n), (fd, to, n), fd)
CALL(ssize_t, pread, READ, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), fd)
CALL(ssize_t, pread64, READ, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at), fd)
CALL(ssize_t, write, WRITE, (int fd, const void *from, size_t n), (fd, from, n), fd)
CALL(ssize_t, writev, WRITE, (int fd, const struct iovec *from, int n), (fd, from, n), fd)
CALL(ssize_t, pwrite, WRITE, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), fd)
CALL(ssize_t, pwrite64, WRITE, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), fd)
CALL(int, ftruncate, WRITE, (int fd, off_t to), (fd, to), fd)
CALL(int, ftruncate64, WRITE, (int fd, off64_t to), (fd, to), fd)
CALL(int, fsync, SYNC, (int fd), (fd), fd)
CALL(int, fdatasync, SYNC, (int fd), (fd), fd)
CALL(int, sync_file_range, SYNC, (int fd, off64_t at, off64_t n, unsigned flags), (fd, at, n, flags), fd)

int rename(const char *from, const char *to) {
    REAL(rename);
    if (is_below(-1, from) && fails(RENAME)) return -1;
    return real(from, to);
}
int link(const char *from, const char *to) {
    REAL(link);
    if (is_below(-1, from) && fails(RENAME)) return -1;
    return real(from, to);
}
int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    REAL(linkat);
    if (is_below(at, from) && fails(RENAME)) return -1;
    return real(at, from, to_at, to, flags);
}
int unlink(const char *path) {
    REAL(unlink);
    if (is_below(-1, path) && fails(UNLINK)) return -1;
    return real(path);
}
int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    if (is_below(at, path) && fails(UNLINK)) return -1;
    return real(at, path, flags);
}
