/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Advisory locks on open files: they belong to the object (the name's identity), not to the node, so that they exclude though each opener has a draft of its own.
 */
#pragma once

#include "fs/ops.h"

/* Are there locks on the object that h has open? */
bool tp_ops_has_locks(struct tp_fs *fs, const struct tp_handle *h);
/* owner closed a descriptor (fcntl) or the last one of an open file (flock). */
void tp_ops_drop_locks(struct tp_fs *fs, const struct tp_handle *h, uint64_t owner, bool flock);
/* h goes: fcntl locks that were set through it and whose owner's close was not told go with it. */
void tp_ops_handle_closed(struct tp_fs *fs, const struct tp_handle *h);
