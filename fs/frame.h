/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a FUSE request must look like before anybody reads its arguments: the size of its fixed part, its names, and the sizes that it states
 * itself, held against the bytes that are really there. The one place where frames are judged, so that handlers may trust them.
 */
#pragma once

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than the headers of the oldest supported distribution. */
#define TP_FUSE_STATX 52
#define TP_FUSE_COPY_FILE_RANGE_64 53
#define TP_FUSE_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)

/*
 * arg is len bytes, and arg[len] is there and zero. payload_len is what follows for a WRITE (whose arg is struct fuse_write_in alone), else 0.
 * setxattr_ext: SETXATTR comes with the long struct.
 *
 * 0: the fixed struct is whole, each name of the opcode is NUL-terminated, not empty, and (unless it is a link's text or an attribute) one
 * component other than "." and ".."; values, lists and payload are as long as they say. Opcodes that are not known are let through.
 * -EINVAL: not so. -E2BIG: a WRITE of more than TP_WRITE_BYTES_MAX.
 */
int tp_frame_check(uint32_t opcode, const void *arg, size_t len, size_t payload_len, bool setxattr_ext);
