/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is agreed with the kernel in INIT.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/frame.h"

/*
 * Answers INIT, whose argument is arg: *ret is what to send, *ret_flags what was granted. -EAGAIN: *ret is to be sent, but the kernel asks again
 * in our version. -EPROTO: it is too old.
 */
int tp_handshake(const void *arg, size_t len, struct fuse_init_out *ret, uint64_t *ret_flags);
