/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handshake.h"

#include <errno.h>
#include <string.h>

#include "fs/session.h"

/* The oldest protocol that has all that we cannot do without (max_pages: Linux 4.20). */
#define MINOR_MIN 28

#define WANTED_FLAGS                                                                                         \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 |                \
		FUSE_ATOMIC_O_TRUNC | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_DO_READDIRPLUS |            \
		FUSE_READDIRPLUS_AUTO | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA |    \
		FUSE_SETXATTR_EXT | FUSE_ASYNC_DIO | FUSE_INIT_EXT | TP_FUSE_DIRECT_IO_ALLOW_MMAP)

/* Linux 6.12 */
#define MINOR_CLEARS_TAILS 41

int tp_handshake(
	const void *arg, size_t len, struct fuse_init_out *ret, uint64_t *ret_flags, bool *ret_clears_tails)
{
	struct fuse_init_in in = {0};
	uint64_t flags;

	memcpy(&in, arg, len < sizeof(in) ? len : sizeof(in));
	if (len < offsetof(struct fuse_init_in, flags2) || in.major < FUSE_KERNEL_VERSION ||
		(in.major == FUSE_KERNEL_VERSION && in.minor < MINOR_MIN))
		return -EPROTO;
	*ret = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION};
	if (in.major > FUSE_KERNEL_VERSION) {
		ret->minor = FUSE_KERNEL_MINOR_VERSION;
		return -EAGAIN;
	}
	flags = in.flags;
	if (in.flags & FUSE_INIT_EXT)
		flags |= (uint64_t)in.flags2 << 32;
	flags &= WANTED_FLAGS;
	ret->minor = in.minor < FUSE_KERNEL_MINOR_VERSION ? in.minor : FUSE_KERNEL_MINOR_VERSION;
	ret->max_readahead = in.max_readahead;
	ret->flags = (uint32_t)flags;
	ret->flags2 = (uint32_t)(flags >> 32);
	/* A RELEASE goes through the background queue and must not stand behind read-aheads. */
	ret->max_background = UINT16_MAX;
	ret->congestion_threshold = UINT16_MAX;
	ret->max_write = TP_WRITE_BYTES_MAX;
	ret->max_pages = TP_WRITE_BYTES_MAX / TP_PAGE_BYTES;
	ret->time_gran = 1;
	*ret_flags = flags;
	*ret_clears_tails = in.minor >= MINOR_CLEARS_TAILS;
	return 0;
}
