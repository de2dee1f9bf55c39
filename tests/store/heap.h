/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets the Nth allocation of the code under test fail. The tests are linked so that malloc, calloc and realloc as
 * called from our own objects come here first; what shared libraries allocate is left alone.
 *
 * The usual loop: for (n = 1;; n++) { heap_fail_at(n); r = call(); if (!heap_fail_off()) break; check that r is
 * -ENOMEM and that nothing changed }.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The nth allocation of this thread from now on fails (1: the next one). */
void heap_fail_at(unsigned n);
/* Switches that off. Says whether an allocation did fail. */
bool heap_fail_off(void);
/* The bytes that this thread asked for so far; what was freed is not taken off. */
uint64_t heap_asked_bytes(void);
/* How many allocations this thread made so far. */
uint64_t heap_asked_count(void);
