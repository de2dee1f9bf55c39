/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A doubly linked list whose links lie in the elements. A head is a tp_list that points to itself when the list
 * is empty; an element that is in no list points to itself as well, so that removing it twice is harmless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct tp_list {
	struct tp_list *next, *prev;
};

static inline void tp_list_init(struct tp_list *l)
{
	l->next = l->prev = l;
}

static inline bool tp_list_empty(const struct tp_list *l)
{
	return l->next == l;
}

static inline void tp_list_insert_after(struct tp_list *at, struct tp_list *e)
{
	e->next = at->next;
	e->prev = at;
	at->next->prev = e;
	at->next = e;
}

static inline void tp_list_push_front(struct tp_list *head, struct tp_list *e)
{
	tp_list_insert_after(head, e);
}

static inline void tp_list_push_back(struct tp_list *head, struct tp_list *e)
{
	tp_list_insert_after(head->prev, e);
}

static inline void tp_list_remove(struct tp_list *e)
{
	e->next->prev = e->prev;
	e->prev->next = e->next;
	tp_list_init(e);
}

/* All of from comes before what is in head, in its order; from is empty then. */
static inline void tp_list_splice_front(struct tp_list *head, struct tp_list *from)
{
	if (tp_list_empty(from))
		return;
	from->next->prev = head;
	from->prev->next = head->next;
	head->next->prev = from->prev;
	head->next = from->next;
	tp_list_init(from);
}

#define tp_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define tp_list_each(pos, head) for (struct tp_list *pos = (head)->next; pos != (head); pos = pos->next)
/* The body may remove pos. */
#define tp_list_each_safe(pos, head)                                                                         \
	for (struct tp_list *pos = (head)->next, *tp_list_next = pos->next; pos != (head);                   \
		pos = tp_list_next, tp_list_next = pos->next)
