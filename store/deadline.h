/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due when: a heap of elements that carry their own place in it, so that each is there once and can be moved and taken out.
 * The owner's lock protects it: shared for tp_deadlines_first(), exclusively for the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what can be due; all zero at first. */
struct tp_deadline {
	uint32_t place; /* in the heap, from 1; 0: it is not there */
};

struct tp_due {
	uint64_t at;
	struct tp_deadline *deadline;
};

struct tp_deadlines {
	struct tp_due *heap;
	uint32_t count, max;
};

void tp_deadlines_init(struct tp_deadlines *h);
void tp_deadlines_fini(struct tp_deadlines *h);
/* d is due at `at`, and at no other time. -ENOMEM: never when it is there already. */
int tp_deadlines_set(struct tp_deadlines *h, struct tp_deadline *d, uint64_t at);
/* It is not due any more; it need not be there. */
void tp_deadlines_remove(struct tp_deadlines *h, struct tp_deadline *d);
/* What is due first, and when; NULL: nothing is. */
struct tp_deadline *tp_deadlines_first(const struct tp_deadlines *h, uint64_t *ret_at);
