/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time and randomness behind a table, so that tests own them. Everything that asks for the time asks a clock.
 */
#pragma once

#include <stdint.h>
#include <time.h>

struct tp_clock {
	/* Wall time, nanoseconds since 1970: what stat shows. */
	uint64_t (*wall_ns)(const struct tp_clock *c);
	/* Time that only grows, nanoseconds: what deadlines and ages are measured with. */
	uint64_t (*mono_ns)(const struct tp_clock *c);
	void *user; /* the test's own */
};

#define TP_NS_PER_S UINT64_C(1000000000)
#define TP_NS_PER_MS UINT64_C(1000000)

/* The machine's own clock. */
const struct tp_clock *tp_clock_system(void);

static inline uint64_t tp_wall_ns(const struct tp_clock *c)
{
	return c->wall_ns(c);
}

static inline uint64_t tp_mono_ns(const struct tp_clock *c)
{
	return c->mono_ns(c);
}
