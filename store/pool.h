/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory pool: a set of arenas, each one mapping, divided into pages of 4 KiB and, for tails and small objects,
 * into slots of a multiple of 64 bytes.
 *
 * Pages are numbered across arenas from 1 (0 means none), and a number is left out after each arena: numbers in a row are
 * memory in a row, so tp_pool_at() of the first page of a run is good for the whole run. All functions may be called from any thread.
 *
 * Errors: -ENOSPC when there are not enough free pages (nothing was taken), -ENOMEM when the heap is exhausted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/errtext.h"

#define TP_PAGE_BYTES 4096u
#define TP_SLOT_UNIT_BYTES 64u
/* Bytes that a slot can hold at most; more takes a page. */
#define TP_SLOT_BYTES_MAX 3072u

enum tp_hugepages { TP_HUGEPAGES_TRY, TP_HUGEPAGES_OFF, TP_HUGEPAGES_REQUIRE };

struct tp_pool_options {
	uint64_t
		size_bytes; /* of the anonymous arena, or of all files together when given; rounded down to pages */
	/*
	 * Files on tmpfs or hugetlbfs that back it, NULL-terminated; NULL: one anonymous memfd. They must be there and
	 * are locked against other processes. With size_bytes 0 each gives its own size; else each gives an equal
	 * share of size_bytes and is made longer when it is too short.
	 */
	const char *const *paths;
	enum tp_hugepages hugepages;
	bool prefault; /* touch all pages from a thread of low priority in the background */
};

/* Some pages in a row, all in one arena. */
struct tp_run {
	uint32_t page;
	uint32_t pages;
};

struct tp_pool_usage {
	uint64_t size_bytes;	  /* all arenas */
	uint64_t free_bytes;	  /* in free pages */
	uint64_t slot_bytes;	  /* handed out in slots */
	uint64_t slot_page_bytes; /* pages that are cut into slots, whole */
	uint64_t prefaulted_bytes;
	uint32_t arenas;
	bool huge; /* at least one arena lies in huge pages */
};

struct tp_pool;

/* Fills err and returns -EINVAL, -ENOMEM or the errno of the call that failed. */
int tp_pool_new(const struct tp_pool_options *options, struct tp_err *err, struct tp_pool **ret);
/* Everything must have been given back, or is forgotten. NULL is allowed. */
void tp_pool_free(struct tp_pool *p);

/*
 * Takes `pages` pages in at most runs_max runs: contiguous if possible, else scattered in one arena, else across
 * arenas; all or nothing. -ENOSPC also when they are too scattered for runs_max. 0 < pages.
 */
int tp_pool_get(
	struct tp_pool *p, uint32_t pages, struct tp_run *runs, unsigned runs_max, unsigned *ret_runs);
/* Gives pages back; pages of the range that are free already stay so and are counted (idempotent). */
void tp_pool_put(struct tp_pool *p, uint32_t page, uint32_t pages);
/* The address of a page's first byte; valid for the rest of its run. */
void *tp_pool_at(const struct tp_pool *p, uint32_t page);

/*
 * Takes a slot for 1 to TP_SLOT_BYTES_MAX bytes. A slot is named by its address in units of TP_SLOT_UNIT_BYTES
 * from the start of page 0 (so slot / 64 is its page). At most an eighth stays unused on average.
 */
int tp_pool_get_slot(struct tp_pool *p, uint32_t bytes, uint64_t *ret_slot);
/* bytes: what it was taken with. A slot that is free already stays so and is counted (idempotent). */
void tp_pool_put_slot(struct tp_pool *p, uint64_t slot, uint32_t bytes);
void *tp_pool_slot_at(const struct tp_pool *p, uint64_t slot);
/* The bytes that a slot for `bytes` really occupies. */
uint32_t tp_pool_slot_size(uint32_t bytes);

/* Cheap, without a lock: free pages at some moment. */
uint64_t tp_pool_free_pages(const struct tp_pool *p);
uint64_t tp_pool_size_pages(const struct tp_pool *p);
void tp_pool_usage(struct tp_pool *p, struct tp_pool_usage *ret);
/* Pages and slots that were given back though they were free. Anything but 0 is a fault of ours. */
uint64_t tp_pool_double_frees(const struct tp_pool *p);

/* 4 KiB of zeroes that are never written: what holes read as. */
extern const unsigned char tp_zero_page[TP_PAGE_BYTES];
