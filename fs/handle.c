/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "store/cleanup.h"

void tp_handles_init(struct tp_handles *h)
{
	(void)pthread_mutex_init(&h->lock, NULL);
	for (unsigned i = 0; i < TP_HANDLE_BLOCKS_MAX; i++)
		atomic_init(&h->blocks[i], NULL);
	h->blocks_count = 0;
	h->free = 0;
	atomic_init(&h->used, 0);
}

void tp_handles_fini(struct tp_handles *h)
{
	for (unsigned i = 0; i < h->blocks_count; i++)
		free(atomic_load(&h->blocks[i]));
	(void)pthread_mutex_destroy(&h->lock);
}

static struct tp_handle *at(struct tp_handles *h, uint32_t place)
{
	struct tp_handle *block =
		atomic_load_explicit(&h->blocks[place / TP_HANDLE_BLOCK], memory_order_acquire);

	return block ? &block[place % TP_HANDLE_BLOCK] : NULL;
}

static int grow(struct tp_handles *h)
{
	struct tp_handle *block;
	uint32_t first = h->blocks_count * TP_HANDLE_BLOCK;

	if (h->blocks_count == TP_HANDLE_BLOCKS_MAX)
		return -ENFILE;
	block = calloc(TP_HANDLE_BLOCK, sizeof(*block));
	if (!block)
		return -ENOMEM;
	for (uint32_t i = 0; i < TP_HANDLE_BLOCK; i++) {
		block[i].number = first + i;
		block[i].next_free = i + 1 < TP_HANDLE_BLOCK ? first + i + 2 : 0;
	}
	h->free = first + 1;
	/* Seen by who gets a number of it, and that comes by way of the kernel. */
	atomic_store_explicit(&h->blocks[h->blocks_count++], block, memory_order_release);
	return 0;
}

int tp_handle_new(
	struct tp_handles *h, enum tp_handle_kind kind, uint64_t node, pid_t pid, struct tp_handle **ret)
{
	struct tp_handle *handle;
	TP_LOCK(&h->lock);

	if (h->free == 0) {
		int r = grow(h);

		if (r < 0)
			return r;
	}
	handle = at(h, h->free - 1);
	h->free = handle->next_free;
	h->used++;
	handle->number += UINT64_C(1) << 32;
	handle->kind = kind;
	handle->node = node;
	handle->pid = pid;
	handle->control = NULL;
	handle->drops = false;
	*ret = handle;
	return 0;
}

uint64_t tp_handle_ready(struct tp_handle *handle)
{
	atomic_store_explicit(&handle->ready, handle->number, memory_order_release);
	return handle->number;
}

void tp_handle_free(struct tp_handles *h, struct tp_handle *handle)
{
	TP_LOCK(&h->lock);
	atomic_store_explicit(&handle->ready, 0, memory_order_relaxed);
	handle->kind = TP_HANDLE_FREE;
	handle->next_free = h->free;
	h->free = (uint32_t)handle->number + 1;
	h->used--;
}

struct tp_handle *tp_handle_get(struct tp_handles *h, uint64_t number, enum tp_handle_kind kind)
{
	uint32_t place = (uint32_t)number;
	struct tp_handle *handle;

	if (place / TP_HANDLE_BLOCK >= TP_HANDLE_BLOCKS_MAX)
		return NULL;
	handle = at(h, place);
	if (!handle || number == 0 || atomic_load_explicit(&handle->ready, memory_order_acquire) != number)
		return NULL;
	return handle->kind == kind ? handle : NULL;
}

void tp_handles_each(struct tp_handles *h, void (*each)(struct tp_handle *handle, void *user), void *user)
{
	TP_LOCK(&h->lock);
	for (uint32_t i = 0; i < h->blocks_count * TP_HANDLE_BLOCK; i++)
		if (at(h, i)->kind != TP_HANDLE_FREE)
			each(at(h, i), user);
}
