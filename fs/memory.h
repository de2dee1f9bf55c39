/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory this process may use: the machine's, or less where a control group (v1 or v2, its own or one above) says so.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Returns the bytes, 0 when nothing could be read. root stands before /proc and /sys ("" for the real ones, another one in
 * tests). why gets half a sentence on what decided: "the machine's memory", "the limit of cgroup /a/b".
 */
uint64_t tp_memory_usable(const char *root, char *why, size_t why_len);
