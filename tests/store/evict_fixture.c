/* SPDX-License-Identifier: Apache-2.0 */
#include "evict_fixture.h"

#include <stdio.h>

static void ready(struct tp_room_waiter *w, bool last)
{
	tp_container(w, struct waiting, room)->called = last ? 2 : 1;
}

bool was_called(void *user)
{
	return ((struct waiting *)user)->called != 0;
}

void ask_room(struct fixture *f, struct waiting *w, uint64_t bytes, uint64_t quota_node)
{
	*w = (struct waiting){.room = {.bytes = bytes, .quota_node = quota_node, .ready = ready}};
	tp_list_init(&w->room.link);
	tp_evictor_wait(f->store->evictor, &w->room);
}

bool get_room(struct fixture *f, uint64_t bytes, uint64_t quota_node)
{
	struct waiting w;

	ask_room(f, &w, bytes, quota_node);
	wait_until(was_called, &w);
	return w.called == 1;
}

int put_waiting(struct fixture *f, uint64_t parent, const char *name, size_t len, unsigned seed)
{
	tp_autofree unsigned char *bytes = bytes_of(len, seed);
	struct iovec iov = {bytes, len};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = len};
	struct file file;
	unsigned tried = 0;
	int r = file_open(f, &f->me, parent, name, O_WRONLY | O_CREAT | O_TRUNC, &file), closed;

	if (r < 0)
		return r;
	while ((r = tp_file_write(f->tree, &file.who, file.opened.gen, &w)) == -ENOSPC || r == -EDQUOT) {
		uint64_t quota_node = r == -EDQUOT ? tp_file_quota_node(f->tree, file.opened.gen, 0, len) : 0;

		if (w.last_try)
			break;
		w.last_try = !get_room(f, tp_file_room_bytes(len, tried++), quota_node);
	}
	closed = file_close(f, &file);
	return r < 0 ? r : closed;
}

const char *numbered(const char *what, unsigned i)
{
	static char names[4][32];
	static unsigned turn;
	char *name = names[turn++ % 4];

	(void)snprintf(name, sizeof(names[0]), "%s%u", what, i);
	return name;
}

void fill(struct fixture *f, uint64_t parent, const char *what, unsigned count, size_t len)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(put_waiting(f, parent, numbered(what, i), len, i), 0);
}

unsigned count_names(struct fixture *f, uint64_t parent, const char *what, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < max; i++)
		n += sees(f, &f->me, parent, numbered(what, i));
	return n;
}
