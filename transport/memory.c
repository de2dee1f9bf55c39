/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fetch sends an ask. Each time that one arrives (twice, if it was doubled) the owner pins the object and sends its pieces; the pin stays until none of them is under way. A
 * piece that arrives is copied from the pin to the landing buffer, if its fetch is still there. So one fetch may be answered twice, from two generations: those of the first
 * piece that came are taken, the others thrown away.
 *
 * A fetch is found by its id, never by its address, because the address may have another fetch by now. A deadline is no event, so that it cannot be lost.
 */
#include "transport/memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What would be the next one is lost. */
#define EVENTS_MAX 512u
#define IOV_MAX_PIECE 64u

_Static_assert(TP_FETCH_BYTES_MAX / TP_SERVE_PIECE_BYTES <= 64, "a bit for each piece");

/* What was asked for. */
struct ask {
	unsigned refs;
	unsigned owner; /* end */
	uint64_t fetch;
	uint64_t generation, offset;
	size_t len;
	size_t name_len;
	char name[];
};

/* One answer to it. */
struct serving {
	unsigned refs;
	struct ask *ask;
	struct tp_pin *pin; /* NULL: error */
	struct tp_pin_info info;
	int error;
	size_t len; /* of all pieces */
};

/* Something that is under way, and holds a reference of what it is of. */
struct event {
	uint64_t at_ns;
	struct ask *ask;	 /* NULL: a piece */
	struct serving *serving; /* NULL: an ask */
	size_t offset, len;	 /* of the piece, in the landing buffer */
};

struct tp_memory {
	struct tp_memory_options options;
	uint64_t random; /* state */
	uint64_t now_ns;
	bool cut;
	uint64_t last_id;
	struct tp_fetch *fetches;
	struct event events[EVENTS_MAX];
	unsigned events_count;
};

/* splitmix64 */
static uint64_t random_below(struct tp_memory *m, uint64_t below)
{
	uint64_t z = m->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % below;
}

static size_t size_min(size_t a, uint64_t b)
{
	return a < b ? a : (size_t)b;
}

static void ask_unref(struct ask *a)
{
	if (--a->refs == 0)
		free(a);
}

static void serving_unref(struct tp_memory *m, struct serving *s)
{
	const struct tp_serve *serve = m->options.serve[s->ask->owner];

	if (--s->refs > 0)
		return;
	if (s->pin)
		serve->unpin(serve->user, s->pin);
	ask_unref(s->ask);
	free(s);
}

static void event_fini(struct tp_memory *m, struct event *e)
{
	if (e->serving)
		serving_unref(m, e->serving);
	else
		ask_unref(e->ask);
}

/* Never, once or twice; each takes a reference. */
static void event_send(struct tp_memory *m, const struct event *what)
{
	unsigned times = random_below(m, 100) >= m->options.lost_pct;

	if (times)
		times += random_below(m, 100) < m->options.twice_pct;
	for (; times && m->events_count < EVENTS_MAX; times--) {
		struct event *e = &m->events[m->events_count++];

		*e = *what;
		e->at_ns = m->now_ns + 1 + random_below(m, m->options.delay_ns_max);
		if (e->serving)
			e->serving->refs++;
		else
			e->ask->refs++;
	}
}

static struct tp_fetch **fetch_place(struct tp_memory *m, uint64_t id)
{
	struct tp_fetch **at = &m->fetches;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void fetch_end(struct tp_memory *m, struct tp_fetch *f, int error)
{
	*fetch_place(m, f->id) = f->next;
	f->done(f, error);
}

static void arrive_ask(struct tp_memory *m, struct ask *a)
{
	const struct tp_serve *serve = m->options.serve[a->owner];
	struct serving *s = calloc(1, sizeof(*s));
	struct event piece = {.serving = s};

	/* As if it were lost. */
	if (!s)
		return;
	s->refs = 1;
	s->ask = a;
	a->refs++;
	s->error = serve->pin(serve->user, a->name, a->name_len, a->generation, &s->pin, &s->info);
	if (!s->error && a->offset < s->info.size_bytes)
		s->len = size_min(a->len, s->info.size_bytes - a->offset);
	/* An answer without bytes is a piece, too. */
	do {
		piece.len = size_min(s->len - piece.offset, TP_SERVE_PIECE_BYTES);
		event_send(m, &piece);
		piece.offset += piece.len;
	} while (piece.offset < s->len);
	serving_unref(m, s);
}

static void copy_piece(struct tp_memory *m, const struct event *e, char *to)
{
	const struct serving *s = e->serving;
	const struct tp_serve *serve = m->options.serve[s->ask->owner];
	uint64_t offset = s->ask->offset + e->offset;
	size_t left = e->len;

	while (left > 0) {
		struct iovec iov[IOV_MAX_PIECE];
		unsigned count;
		size_t len;

		serve->read(serve->user, s->pin, offset, left, iov, IOV_MAX_PIECE, &count, &len);
		assert(len > 0 && len <= left);
		for (unsigned i = 0; i < count; i++) {
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
			to += iov[i].iov_len;
		}
		offset += len;
		left -= len;
	}
}

/* All pieces of len bytes. */
static uint64_t pieces_of(size_t len)
{
	unsigned count = len ? (unsigned)((len - 1) / TP_SERVE_PIECE_BYTES) + 1 : 1;

	return UINT64_MAX >> (64 - count);
}

static void arrive_piece(struct tp_memory *m, const struct event *e)
{
	const struct serving *s = e->serving;
	struct tp_fetch *f = *fetch_place(m, s->ask->fetch);

	if (!f)
		return;
	if (s->error) {
		fetch_end(m, f, s->error);
		return;
	}
	if (f->landed && f->info.generation != s->info.generation)
		return;
	copy_piece(m, e, (char *)f->landing + e->offset);
	f->info = s->info;
	f->len = s->len;
	f->landed |= UINT64_C(1) << e->offset / TP_SERVE_PIECE_BYTES;
	if (f->landed == pieces_of(f->len))
		fetch_end(m, f, 0);
}

int tp_memory_new(const struct tp_memory_options *options, struct tp_memory **ret)
{
	struct tp_memory *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	assert(options->delay_ns_max > 0);
	m->options = *options;
	m->random = options->seed;
	*ret = m;
	return 0;
}

void tp_memory_free(struct tp_memory *m)
{
	if (!m)
		return;
	while (m->events_count > 0)
		event_fini(m, &m->events[--m->events_count]);
	while (m->fetches)
		fetch_end(m, m->fetches, -ECANCELED);
	free(m);
}

int tp_memory_fetch(struct tp_memory *m, unsigned end, struct tp_fetch *f)
{
	struct ask *a;

	if (f->landing_bytes > TP_FETCH_BYTES_MAX)
		return -EINVAL;
	a = malloc(sizeof(*a) + f->name_len);
	if (!a)
		return -ENOMEM;
	f->id = ++m->last_id;
	f->landed = 0;
	f->next = m->fetches;
	m->fetches = f;
	*a = (struct ask){.refs = 1,
		.owner = 1 - end,
		.fetch = f->id,
		.generation = f->generation,
		.offset = f->offset,
		.len = f->landing_bytes,
		.name_len = f->name_len};
	memcpy(a->name, f->name, f->name_len);
	event_send(m, &(struct event){.ask = a});
	ask_unref(a);
	return 0;
}

bool tp_memory_step(struct tp_memory *m)
{
	struct event *e = m->events_count ? &m->events[0] : NULL, now;
	struct tp_fetch *due = m->fetches;

	for (unsigned i = 1; i < m->events_count; i++)
		if (m->events[i].at_ns < e->at_ns)
			e = &m->events[i];
	for (struct tp_fetch *f = due; f; f = f->next)
		if (f->deadline_ns < due->deadline_ns)
			due = f;
	if (!e && !due)
		return false;
	if (due && (!e || due->deadline_ns < e->at_ns)) {
		if (m->now_ns < due->deadline_ns)
			m->now_ns = due->deadline_ns;
		fetch_end(m, due, -ETIMEDOUT);
		return true;
	}
	now = *e;
	*e = m->events[--m->events_count];
	m->now_ns = now.at_ns;
	if (!m->cut && now.ask)
		arrive_ask(m, now.ask);
	else if (!m->cut)
		arrive_piece(m, &now);
	event_fini(m, &now);
	return true;
}

void tp_memory_cut(struct tp_memory *m, bool cut)
{
	m->cut = cut;
}

uint64_t tp_memory_now_ns(const struct tp_memory *m)
{
	return m->now_ns;
}
