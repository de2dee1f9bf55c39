/* SPDX-License-Identifier: Apache-2.0 */
#include "store/peek.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "store/db.h"

/* Both files of the journal. */
static uint64_t journal_bytes(const char *state)
{
	DIR *d = opendir(state);
	struct dirent *e;
	struct stat st;
	uint64_t bytes = 0;

	if (!d)
		return 0;
	while ((e = readdir(d)))
		if (strncmp(e->d_name, "journal", 7) == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
			S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	(void)closedir(d);
	return bytes;
}

int tp_peek_state(const char *state, struct tp_err *err, struct tp_peek *ret)
{
	char path[PATH_MAX];
	struct tp_peek p = {.journal_bytes = journal_bytes(state)};
	struct tp_ledger_info info;
	struct stat st;
	int r;

	(void)snprintf(path, sizeof(path), "%s/ledger/data.mdb", state);
	if (stat(path, &st) < 0) {
		r = -errno;
		return r == -ENOENT ? tp_err_set(err, r, "%s holds no store", state)
				    : tp_err_set(err, r, "%s cannot be read: %s", path, strerror(-r));
	}
	p.ledger_bytes = (uint64_t)st.st_size;
	r = tp_db_peek(state, err, &info, &p.names);
	if (r < 0)
		return r;
	memcpy(p.uuid, info.uuid, sizeof(p.uuid));
	*ret = p;
	return 0;
}
