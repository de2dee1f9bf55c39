/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is agreed with the kernel in INIT.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/frame.h"

/*
 * Answers INIT, whose argument is arg: *ret is what to send, *ret_flags what was granted. -EAGAIN: *ret is to be sent, but the kernel asks again
 * in our version. -EPROTO: it is too old.
 *
 * *ret_clears_tails: what lies in the page behind the end of bytes that are put into the page cache is set to zero. Older kernels leave there what was in that memory
 * before, for everybody who maps the file (CVE-2024-44947); some of them have had that mended, but do not say so.
 */
int tp_handshake(
	const void *arg, size_t len, struct fuse_init_out *ret, uint64_t *ret_flags, bool *ret_clears_tails);
