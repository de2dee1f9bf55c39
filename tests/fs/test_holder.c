/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../store/heap.h"
#include "fs/holder.h"
#include "store/cleanup.h"

/* The mount and the inode number of fd, as the kernel has them. */
static unsigned mount_of(int fd, uint64_t *ret_ino)
{
	char path[48], line[128];
	unsigned id = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	cr_assert(f);
	*ret_ino = 0;
	while (*ret_ino == 0 && fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "mnt_id: %u", &id);
		(void)sscanf(line, "ino: %" SCNu64, ret_ino);
	}
	(void)fclose(f);
	if (*ret_ino == 0)
		cr_skip_test("this kernel does not tell the inode number of a descriptor");
	return id;
}

/* A process that has of a file a descriptor for reading and one for writing, and of another only one for reading. */
static pid_t hold(const char *both, const char *one, int a, int b)
{
	int ready[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(a);
		(void)close(b);
		if (open(one, O_RDONLY) < 0 || open(both, O_RDONLY) < 0 || open(both, O_WRONLY) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	cr_assert_eq(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	return pid;
}

Test(holder, who_has_a_file_open_is_found_and_whether_it_writes)
{
	char both[] = "/tmp/tp-holder-XXXXXX", one[] = "/tmp/tp-holder-XXXXXX";
	tp_autoclose int a = mkstemp(both), b = mkstemp(one);
	struct tp_holders h;
	const struct tp_holder *found;
	uint64_t ino_a, ino_b;
	unsigned mount = mount_of(a, &ino_a);
	pid_t pid;

	(void)mount_of(b, &ino_b);
	pid = hold(both, one, a, b);
	cr_assert_eq(tp_holders_find(mount, &h), 0);
	found = tp_holders_get(&h, ino_a, pid);
	cr_assert(found && found->pid == pid && found->writes);
	found = tp_holders_get(&h, ino_b, pid);
	cr_assert(found && found->pid == pid && !found->writes);
	/* Another that has it not is told of the one that has. */
	found = tp_holders_get(&h, ino_b, 1);
	cr_assert(found && found->pid == pid);
	tp_holders_fini(&h);
	cr_assert_eq(tp_holders_find(0, &h), 0);
	cr_assert_eq(h.count, 0);

	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	cr_assert_eq(tp_holders_find(mount, &h), 0);
	cr_assert_null(tp_holders_get(&h, ino_a, pid));
	tp_holders_fini(&h);
	(void)unlink(both);
	(void)unlink(one);
}

Test(holder, without_memory_it_says_so)
{
	struct tp_holders h = {0};
	unsigned n;

	for (n = 1;; n++) {
		int r;

		heap_fail_at(n);
		r = 0;
		for (pid_t pid = 1; r == 0 && pid < 40; pid++)
			r = tp_holders_add(&h, 7, pid, false);
		if (!heap_fail_off())
			break;
		cr_assert_eq(r, -ENOMEM);
		tp_holders_fini(&h);
	}
	cr_assert_eq(n, 4);
	cr_assert_eq(h.count, 39);
	cr_assert_eq(tp_holders_add(&h, 7, 39, true), 0);
	cr_assert_eq(h.count, 39);
	cr_assert(tp_holders_get(&h, 7, 39)->writes);
	tp_holders_fini(&h);
}
