/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount of the test's own: our session with the test's handler, which sees what the kernel asks, and when.
 */
#pragma once

#include <pthread.h>

#include "fs/session.h"

struct own_mount {
	struct tp_session *session;
	/* The rest is own_mount.c's. */
	struct tp_pool *pool;
	struct tp_stats stats;
	struct tp_session_ops ops;
	pthread_t server;
};

/* False: it said why, as `program`. m stays where it is until own_mount_end(). */
bool own_mount_start(struct own_mount *m, const char *program, const char *mountpoint,
	void (*handle)(struct tp_request *r, void *user));
void own_mount_end(struct own_mount *m);
