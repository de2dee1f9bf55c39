/* SPDX-License-Identifier: Apache-2.0 */
#include "store/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "store/cleanup.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* What x86 and arm64 (with pages of 4 KiB) call a huge page. Where they are larger, collapsing fails, and that is all. */
#define HUGE_BYTES (UINT64_C(2) << 20)

/* Does the kernel give huge pages to shared memory that asks for them? */
static bool shmem_huge_given(void)
{
	tp_autoclose int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
	char text[128];
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	return !strstr(text, "[never]") && !strstr(text, "[deny]");
}

/*
 * mmap(2) of fd at an address where its parts can lie in huge pages. Memory of hugetlbfs has its own alignment, which the kernel keeps.
 */
static void *map_aligned(int fd, uint64_t size_bytes)
{
	char *room = mmap(
		NULL, size_bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;
	void *base;

	if (room == MAP_FAILED)
		return MAP_FAILED;
	before = -(uintptr_t)room % HUGE_BYTES;
	base = mmap(room + before, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (base == MAP_FAILED) {
		int keep = errno;

		(void)munmap(room, size_bytes + HUGE_BYTES);
		errno = keep;
		return MAP_FAILED;
	}
	if (before)
		(void)munmap(room, before);
	(void)munmap(room + before + size_bytes, HUGE_BYTES - before);
	return base;
}

/* Maps fd, which is on hugetlbfs when huge. Takes ownership of fd on success. */
static int map(
	int *fd, uint64_t size_bytes, bool huge, const char *what, struct tp_err *err, struct tp_arena *ret)
{
	void *base = huge ? mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0)
			  : map_aligned(*fd, size_bytes);

	if (base == MAP_FAILED)
		return tp_err_set(err, -errno, "cannot map %" PRIu64 " bytes of %s: %s", size_bytes, what,
			strerror(errno));
	/* A core dump with gigabytes of cache in it helps nobody. */
	(void)madvise(base, size_bytes, MADV_DONTDUMP);
	*ret = (struct tp_arena){.base = base, .size_bytes = size_bytes, .fd = tp_steal_fd(fd)};
	return 0;
}

static int open_huge(uint64_t size_bytes, struct tp_err *err, struct tp_arena *ret)
{
	tp_autoclose int fd = memfd_create("tidepool", MFD_CLOEXEC | MFD_HUGETLB);
	struct stat st;
	int r;

	if (fd < 0)
		return tp_err_set(err, -errno, "huge pages are required, and this kernel has none: %s",
			strerror(errno));
	if (fstat(fd, &st) < 0)
		return tp_err_set(err, -errno, "cannot look at huge memory: %s", strerror(errno));
	/* The block size of hugetlbfs is the size of its pages. */
	size_bytes -= size_bytes % (uint64_t)st.st_blksize;
	if (!size_bytes)
		return tp_err_set(err, -EINVAL, "the memory pool is smaller than one huge page (%ld bytes)",
			(long)st.st_blksize);
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return tp_err_set(err, -errno, "cannot size huge memory to %" PRIu64 " bytes: %s", size_bytes,
			strerror(errno));
	r = map(&fd, size_bytes, true, "huge memory", NULL, ret);
	if (r == -ENOMEM)
		return tp_err_set(err, r,
			"huge pages are required, and fewer than %" PRIu64 " of %ld bytes are free "
			"(see vm.nr_hugepages)",
			size_bytes / (uint64_t)st.st_blksize, (long)st.st_blksize);
	if (r < 0)
		return tp_err_set(err, r, "cannot map huge memory: %s", strerror(-r));
	ret->huge = true;
	return 0;
}

/*
 * Puts HUGE_BYTES at offset into a huge page, whatever shmem_enabled says (Linux 6.1). The kernel collapses what has memory already, so
 * the first page gets some. False: it does not work, now or here.
 */
static bool collapse(const struct tp_arena *a, uint64_t offset)
{
	return madvise(a->base + offset, TP_PAGE_BYTES, MADV_POPULATE_WRITE) == 0 &&
	       madvise(a->base + offset, HUGE_BYTES, MADV_COLLAPSE) == 0;
}

/*
 * /dev/fuse writes 1 MiB into huge pages nearly as fast as into one buffer that stays in the processor's cache (157 us against 149), and into
 * small pages not (191). Distributions give shared memory no huge pages by default, so they are asked for one by one in
 * tp_arena_populate(); whether that works the first one tells.
 */
static void try_huge(struct tp_arena *a)
{
	if (madvise(a->base, a->size_bytes, MADV_HUGEPAGE) < 0)
		return;
	a->huge = shmem_huge_given();
	if (!a->huge && a->size_bytes >= HUGE_BYTES)
		a->huge = a->collapses = collapse(a, 0);
}

int tp_arena_open_anonymous(
	uint64_t size_bytes, enum tp_hugepages hugepages, struct tp_err *err, struct tp_arena *ret)
{
	tp_autoclose int fd = -1;
	int r;

	size_bytes -= size_bytes % TP_PAGE_BYTES;
	if (!size_bytes)
		return tp_err_set(
			err, -EINVAL, "the memory pool must be at least %u bytes large", TP_PAGE_BYTES);
	if (size_bytes > INT64_MAX)
		return tp_err_set(
			err, -EINVAL, "a memory pool of %" PRIu64 " bytes is too large", size_bytes);
	if (hugepages == TP_HUGEPAGES_REQUIRE)
		return open_huge(size_bytes, err, ret);
	fd = memfd_create("tidepool", MFD_CLOEXEC);
	if (fd < 0)
		return tp_err_set(err, -errno, "cannot make anonymous memory: %s", strerror(errno));
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return tp_err_set(err, -errno, "cannot size anonymous memory to %" PRIu64 " bytes: %s",
			size_bytes, strerror(errno));
	r = map(&fd, size_bytes, false, "anonymous memory", err, ret);
	if (r < 0)
		return r;
	if (hugepages == TP_HUGEPAGES_TRY)
		try_huge(ret);
	return 0;
}

/* Finds out how much of the file to map, and makes it as long as that. */
static int size_file(int fd, const char *path, uint64_t size_bytes, enum tp_hugepages hugepages,
	struct tp_err *err, uint64_t *ret_size, bool *ret_huge)
{
	uint64_t unit, held;
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return tp_err_set(err, -errno, "cannot look at '%s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return tp_err_set(err, -EINVAL,
			"'%s' is not a regular file: the memory pool takes files on tmpfs or hugetlbfs",
			path);
	*ret_huge = fs.f_type == HUGETLBFS_MAGIC;
	if (hugepages == TP_HUGEPAGES_REQUIRE && !*ret_huge)
		return tp_err_set(
			err, -EINVAL, "huge pages are required, and '%s' is not on hugetlbfs", path);
	unit = *ret_huge ? (uint64_t)fs.f_bsize : TP_PAGE_BYTES;
	if (!size_bytes)
		size_bytes = (uint64_t)st.st_size;
	size_bytes -= size_bytes % unit;
	if (!size_bytes)
		return tp_err_set(err, -EINVAL,
			"'%s' gives less than one page (%" PRIu64 " bytes) to the memory pool", path, unit);
	if (size_bytes > INT64_MAX)
		return tp_err_set(
			err, -EINVAL, "a memory pool of %" PRIu64 " bytes is too large", size_bytes);
	/* A page that the file system cannot give when it is touched would kill us. */
	held = (uint64_t)st.st_blocks * 512;
	if (fs.f_blocks && held < size_bytes && (size_bytes - held) / (uint64_t)fs.f_bsize > fs.f_bavail)
		return tp_err_set(err, -ENOSPC, "the file system of '%s' has no room for %" PRIu64 " bytes",
			path, size_bytes);
	if ((uint64_t)st.st_size < size_bytes && ftruncate(fd, (off_t)size_bytes) < 0)
		return tp_err_set(err, -errno, "cannot make '%s' %" PRIu64 " bytes long: %s", path,
			size_bytes, strerror(errno));
	*ret_size = size_bytes;
	return 0;
}

int tp_arena_open_file(const char *path, uint64_t size_bytes, enum tp_hugepages hugepages, struct tp_err *err,
	struct tp_arena *ret)
{
	/* A fifo must not keep us waiting. */
	tp_autoclose int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	bool huge;
	int r;

	if (fd < 0)
		return tp_err_set(
			err, -errno, "cannot open '%s' for the memory pool: %s", path, strerror(errno));
	/* Two pools in one file would write into each other. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return tp_err_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno,
			errno == EWOULDBLOCK ? "'%s' is in use by another memory pool or named twice"
					     : "cannot lock '%s'",
			path);
	r = size_file(fd, path, size_bytes, hugepages, err, &size_bytes, &huge);
	if (r < 0)
		return r;
	r = map(&fd, size_bytes, huge, path, err, ret);
	if (r < 0)
		return r;
	ret->huge = huge;
	if (!huge && hugepages == TP_HUGEPAGES_TRY)
		try_huge(ret);
	return 0;
}

void tp_arena_close(struct tp_arena *a)
{
	if (!a->base)
		return;
	(void)munmap(a->base, a->size_bytes);
	(void)tp_close(a->fd);
	a->base = NULL;
}

/*
 * For kernels before 5.14. Adding nothing is a write that changes nothing, also when others write there at the same
 * moment.
 */
__attribute__((no_sanitize("thread"))) static void touch(unsigned char *base, uint64_t len)
{
	for (uint64_t at = 0; at < len; at += TP_PAGE_BYTES)
		(void)__atomic_fetch_add(base + at, 0, __ATOMIC_RELAXED);
}

int tp_arena_populate(const struct tp_arena *a, uint64_t offset, uint64_t len)
{
	/* Pages that somebody uses at the moment, or no huge page to be had: small ones. */
	if (a->collapses && len == HUGE_BYTES && offset % HUGE_BYTES == 0 && collapse(a, offset))
		return 0;
	while (madvise(a->base + offset, len, MADV_POPULATE_WRITE) < 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		if (errno != EINVAL)
			return -errno;
		touch(a->base + offset, len);
		break;
	}
	return 0;
}
