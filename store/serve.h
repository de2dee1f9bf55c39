/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What peers may read of a store: the table of functions that a transport calls, filled from a tree.
 *
 * A name is a path below cache/, components with one slash between them. It finds regular files in their published generation; drafts, directories, links and samples are not
 * there (-ENOENT), and what is written in place is -EBUSY. Nobody's permissions are asked: mode, uid and gid go to the side that asked.
 *
 * A pin shares the pieces of the generation's content, so a change in place leaves it its bytes, and keeps the evictor away. It counts as a use.
 */
#pragma once

#include "transport/serve.h"

struct tp_tree;

/* The tree outlives all pins. */
void tp_tree_serve(struct tp_tree *t, struct tp_serve *ret);
