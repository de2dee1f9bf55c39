/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a whole tree hold together? Walks names, objects, generations, drafts and lists, and counts again what the tree counts while it changes.
 */
#pragma once

#include "store/tree.h"

/*
 * What does not hold, in words, or NULL when all does. Valid until the next call from this thread. No call on the tree is in progress; files may be open, and drafts may wait
 * for an opener.
 */
const char *check_tree(struct tp_tree *t);
