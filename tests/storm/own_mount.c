/* SPDX-License-Identifier: Apache-2.0 */
#include "own_mount.h"

#include <stdio.h>
#include <stdlib.h>

#define POOL_BYTES (32u << 20)

static void *serve(void *arg)
{
	struct own_mount *m = arg;

	(void)tp_session_serve(m->session);
	return NULL;
}

bool own_mount_start(struct own_mount *m, const char *program, const char *mountpoint,
	void (*handle)(struct tp_request *r, void *user))
{
	struct tp_pool_options pool_options = {.size_bytes = POOL_BYTES, .hugepages = TP_HUGEPAGES_OFF};
	struct tp_session_options options = {
		.mountpoint = mountpoint, .stats = &m->stats, .ops = &m->ops, .fuse_options = "fsname=test"};
	struct tp_err err = {""};

	*m = (struct own_mount){.ops = {.handle = handle}};
	if (tp_pool_new(&pool_options, &err, &m->pool) < 0) {
		(void)fprintf(stderr, "%s: %s\n", program, err.text);
		return false;
	}
	options.pool = m->pool;
	if (tp_session_new(&options, &err, &m->session) < 0) {
		(void)fprintf(stderr, "%s: %s\n", program, err.text);
		tp_pool_free(m->pool);
		return false;
	}
	if (pthread_create(&m->server, NULL, serve, m) != 0)
		abort();
	return true;
}

void own_mount_end(struct own_mount *m)
{
	tp_session_stop(m->session);
	(void)pthread_join(m->server, NULL);
	tp_session_free(m->session);
	tp_pool_free(m->pool);
}
