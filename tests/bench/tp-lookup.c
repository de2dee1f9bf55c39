/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-lookup: what a look-up and an object cost in a store with many of them, without a mount.
 *
 *	tp-lookup --memory N	anonymous memory per object beside its name, with N objects of 16 bytes in one directory
 *	tp-lookup --lookups N	looks 10,000 of N names up; run by `valgrind --tool=callgrind --instr-atstart=no`, which counts only those
 *
 * One line of key=value words is printed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#endif

#include "store/file.h"
#include "store/store.h"
#include "store/tree.h"

#define LOOKUPS 10000u
#define NAME_BYTES 16

static char names[LOOKUPS][NAME_BYTES + 1];

static __attribute__((noreturn)) void die(const char *what, int error)
{
	(void)fprintf(stderr, "tp-lookup: %s: %s\n", what, strerror(-error));
	exit(1);
}

/* As long as every other: a hash of 64 bits in hexadecimal, as caches call their objects. */
static void name_of(unsigned i, char *ret_name)
{
	(void)snprintf(ret_name, NAME_BYTES + 1, "%016llx", (i + 1) * 0x9e3779b97f4a7c15ull);
}

static uint64_t anonymous_bytes(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
			break;
	}
	(void)fclose(f);
	return kib * 1024;
}

static void make(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name)
{
	char data[NAME_BYTES] = "sixteen bytes  ";
	struct iovec iov = {data, sizeof(data)};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = sizeof(data)};
	struct tp_opened opened;
	struct tp_entry entry;
	int r;

	r = tp_tree_create(t, who, parent, name, S_IFREG | 0644, O_WRONLY | O_CREAT, &entry, &opened);
	if (r)
		die("create", r);
	r = tp_file_write(t, who, opened.gen, &w);
	if (r)
		die("write", r);
	r = tp_file_flush(t, who, &opened);
	if (r)
		die("flush", r);
	tp_file_release(t, &opened, 0);
	/* The kernel forgets it again; what the kernel knows is its memory's business. */
	tp_tree_forget(t, entry.node, 1);
}

static void lookups(struct tp_tree *t, struct tp_who *who, uint64_t parent)
{
	struct tp_entry entry;

	for (unsigned i = 0; i < LOOKUPS; i++) {
		int r = tp_tree_lookup(t, who, parent, names[i], &entry);

		if (r)
			die("look-up", r);
	}
}

static void measure(unsigned objects, bool memory)
{
	struct tp_store_options options = {
		.pool = {.size_bytes = UINT64_C(256) << 20},
		.high_pct = 99,
		.low_pct = 98,
	};
	struct tp_who who = {.tid = getpid(), .tgid = getpid()};
	struct tp_store_info info;
	struct tp_entry directory;
	struct tp_store *s;
	struct tp_err err;
	char name[NAME_BYTES + 1];
	uint64_t before;
	int r;

	memset(&err, 0, sizeof(err));
	r = tp_store_open(&options, &err, &s, &info);
	if (r)
		die("open", r);
	r = tp_tree_make(s->tree, &who, TP_NODE_CACHE, "d", S_IFDIR | 0755, 0, NULL, &directory);
	if (r)
		die("mkdir", r);
	before = anonymous_bytes();
	for (unsigned i = 0; i < objects; i++) {
		name_of(i, name);
		make(s->tree, &who, directory.node, name);
	}
	if (memory) {
		double each = (double)(anonymous_bytes() - before) / objects - NAME_BYTES;

		(void)printf("memory objects=%u bytes_per_object=%.1f\n", objects, each);
	} else {
		for (unsigned i = 0; i < LOOKUPS; i++)
			name_of((unsigned)(i * UINT64_C(2654435761) % objects), names[i]);
		/* Once before, so that nothing is counted that only a first look-up does. */
		lookups(s->tree, &who, directory.node);
		CALLGRIND_START_INSTRUMENTATION;
		lookups(s->tree, &who, directory.node);
		CALLGRIND_STOP_INSTRUMENTATION;
		(void)printf("lookups objects=%u lookups=%u\n", objects, LOOKUPS);
	}
	r = tp_store_close(s);
	if (r)
		die("close", r);
}

int main(int argc, char **argv)
{
	unsigned objects = argc == 3 ? (unsigned)atoi(argv[2]) : 0;

	if (!objects || (strcmp(argv[1], "--memory") != 0 && strcmp(argv[1], "--lookups") != 0)) {
		(void)fputs("usage: tp-lookup --memory|--lookups OBJECTS\n", stderr);
		return 2;
	}
	measure(objects, strcmp(argv[1], "--memory") == 0);
	return 0;
}
