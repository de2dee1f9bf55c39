/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cases make and look at: files of every type, their bytes, their times.
 *
 * Every function here checks what it does: when it does not succeed, the case has failed and its process ends.
 */
#pragma once

#include "case.h"

enum tp_type {
	TP_FILE,
	TP_DIR,	 /* empty */
	TP_FULL, /* a directory with the file "in" in it */
	TP_LINK, /* to a file of the case's directory that exists */
	TP_DANGLING,
	TP_FIFO,
	TP_SOCKET,
	TP_CHAR,  /* root only */
	TP_BLOCK, /* root only */
	TP_TYPES,
	TP_MISSING = TP_TYPES, /* for tables: nothing there */
};

/* "file", "dir" and so on, for names of cases. */
const char *tp_type_name(enum tp_type type);
/* The S_IFMT bits that lstat shows. */
mode_t tp_type_mode(enum tp_type type);
bool tp_type_is_dir(enum tp_type type);
/* TP_ROOT for device nodes. */
enum tp_case_who tp_type_who(enum tp_type type);

/* Makes one of this type; path is spelled already. Nothing is made for TP_MISSING. */
void tp_make(enum tp_type type, const char *path);
/* Asserts that path is of this type, or missing. */
void tp_type_check(enum tp_type type, const char *path);

void tp_touch(const char *path);
void tp_mkdir(const char *path);
/* A file with these bytes, created or overwritten, and closed. */
void tp_put(const char *path, const void *bytes, size_t size);
/* The same with an other mode and owner, whatever the umask says. */
void tp_put_as(const char *path, mode_t mode, uid_t uid, gid_t gid);
void tp_mkdir_as(const char *path, mode_t mode, uid_t uid, gid_t gid);

struct stat tp_stat(const char *path); /* lstat */
struct stat tp_fstat(int fd);
bool tp_exists(const char *path);

/* Byte i of a file of the pattern seed. */
unsigned char tp_pattern(unsigned seed, uint64_t i);
void tp_pattern_fill(unsigned char *buf, size_t size, unsigned seed, uint64_t offset);
/* Asserts that size bytes at offset of fd are the pattern, or zeros when seed is 0. */
void tp_pattern_check(int fd, uint64_t offset, size_t size, unsigned seed);
void tp_pattern_write(int fd, uint64_t offset, size_t size, unsigned seed);

/*
 * Gives path old times (2001) and waits until the clock that stamps changes has moved on, at most a few ms, so that
 * a later change shows. Returns what stat shows then.
 */
struct stat tp_times_age(const char *path);

enum { TP_MTIME = 1, TP_CTIME = 2, TP_NO_TIME = 0, TP_BOTH = 3 };

/* Those of mtime and ctime that are in moved are later than in before, and not in the future; the others are as they were. */
#define TIMES(path, before, moved) tp_times_check(path, before, moved, __FILE__, __LINE__)
void tp_times_check(const char *path, const struct stat *before, unsigned moved, const char *file, int line);
