/*
 * The engine opens files by path; a jailed worker has descriptors and no file
 * system. The linker sends the C library's path calls through the wrappers below
 * (see vfs.go): paths below /sandgate/ are answered from a table of descriptors
 * the worker was handed, every other path goes to the C library, where the jail
 * answers it.
 */
#define _GNU_SOURCE
#include "vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "/sandgate/"
#define SLOTS 64
#define PATHLEN 128

struct slot {
	char path[PATHLEN]; /* empty: spare */
	int fd;
	int writable;
	int used;
};

static struct slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int __real_open(const char *path, int flags, ...);
int __real_access(const char *path, int mode);
int __real_unlink(const char *path);
int __real_remove(const char *path);
int __real_rename(const char *from, const char *to);

static int ours(const char *path)
{
	return path != NULL && strncmp(path, PREFIX, sizeof(PREFIX) - 1) == 0;
}

static int root(const char *path)
{
	return path != NULL && (strcmp(path, "/sandgate") == 0 || strcmp(path, PREFIX) == 0);
}

/*
 * The engine sizes itself from /proc and /sys unless told, and aborts when a
 * file there exists but is refused, as Landlock alone does. It is always told.
 */
static int hidden(const char *path)
{
	if (path == NULL || (strncmp(path, "/proc/", 6) != 0 && strncmp(path, "/sys/", 5) != 0))
		return 0;
	errno = ENOENT;
	return 1;
}

/* Callers hold the lock. */
static struct slot *find(const char *path)
{
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].used && strcmp(slots[i].path, path) == 0)
			return &slots[i];
	return NULL;
}

int sandgate_vfs_bind(const char *path, int fd, int writable)
{
	int result = -1;
	if (strlen(path) >= PATHLEN)
		return -1;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < SLOTS; i++) {
		if (slots[i].used)
			continue;
		strcpy(slots[i].path, path);
		slots[i].fd = fd;
		slots[i].writable = writable;
		slots[i].used = 1;
		result = 0;
		break;
	}
	pthread_mutex_unlock(&lock);
	return result;
}

static int open_slot(const char *path, int flags)
{
	int fd = -1, fresh = 0;
	int wants_write = (flags & O_ACCMODE) != O_RDONLY;
	struct slot *s = find(path);

	if (s == NULL) {
		if (!(flags & O_CREAT)) {
			errno = ENOENT;
			return -1;
		}
		s = find("");
		if (s == NULL || strlen(path) >= PATHLEN) {
			errno = ENOSPC;
			return -1;
		}
		fresh = 1;
	} else if ((flags & O_CREAT) && (flags & O_EXCL)) {
		errno = EEXIST;
		return -1;
	}
	if (wants_write && !s->writable) {
		errno = EROFS;
		return -1;
	}
	if ((fresh || (flags & O_TRUNC)) && s->writable && ftruncate(s->fd, 0) != 0)
		return -1;
	fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	lseek(fd, 0, SEEK_SET);
	if (fresh)
		strcpy(s->path, path);
	return fd;
}

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	int fd;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_list args;
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	if (hidden(path))
		return -1;
	if (!ours(path))
		return __real_open(path, flags, mode);
	pthread_mutex_lock(&lock);
	fd = open_slot(path, flags);
	pthread_mutex_unlock(&lock);
	return fd;
}

int __wrap_access(const char *path, int mode)
{
	int known;

	if (root(path))
		return 0;
	if (hidden(path))
		return -1;
	if (!ours(path))
		return __real_access(path, mode);
	pthread_mutex_lock(&lock);
	known = find(path) != NULL;
	pthread_mutex_unlock(&lock);
	if (known)
		return 0;
	errno = ENOENT;
	return -1;
}

static int stat_slot(const char *path, struct stat *out)
{
	struct slot *s;
	int result = -1;

	if (root(path)) {
		memset(out, 0, sizeof(*out));
		out->st_mode = S_IFDIR | 0700;
		return 0;
	}
	pthread_mutex_lock(&lock);
	s = find(path);
	if (s != NULL)
		result = fstat(s->fd, out);
	else
		errno = ENOENT;
	pthread_mutex_unlock(&lock);
	return result;
}

/* The engine's library was built against a C library that had stat as __xstat. */
int __wrap___xstat(int version, const char *path, struct stat *out)
{
	(void)version;
	if (hidden(path))
		return -1;
	return ours(path) || root(path) ? stat_slot(path, out) : stat(path, out);
}

int __wrap___lxstat(int version, const char *path, struct stat *out)
{
	(void)version;
	if (hidden(path))
		return -1;
	return ours(path) || root(path) ? stat_slot(path, out) : lstat(path, out);
}

/* A removed file becomes a spare again. */
static int drop(const char *path)
{
	int result = -1;
	struct slot *s;

	pthread_mutex_lock(&lock);
	s = find(path);
	if (s == NULL) {
		errno = ENOENT;
	} else if (!s->writable) {
		errno = EROFS;
	} else {
		s->path[0] = '\0';
		result = ftruncate(s->fd, 0);
	}
	pthread_mutex_unlock(&lock);
	return result;
}

int __wrap_unlink(const char *path)
{
	return ours(path) ? drop(path) : __real_unlink(path);
}

int __wrap_remove(const char *path)
{
	return ours(path) ? drop(path) : __real_remove(path);
}

/* The snapshot's own slot is what the gateway reads: its name never moves. */
int __wrap_rename(const char *from, const char *to)
{
	struct slot *source, *target;
	int result = -1;

	if (!ours(from) && !ours(to))
		return __real_rename(from, to);
	pthread_mutex_lock(&lock);
	source = find(from);
	target = find(to);
	if (source == NULL || strlen(to) >= PATHLEN || *to == '\0') {
		errno = ENOENT;
	} else if (!source->writable || target != NULL) {
		errno = EROFS;
	} else {
		strcpy(source->path, to);
		result = 0;
	}
	pthread_mutex_unlock(&lock);
	return result;
}
