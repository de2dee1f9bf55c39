/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of .tidepool/ and of a stream's .state: each prints what is known at the moment. node: the stream, where there is one.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

struct tp_fs;

void tp_view_config(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_drafts(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_evicted(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_health(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_reconcile(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_stats(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_status(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_stream(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_tiers(struct tp_fs *fs, uint64_t node, FILE *out);
void tp_view_waits(struct tp_fs *fs, uint64_t node, FILE *out);
/* For `explain`: a line for each process that has the file of node open, nothing for what is no file. */
void tp_view_holders(struct tp_fs *fs, uint64_t node, FILE *out);
