/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path of a change: apply appends a record to the journal's open file. After interval_ns, or when
 * somebody syncs, the writer thread seals that file, puts its records into LMDB in transactions that each
 * also say up to which sequence LMDB has the journal, and empties the file when the last of them was
 * committed with full sync.
 *
 * What SIGKILL or a power cut can leave behind:
 * - before the record is whole: a torn end; nobody was told that it is there.
 * - after it, before the commit: the record is replayed at open. The two files are put in order by their
 *   sequences.
 * - after a commit, before the file is emptied, or when the emptying did not reach the disk: the sequence in
 *   LMDB says that the records are known; they are not put in again over what came after them.
 * - while the ledger is made: it is made as "ledger.new" and renamed when it is complete and synced.
 *
 * A commit that fails for want of room or memory is tried again: LMDB dropped the whole transaction, the
 * sealed file is still there, and the retry writes every page of it again. After any other failure nothing is
 * known about the disk, and the ledger is read-only.
 *
 * Only the writer thread begins transactions, except for the scans, and it waits for these.
 */
#include "store/ledger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/db.h"
#include "store/journal.h"
#include "store/numbers.h"
#include "store/state.h"

/*
 * An open journal file that is longer is sealed at once, so that it does not grow for as long as the interval
 * lasts.
 */
#define JOURNAL_BYTES_HURRY (UINT64_C(8) << 20)
/* Of the journal's room so much is kept for what must go on while the disk is full. */
#define SPARE_BYTES (UINT64_C(256) << 10)
/* How long after a commit that found no room the next one is tried unasked, at least. */
#define RETRY_NS (100 * TP_NS_PER_MS)

_Static_assert(TP_LEDGER_BATCH_BYTES >= sizeof(struct tp_journal_header) + 8, "header and padding");
_Static_assert(TP_LEDGER_ENTRY_BYTES == sizeof(struct tp_journal_entry_header), "as in the journal");

struct tp_ledger_batch {
	struct tp_journal_record record;
};

struct tp_ledger {
	const struct tp_clock *clock;
	uint64_t interval_ns;
	struct tp_state state;
	struct tp_db db; /* the opener's until the writer thread runs, then that thread's; but for scans */
	struct tp_journal *journal;
	pthread_t writer;
	bool has_writer;

	/* Lock order: append, lock. */

	/*
	 * Makes appending and sealing one at a time. It is held over the write(2) of a record, since the
	 * order of the records in the file is the order of the changes; that write ends in the page cache.
	 */
	pthread_mutex_t append;

	pthread_mutex_t lock; /* for all that follows */
	pthread_cond_t wake;  /* the writer thread has something to look at */
	pthread_cond_t done;  /* an attempt or a scan has ended */
	uint64_t promised;    /* bytes of batches that may still come */
	uint64_t room;	      /* what the journal's open file has room for, or less */
	uint64_t appended;    /* the highest sequence in the journal */
	uint64_t committed;   /* the highest sequence on stable storage */
	uint64_t wanted;      /* somebody waits for this sequence */
	uint64_t since_ns;    /* when the oldest change that is not committed was applied; monotonic */
	uint64_t quiet_ns;    /* no attempt before this that nobody waits for; monotonic */
	uint64_t attempts;    /* commits that were begun */
	uint64_t failed;      /* the last of them that failed and will be tried again; 0: none */
	int failed_r;	      /* how, negative errno */
	int waiting_errno;    /* why the last attempt has to be tried again; 0: it need not */
	int fatal_errno;      /* what made the ledger read-only; 0: it is not */
	unsigned scans;	      /* that run now */
	bool busy;	      /* an attempt runs */
	bool hurry;	      /* the open file has become long */
	bool stop;	      /* the writer thread is to end */
	bool block_asked;     /* the next block of generations is to be reserved */
	struct tp_numbers generations; /* up to the end of them, or more, is reserved on stable storage */
};

/* May the same be tried again, because nothing is wrong but that there is no room? */
static bool is_passing(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EFBIG || r == -ENOMEM;
}

/* batches */

struct tp_ledger_batch *tp_ledger_batch_new(void)
{
	return calloc(1, sizeof(struct tp_ledger_batch));
}

void tp_ledger_batch_free(struct tp_ledger_batch *b)
{
	if (!b)
		return;
	tp_journal_record_fini(&b->record);
	free(b);
}

static bool may_put(enum tp_ledger_table t, const void *key, size_t key_len)
{
	return (unsigned)t < TP_LEDGER_TABLES && !tp_db_is_own_key(t, key, key_len);
}

int tp_ledger_batch_put(struct tp_ledger_batch *b, enum tp_ledger_table t, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	struct tp_journal_entry e = {.op = TP_JOURNAL_PUT,
		.table = (uint8_t)t,
		.key = key,
		.key_len = key_len,
		.value = value,
		.value_len = value_len};

	return may_put(t, key, key_len) ? tp_journal_record_add(&b->record, &e) : -EINVAL;
}

int tp_ledger_batch_remove(struct tp_ledger_batch *b, enum tp_ledger_table t, const void *key, size_t key_len)
{
	struct tp_journal_entry e = {
		.op = TP_JOURNAL_REMOVE, .table = (uint8_t)t, .key = key, .key_len = key_len};

	return may_put(t, key, key_len) ? tp_journal_record_add(&b->record, &e) : -EINVAL;
}

int tp_ledger_batch_reserve(struct tp_ledger_batch *b, size_t bytes)
{
	return tp_journal_record_reserve(&b->record, bytes);
}

/* the writer thread */

/* Brings the sealed records (journal) and the reservation (see tp_db_commit()) into LMDB. */
static int commit(struct tp_ledger *l, bool journal, uint64_t reserve)
{
	int r = tp_db_commit(&l->db, journal ? l->journal : NULL, reserve);

	return r == 0 && journal ? tp_journal_drop_sealed(l->journal) : r;
}

static void fail(struct tp_ledger *l, int r)
{
	TP_LOCK(&l->lock);
	if (!l->fatal_errno)
		l->fatal_errno = -r;
	(void)pthread_cond_broadcast(&l->done);
	(void)pthread_cond_broadcast(&l->wake);
}

/* Is there work? If not, ret_wait_ns says after which time to look again; UINT64_MAX: when woken. Locked. */
static bool is_due(struct tp_ledger *l, uint64_t *ret_wait_ns)
{
	uint64_t now = tp_mono_ns(l->clock), at = UINT64_MAX;

	*ret_wait_ns = UINT64_MAX;
	if (l->fatal_errno || l->scans)
		return false;
	if (l->wanted > l->committed)
		return true;
	if (l->appended > l->committed)
		at = l->hurry ? 0 : l->since_ns + l->interval_ns;
	if (l->block_asked)
		at = 0;
	if (at == UINT64_MAX)
		return false;
	if (at < l->quiet_ns)
		at = l->quiet_ns;
	if (at <= now)
		return true;
	*ret_wait_ns = at - now;
	return false;
}

static void wait_for_work(struct tp_ledger *l, uint64_t wait_ns)
{
	struct timespec ts;

	if (wait_ns == UINT64_MAX) {
		(void)pthread_cond_wait(&l->wake, &l->lock);
		return;
	}
	/* The condition knows only the machine's clock; the ledger's own is asked again after that time. */
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	if (wait_ns > 3600 * TP_NS_PER_S)
		wait_ns = 3600 * TP_NS_PER_S;
	wait_ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(wait_ns / TP_NS_PER_S);
	ts.tv_nsec = (long)(wait_ns % TP_NS_PER_S);
	(void)pthread_cond_timedwait(&l->wake, &l->lock, &ts);
}

/* Nothing is promised from now on until note_room(); what is already is returned. append held. */
static uint64_t hold_promises(struct tp_ledger *l)
{
	TP_LOCK(&l->lock);
	l->room = 0;
	return l->promised;
}

/* append held. */
static void note_room(struct tp_ledger *l)
{
	TP_LOCK(&l->lock);
	l->room = tp_journal_room(l->journal);
}

static int seal(struct tp_ledger *l, uint64_t *ret_last, uint64_t *ret_bytes)
{
	int r;
	TP_LOCK(&l->append);

	/* What is promised has to find its room in the other file then. */
	r = tp_journal_seal(l->journal, hold_promises(l), ret_last, ret_bytes);
	note_room(l);
	return r;
}

/* One commit. Locked on entry and return, not in between. */
static void attempt(struct tp_ledger *l)
{
	uint64_t id = ++l->attempts, now = tp_mono_ns(l->clock), last = 0, bytes = 0, reserve;
	bool block;
	int r;

	block = l->block_asked;
	reserve = block ? tp_numbers_block_end(&l->generations) : l->db.reserved;
	l->hurry = false;
	l->busy = true;
	(void)pthread_mutex_unlock(&l->lock);
	r = seal(l, &last, &bytes);
	if (r == 0)
		r = commit(l, bytes > 0, reserve);
	if (r < 0 && !is_passing(r))
		fail(l, r);
	(void)pthread_mutex_lock(&l->lock);
	l->busy = false;
	if (r < 0) {
		l->failed = id;
		l->failed_r = r == -ENOMEM ? r : -ENOSPC;
		l->waiting_errno = -l->failed_r;
		l->wanted = l->committed;
		l->quiet_ns = now + (l->interval_ns > RETRY_NS ? l->interval_ns : RETRY_NS);
	} else {
		if (bytes)
			l->committed = last;
		l->since_ns = now;
		l->quiet_ns = 0;
		l->waiting_errno = 0;
		if (block) {
			l->generations.end = reserve;
			l->block_asked = false;
		}
	}
	(void)pthread_cond_broadcast(&l->done);
}

static void *run_writer(void *arg)
{
	struct tp_ledger *l = arg;
	uint64_t wait_ns;

	(void)pthread_setname_np(pthread_self(), "tp-ledger");
	TP_LOCK(&l->lock);
	while (!l->stop)
		if (is_due(l, &wait_ns))
			attempt(l);
		else
			wait_for_work(l, wait_ns);
	return NULL;
}

/* The thread takes no signals: they are for the program. */
static int start_writer(struct tp_ledger *l)
{
	sigset_t all, old;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&l->writer, NULL, run_writer, l);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	l->has_writer = r == 0;
	return -r;
}

/* what others call */

/* want_bytes: what there must be room for. Locked. */
static int promise(struct tp_ledger *l, uint64_t bytes, uint64_t want_bytes)
{
	if (l->fatal_errno)
		return -EROFS;
	if (l->room < l->promised + want_bytes)
		return -ENOSPC;
	l->promised += bytes;
	return 0;
}

int tp_ledger_promise_now(struct tp_ledger *l, uint64_t bytes, bool spare)
{
	int r;
	TP_LOCK(&l->lock);

	r = promise(l, bytes, spare ? bytes : bytes + SPARE_BYTES);
	return r == -ENOSPC ? -EAGAIN : r;
}

int tp_ledger_promise(struct tp_ledger *l, uint64_t bytes, bool spare)
{
	uint64_t want_bytes = spare ? bytes : bytes + SPARE_BYTES;
	int r = tp_ledger_promise_now(l, bytes, spare);

	if (r != -EAGAIN)
		return r;
	TP_LOCK(&l->append);
	r = tp_journal_reserve(l->journal, hold_promises(l) + want_bytes);
	note_room(l);
	TP_LOCK(&l->lock);
	return r < 0 ? r : promise(l, bytes, want_bytes);
}

void tp_ledger_release(struct tp_ledger *l, uint64_t bytes)
{
	TP_LOCK(&l->lock);
	l->promised -= bytes;
}

int tp_ledger_apply(struct tp_ledger *l, struct tp_ledger_batch *b)
{
	uint64_t sequence, open_bytes;
	bool first;
	int r;

	if (!b->record.count)
		return 0;
	TP_LOCK(&l->append);
	{
		TP_LOCK(&l->lock);
		if (l->fatal_errno)
			return -EROFS;
	}
	r = tp_journal_append(l->journal, &b->record, &sequence, &open_bytes);
	note_room(l);
	if (r == -ENOSPC)
		return r;
	if (r < 0) {
		fail(l, r);
		return -EROFS;
	}
	tp_journal_record_clear(&b->record);
	TP_LOCK(&l->lock);
	first = l->appended == l->committed;
	l->appended = sequence;
	if (first)
		l->since_ns = tp_mono_ns(l->clock);
	if (open_bytes >= JOURNAL_BYTES_HURRY && !l->hurry)
		first = l->hurry = true;
	if (first)
		(void)pthread_cond_signal(&l->wake);
	return 0;
}

int tp_ledger_sync(struct tp_ledger *l)
{
	uint64_t target, ticket;

	TP_LOCK(&l->lock);
	target = l->appended;
	/*
	 * An attempt that runs already may have begun before the change; only one that begins after now may
	 * say that it failed.
	 */
	ticket = l->attempts;
	while (l->committed < target) {
		if (l->fatal_errno)
			return -EROFS;
		if (l->failed > ticket)
			return l->failed_r;
		if (l->wanted < target) {
			l->wanted = target;
			(void)pthread_cond_signal(&l->wake);
		}
		(void)pthread_cond_wait(&l->done, &l->lock);
	}
	return 0;
}

int tp_ledger_trouble(struct tp_ledger *l)
{
	TP_LOCK(&l->lock);
	return l->fatal_errno ? l->fatal_errno : l->waiting_errno;
}

uint64_t tp_ledger_next_generation(struct tp_ledger *l)
{
	TP_LOCK(&l->lock);

	if (tp_numbers_are_few(&l->generations) && !l->block_asked) {
		l->block_asked = true;
		(void)pthread_cond_signal(&l->wake);
	}
	return tp_numbers_next(&l->generations);
}

void tp_ledger_set_block(struct tp_ledger *l, uint64_t count)
{
	TP_LOCK(&l->lock);
	assert(count && count <= l->generations.end - l->generations.last);
	l->generations.block = count;
	l->generations.end = l->generations.last + count;
}

int tp_ledger_scan(struct tp_ledger *l, enum tp_ledger_table t,
	int (*each)(const void *key, size_t key_len, const void *value, size_t value_len, void *user),
	void *user)
{
	int r;

	{
		TP_LOCK(&l->lock);
		while (l->busy)
			(void)pthread_cond_wait(&l->done, &l->lock);
		l->scans++;
	}
	r = tp_db_scan(&l->db, t, each, user);
	TP_LOCK(&l->lock);
	l->scans--;
	(void)pthread_cond_signal(&l->wake);
	return r;
}

/* opening */

static int replay(struct tp_ledger *l, const char *state, struct tp_err *err, struct tp_ledger_info *info)
{
	struct tp_err why = {""};
	uint64_t last = 0, reserved = l->db.reserved;
	int r;

	l->generations = (struct tp_numbers){.block = TP_NUMBERS_BLOCK, .last = reserved, .end = reserved};
	r = tp_db_replay(&l->db, l->journal, tp_numbers_block_end(&l->generations), &why, info, &last);
	if (r == 0)
		r = tp_journal_start(l->journal, last);
	if (r < 0 && *why.text)
		return tp_err_set(err, r, "%.100s/%.380s", state, why.text);
	if (r < 0)
		return tp_err_set(err, r, "the journal of %s cannot be brought into its ledger: %s", state,
			strerror(-r));
	l->room = tp_journal_room(l->journal);
	l->appended = l->committed = l->wanted = last;
	l->generations.end = l->db.reserved;
	return 0;
}

static int ledger_new(const struct tp_clock *clock, uint64_t interval_ns, struct tp_ledger **ret)
{
	struct tp_ledger *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return -ENOMEM;
	l->clock = clock;
	l->interval_ns = interval_ns;
	l->state = TP_STATE_NONE;
	(void)pthread_mutex_init(&l->append, NULL);
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&l->wake, &attr);
	(void)pthread_cond_init(&l->done, NULL);
	(void)pthread_condattr_destroy(&attr);
	*ret = l;
	return 0;
}

static void stop_writer(struct tp_ledger *l)
{
	if (!l->has_writer)
		return;
	{
		TP_LOCK(&l->lock);
		l->stop = true;
		(void)pthread_cond_broadcast(&l->wake);
	}
	(void)pthread_join(l->writer, NULL);
	l->has_writer = false;
}

static void ledger_free(struct tp_ledger *l)
{
	stop_writer(l);
	tp_db_close(&l->db);
	tp_journal_close(l->journal);
	(void)pthread_cond_destroy(&l->done);
	(void)pthread_cond_destroy(&l->wake);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_mutex_destroy(&l->append);
	/* The last: whoever gets the lock may rely on the rest being closed. */
	tp_state_close(&l->state);
	free(l);
}

static int open_parts(struct tp_ledger *l, const char *state, struct tp_err *err, struct tp_ledger_info *info)
{
	int r;

	r = tp_state_open(state, err, &l->state);
	if (r < 0)
		return r;
	r = tp_db_open(&l->db, l->state.fd, state, err, info);
	if (r < 0)
		return r;
	r = tp_journal_open(l->state.fd, err, &l->journal);
	if (r < 0)
		return tp_err_wrap(err, r, state);
	r = replay(l, state, err, info);
	if (r < 0)
		return r;
	r = start_writer(l);
	if (r < 0)
		return tp_err_set(err, r, "no thread for the ledger of %s: %s", state, strerror(-r));
	return 0;
}

int tp_ledger_open(const char *state, const struct tp_clock *clock, uint64_t interval_ns, struct tp_err *err,
	struct tp_ledger **ret, struct tp_ledger_info *ret_info)
{
	struct tp_ledger_info info = {.created = false};
	struct tp_ledger *l;
	int r;

	r = ledger_new(clock, interval_ns, &l);
	if (r < 0)
		return tp_err_set(err, r, "not enough memory for a ledger");
	r = open_parts(l, state, err, &info);
	if (r < 0) {
		ledger_free(l);
		return r;
	}
	*ret = l;
	*ret_info = info;
	return 0;
}

/*
 * So that numbers stay short where nothing crashes. Nobody is given one any more, so that what is above the last one was never
 * given; whether the commit comes to its end or not, the ledger says either that or what it said before.
 */
static void give_back(struct tp_ledger *l)
{
	if (!l->fatal_errno)
		(void)tp_db_commit(&l->db, NULL, l->generations.last);
}

int tp_ledger_close(struct tp_ledger *l)
{
	int r;

	if (!l)
		return 0;
	r = tp_ledger_sync(l);
	stop_writer(l);
	if (r == 0)
		give_back(l);
	ledger_free(l);
	return r;
}
