/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caches that are compared: each holds objects of one trace, by their number, and no more bytes than it may.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace.h"

struct policy {
	const char *name;
	/* The trace must live as long as the cache. */
	void *(*new)(const struct trace *t, uint64_t size_kib);
	void (*free)(void *cache);
	bool (*has)(const void *cache, uint32_t id);
	/* Of one that it has. */
	void (*use)(void *cache, uint32_t id);
	/* Of one that it does not have; what is larger than the whole cache is not taken in. */
	void (*insert)(void *cache, uint32_t id);
};

extern const struct policy policy_lru, policy_s3fifo, policy_arc, policy_ours;
