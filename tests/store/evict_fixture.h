/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the evictor: programs that wait for room, and many files at once.
 */
#pragma once

#include "tree_fixture.h"

/* A program that waits for room as the frontend lets it wait. */
struct waiting {
	struct tp_room_waiter room;
	_Atomic int called; /* 1: try again, 2: there will be none */
};

/* Begins to wait; quota_node as in struct tp_room_waiter. w stays until it is called or waits no more. */
void ask_room(struct fixture *f, struct waiting *w, uint64_t bytes, uint64_t quota_node);
/* For wait_until(), of a struct waiting. */
bool was_called(void *user);
/* Waits until the evictor says that there is room (true) or that there will be none. */
bool get_room(struct fixture *f, uint64_t bytes, uint64_t quota_node);
/* Writes a file and makes room for it when there is none. 0, or the error of the last try. */
int put_waiting(struct fixture *f, uint64_t parent, const char *name, size_t len, unsigned seed);
/* The name `what`i; valid until the fourth call from now. */
const char *numbered(const char *what, unsigned i);
/* Writes `what`0 to `what`count-1, of len bytes each. */
void fill(struct fixture *f, uint64_t parent, const char *what, unsigned count, size_t len);
/* How many of `what`0 to `what`max-1 are there. */
unsigned count_names(struct fixture *f, uint64_t parent, const char *what, unsigned max);
