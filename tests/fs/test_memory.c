/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/memory.h"
#include "fs/options.h"

#define GIB (UINT64_C(1) << 30)

/* A machine of 16 GiB made of files. */
static char root[64];

__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *fmt, ...)
{
	char name[512];
	va_list ap;
	FILE *f;

	(void)snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *c = name + strlen(root) + 1; *c; c++)
		if (*c == '/') {
			*c = 0;
			(void)mkdir(name, 0700);
			*c = '/';
		}
	f = fopen(name, "w");
	cr_assert(f, "%s", name);
	va_start(ap, fmt);
	(void)vfprintf(f, fmt, ap);
	va_end(ap);
	cr_assert_eq(fclose(f), 0);
}

static void make_machine(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/tidepool-memory.XXXXXX");
	cr_assert(mkdtemp(root));
	put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000 kB\n");
}

static void remove_machine(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
}

static uint64_t usable(void)
{
	char why[256];

	return tp_memory_usable(root, why, sizeof(why));
}

TestSuite(memory, .init = make_machine, .fini = remove_machine);

Test(memory, without_cgroups_it_is_the_machines)
{
	cr_assert_eq(usable(), 16 * GIB);
}

Test(memory, the_lowest_limit_of_a_v2_group_and_those_above_it_counts)
{
	char why[256];

	put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/proc/self/cgroup", "0::/a/b/c\n");
	put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
	put("/sys/fs/cgroup/a/b/memory.max", "%llu\n", 3ULL << 30);
	put("/sys/fs/cgroup/a/memory.max", "%llu\n", 8ULL << 30);
	cr_assert_eq(tp_memory_usable(root, why, sizeof(why)), 3 * GIB);
	cr_assert(strstr(why, "/a/b"), "%s", why);
}

Test(memory, a_container_sees_its_own_group_as_the_root)
{
	put("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/proc/self/cgroup", "0::/docker/abc\n");
	put("/sys/fs/cgroup/memory.max", "%llu\n", 2ULL << 30);
	cr_assert_eq(usable(), 2 * GIB);
}

Test(memory, v1_has_its_own_file_and_a_huge_number_for_no_limit)
{
	put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
				    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	put("/proc/self/cgroup", "4:cpu:/x\n3:memory:/jobs/7\n0::/\n");
	put("/sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes", "9223372036854771712\n");
	cr_assert_eq(usable(), 16 * GIB);
	put("/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "%llu\n", 1ULL << 30);
	cr_assert_eq(usable(), GIB);
}

Test(memory, the_pool_is_a_quarter_of_it_at_most_4g_and_never_more_than_it)
{
	struct tp_err err = {""};
	struct tp_options o;

	put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/proc/self/cgroup", "0::/a\n");
	put("/sys/fs/cgroup/a/memory.max", "%llu\n", 1ULL << 30);
	cr_assert_eq(tp_options_init(&o, &err), 0);
	cr_assert_eq(tp_options_finish(&o, root, &err), 0);
	cr_assert_eq(o.ram_bytes, GIB / 4);
	cr_assert(strstr(o.ram_why, "the limit of cgroup /a"), "%s", o.ram_why);
	o.ram_bytes = 2 * GIB;
	cr_assert_lt(tp_options_finish(&o, root, &err), 0);
	cr_assert(strstr(err.text, "more than this process may use, 1G"), "%s", err.text);
	put("/proc/meminfo", "MemTotal:       67108864 kB\n");
	put("/sys/fs/cgroup/a/memory.max", "max\n");
	o.ram_bytes = 0;
	cr_assert_eq(tp_options_finish(&o, root, &err), 0);
	cr_assert_eq(o.ram_bytes, 4 * GIB);
	tp_options_fini(&o);
}
