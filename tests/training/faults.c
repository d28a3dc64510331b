/* Counts every call that changes files below one folder, and lets the k-th of them fail.
 *
 * Preloaded into Python (LD_PRELOAD) it stands between any library, whatever its language, and the C library.
 * Until faults_arm() is called, and for files elsewhere, every call goes straight through.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum fault { NONE, KILLED, FULL_DISK, FAILING_FSYNC, READ_ONLY };

static char folder[PATH_MAX];
static long count, target;
static enum fault fault;
static int journal = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Count calls below `below` from 1 on, write each to the file descriptor `to`, and let call number `at` fail. */
void faults_arm(const char *below, long at, int kind, int to)
{
    snprintf(folder, sizeof folder, "%s", below);
    count = 0;
    target = at;
    fault = kind;
    journal = to;
}

static void resolve(char *path, int directory, const char *name)
{
    char link[64];
    ssize_t length = 0;
    if (name && (name[0] == '/' || directory == AT_FDCWD)) {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    if (name) {
        strncat(path, "/", PATH_MAX - strlen(path) - 1);
        strncat(path, name, PATH_MAX - strlen(path) - 1);
    }
}

/* The error that this call meets, 0 for none; a write that is to be torn gets EINTR. */
static int meets(const char *call, int directory, const char *name, const char *also)
{
    char path[PATH_MAX], line[2 * PATH_MAX + 64];
    int writes = !strcmp(call, "write"), syncs = !strcmp(call, "fsync");
    int allocates = writes || !strcmp(call, "create") || !strcmp(call, "mkdir");
    if (!folder[0])
        return 0;
    resolve(path, directory, name);
    if (strncmp(path, folder, strlen(folder)))
        return 0;
    count++;
    if (journal >= 0) {
        int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", call, path, also ? also : "");
        REAL(write)(journal, line, length);
    }
    if (!target || count < target)
        return 0;
    if (fault == KILLED && count == target) {
        if (writes)
            return EINTR;
        kill(getpid(), SIGKILL);
    }
    if (fault == FULL_DISK && allocates)
        return writes && count == target ? EINTR : ENOSPC;
    if (fault == FAILING_FSYNC && syncs && count == target)
        return EIO;
    if (fault == READ_ONLY && !syncs)
        return EROFS;
    return 0;
}

#define GUARD(call, directory, name, also)              \
    do {                                                \
        int error = meets(call, directory, name, also); \
        if (error) {                                    \
            errno = error;                              \
            return -1;                                  \
        }                                               \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t size)
{
    int error = meets("write", fd, NULL, NULL);
    if (error == EINTR) { /* half of it arrives */
        ssize_t half = REAL(write)(fd, bytes, size / 2);
        if (fault == KILLED)
            kill(getpid(), SIGKILL);
        if (half > 0)
            return half;
        error = ENOSPC;
    }
    if (error) {
        errno = error;
        return -1;
    }
    return REAL(write)(fd, bytes, size);
}

static int opened(const char *symbol, int directory, const char *name, int flags, mode_t mode)
{
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, symbol);
    if (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR))
        GUARD(flags & O_CREAT ? "create" : "open", directory, name, NULL);
    return real(directory, name, flags, mode);
}

#define MODE(flags)                   \
    mode_t mode = 0;                  \
    if (flags & O_CREAT) {              \
        va_list rest;                 \
        va_start(rest, flags);        \
        mode = va_arg(rest, mode_t);  \
        va_end(rest);                 \
    }

int open(const char *name, int flags, ...) { MODE(flags) return opened("openat", AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened("openat64", AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return opened("openat", at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return opened("openat64", at, name, flags, mode); }

#define ON_FD(symbol, call, declaration, arguments) \
    int symbol declaration { GUARD(call, fd, NULL, NULL); return REAL(symbol) arguments; }
#define ON_NAME(symbol, call, declaration, arguments) \
    int symbol declaration { GUARD(call, AT_FDCWD, name, NULL); return REAL(symbol) arguments; }
#define ON_NAME_AT(symbol, call, declaration, arguments) \
    int symbol declaration { GUARD(call, at, name, NULL); return REAL(symbol) arguments; }

ON_FD(fsync, "fsync", (int fd), (fd))
ON_FD(fdatasync, "fsync", (int fd), (fd))
ON_FD(ftruncate, "truncate", (int fd, off_t size), (fd, size))
ON_FD(ftruncate64, "truncate", (int fd, off64_t size), (fd, size))
ON_FD(fchmod, "chmod", (int fd, mode_t mode), (fd, mode))
ON_NAME(chmod, "chmod", (const char *name, mode_t mode), (name, mode))
ON_NAME(mkdir, "mkdir", (const char *name, mode_t mode), (name, mode))
ON_NAME(rmdir, "rmdir", (const char *name), (name))
ON_NAME(unlink, "unlink", (const char *name), (name))
ON_NAME_AT(mkdirat, "mkdir", (int at, const char *name, mode_t mode), (at, name, mode))
ON_NAME_AT(unlinkat, "unlink", (int at, const char *name, int flags), (at, name, flags))

int rename(const char *from, const char *to)
{
    GUARD("rename", AT_FDCWD, from, to);
    return REAL(rename)(from, to);
}

int renameat(int at, const char *from, int at_to, const char *to)
{
    GUARD("rename", at, from, to);
    return REAL(renameat)(at, from, at_to, to);
}
