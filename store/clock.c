/* SPDX-License-Identifier: Apache-2.0 */
#include "store/clock.h"

static uint64_t read_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * TP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t system_wall_ns(const struct tp_clock *c)
{
	return read_ns(CLOCK_REALTIME);
}

static uint64_t system_mono_ns(const struct tp_clock *c)
{
	return read_ns(CLOCK_MONOTONIC);
}

const struct tp_clock *tp_clock_system(void)
{
	static const struct tp_clock clock = {.wall_ns = system_wall_ns, .mono_ns = system_mono_ns};

	return &clock;
}
