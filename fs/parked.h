/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WRITE or FALLOCATE that found no room and waits for it, holding no thread: a write with a copy of its bytes.
 *
 * Two parties may end it: the evictor, which calls when there is room or when it is certain that there will be none, and an interrupt of the
 * caller. Whoever takes the wait out of the session's table answers; when the other one has been called already, the last of the two frees.
 * As long as there may be room, it tries again.
 */
#pragma once

#include "fs/ops.h"
#include "store/file.h"

/* w: what was tried, error: what was found: -ENOSPC or -EDQUOT. The request is answered later, or now when it cannot wait. */
void tp_parked_write(
	struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, const struct tp_write *w, int error);
void tp_parked_allocate(struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, int error);
