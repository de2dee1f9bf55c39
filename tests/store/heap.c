/* SPDX-License-Identifier: Apache-2.0 */
#include "heap.h"

#include <errno.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static __thread unsigned fail_in; /* 0: not armed */
static __thread bool failed;
static __thread uint64_t asked_bytes, asked_count;

void heap_fail_at(unsigned n)
{
	fail_in = n;
	failed = false;
}

bool heap_fail_off(void)
{
	fail_in = 0;
	return failed;
}

uint64_t heap_asked_bytes(void)
{
	return asked_bytes;
}

uint64_t heap_asked_count(void)
{
	return asked_count;
}

static bool fails(size_t size)
{
	asked_bytes += size;
	asked_count++;
	if (!fail_in || --fail_in)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails(count * size) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails(size) ? NULL : __real_realloc(old, size);
}

/* The test framework's own, of its timers: asked for by LeakSanitizer where that is linked. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libcriterion\n";
}
