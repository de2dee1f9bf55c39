/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clean-up of locals at the end of their scope, and locks that are held for a scope.
 *
 * A local that owns memory or a descriptor is declared with tp_autofree or tp_autoclose and given away with
 * tp_steal_ptr() or tp_steal_fd() when all went well. A lock is taken for the rest of the block with TP_LOCK,
 * TP_RDLOCK or TP_WRLOCK.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void tp_cleanup_free(void *p)
{
	free(*(void **)p);
}

/* Closes fd unless it is negative, keeps errno, returns -1 so that `fd = tp_close(fd)` reads well. */
static inline int tp_close(int fd)
{
	if (fd >= 0) {
		int keep = errno;
		int r = close(fd);

		assert(r == 0 || errno != EBADF);
		(void)r;
		errno = keep;
	}
	return -1;
}

static inline void tp_cleanup_close(int *fd)
{
	*fd = tp_close(*fd);
}

#define tp_autofree __attribute__((cleanup(tp_cleanup_free)))
#define tp_autoclose __attribute__((cleanup(tp_cleanup_close)))

#define tp_steal_ptr(p)                                                                                      \
	({                                                                                                   \
		__typeof__(p) tp_stolen = (p);                                                               \
		(p) = NULL;                                                                                  \
		tp_stolen;                                                                                   \
	})

static inline int tp_steal_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

/* A thread that sleeps for a lock, and must be woken by another processor, waits many times longer than our locks are held. */
#define TP_SPINS 100

static inline void tp_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline pthread_mutex_t *tp_mutex_hold(pthread_mutex_t *m)
{
	int r = EBUSY;

	for (unsigned i = 0; i < TP_SPINS && (r = pthread_mutex_trylock(m)) == EBUSY; i++)
		tp_pause();
	if (r == EBUSY)
		r = pthread_mutex_lock(m);

	assert(r == 0);
	(void)r;
	return m;
}

static inline void tp_mutex_drop(pthread_mutex_t **m)
{
	int r = pthread_mutex_unlock(*m);

	assert(r == 0);
	(void)r;
}

static inline pthread_rwlock_t *tp_rwlock_hold_read(pthread_rwlock_t *l)
{
	int r = EBUSY;

	for (unsigned i = 0; i < TP_SPINS && (r = pthread_rwlock_tryrdlock(l)) == EBUSY; i++)
		tp_pause();
	if (r == EBUSY)
		r = pthread_rwlock_rdlock(l);

	assert(r == 0);
	(void)r;
	return l;
}

static inline pthread_rwlock_t *tp_rwlock_hold_write(pthread_rwlock_t *l)
{
	int r = EBUSY;

	for (unsigned i = 0; i < TP_SPINS && (r = pthread_rwlock_trywrlock(l)) == EBUSY; i++)
		tp_pause();
	if (r == EBUSY)
		r = pthread_rwlock_wrlock(l);

	assert(r == 0);
	(void)r;
	return l;
}

static inline void tp_rwlock_drop(pthread_rwlock_t **l)
{
	int r = pthread_rwlock_unlock(*l);

	assert(r == 0);
	(void)r;
}

#define TP_CAT2(a, b) a##b
#define TP_CAT(a, b) TP_CAT2(a, b)

#define TP_LOCK(m)                                                                                           \
	__attribute__((cleanup(tp_mutex_drop), unused)) pthread_mutex_t *TP_CAT(tp_held_, __LINE__) =        \
		tp_mutex_hold(m)
#define TP_RDLOCK(l)                                                                                         \
	__attribute__((cleanup(tp_rwlock_drop), unused)) pthread_rwlock_t *TP_CAT(tp_held_, __LINE__) =      \
		tp_rwlock_hold_read(l)
#define TP_WRLOCK(l)                                                                                         \
	__attribute__((cleanup(tp_rwlock_drop), unused)) pthread_rwlock_t *TP_CAT(tp_held_, __LINE__) =      \
		tp_rwlock_hold_write(l)
