/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first OPEN of a small object that was published: its bytes are put into the kernel's page cache before the answer, which costs a copy that has to be made
 * anyway and saves the round trip of a READ.
 *
 * What is put there must not be older than what somebody has written over it, and the kernel must not have to wait for a READ to put it there, or nobody might be
 * left to answer that. A published object is only changed by who opened it for writing or truncates it, and only read by who opened it, and the kernel lets none of
 * them begin before it has the answer. So these answers wait until no bytes of the node are on their way (tp_preload_await()), and bytes are taken only when
 * they are known to be on their way, from an object that is published still and not open elsewhere: whichever of the two comes first is seen by the other.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/list.h"

struct tp_fs;
struct tp_gen;
struct tp_request;

struct tp_preloads {
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	struct tp_list on_the_way; /* lock */
	_Atomic unsigned count;	   /* of them */
};

void tp_preloads_init(struct tp_preloads *p);
void tp_preloads_fini(struct tp_preloads *p);

/* r is the OPEN that opened g. True: the page cache has all of its bytes and nothing older. */
bool tp_preload(struct tp_fs *fs, struct tp_request *r, struct tp_gen *g);
/* Before r, after which node may be read or changed, is answered, and after the tree knows of it. */
void tp_preload_await(struct tp_fs *fs, struct tp_request *r, uint64_t node);
