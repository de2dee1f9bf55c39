/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>

#include "store/cleanup.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(cleanup, a_descriptor_is_closed_at_the_end_of_its_scope_unless_stolen)
{
	int lost, kept;

	{
		tp_autoclose int a = open("/dev/null", O_RDONLY | O_CLOEXEC);
		tp_autoclose int b = open("/dev/null", O_RDONLY | O_CLOEXEC);

		cr_assert(a >= 0 && b >= 0);
		lost = a;
		kept = tp_steal_fd(&b);
		cr_assert_eq(b, -1);
	}
	cr_assert_not(is_open(lost));
	cr_assert(is_open(kept));
	errno = ENOENT;
	kept = tp_close(kept);
	cr_assert_eq(kept, -1);
	cr_assert_eq(errno, ENOENT);
}

static char *filled(bool steal)
{
	tp_autofree char *text = strdup("text");

	return steal ? tp_steal_ptr(text) : NULL;
}

Test(cleanup, memory_is_freed_at_the_end_of_its_scope_unless_stolen)
{
	char *text = filled(true);

	cr_assert_str_eq(text, "text");
	free(text);
	cr_assert_null(filled(false));
}

Test(cleanup, locks_are_held_for_the_rest_of_the_block)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;

	{
		TP_LOCK(&m);
		TP_RDLOCK(&l);
		cr_assert_eq(pthread_mutex_trylock(&m), EBUSY);
		cr_assert_eq(pthread_rwlock_trywrlock(&l), EBUSY);
	}
	cr_assert_eq(pthread_mutex_trylock(&m), 0);
	cr_assert_eq(pthread_mutex_unlock(&m), 0);
	{
		TP_WRLOCK(&l);
		cr_assert_neq(pthread_rwlock_tryrdlock(&l), 0);
	}
	cr_assert_eq(pthread_rwlock_trywrlock(&l), 0);
	cr_assert_eq(pthread_rwlock_unlock(&l), 0);
}
