/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store gives to peers: first the table by itself, then two stores that read from each other over the transport in memory.
 *
 * What is published there is of 0 bytes, of 4 KiB or of 3.5 MiB, after its version, and has a stamp of its own on each page: so it is seen whether bytes are those of one
 * publication.
 */
#include "tree_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/serve.h"
#include "transport/memory.h"

#define LARGE_BYTES (7 * MIB / 2)
#define NAMES 3
#define FETCHES 4
#define SEEDS 2000
#define LOOK_BYTES 64

static int pin(struct tp_serve *s, const char *name, uint64_t generation, struct tp_pin **ret,
	struct tp_pin_info *ret_info)
{
	return s->pin(s->user, name, strlen(name), generation, ret, ret_info);
}

/* Are text the first bytes of what is pinned? */
static bool pin_has(struct tp_serve *s, const struct tp_pin *p, const char *text)
{
	struct iovec iov[2];
	unsigned count;
	size_t len;

	s->read(s->user, p, 0, strlen(text), iov, 2, &count, &len);
	return count == 1 && len == strlen(text) && memcmp(iov[0].iov_base, text, len) == 0;
}

Test(serve, published_files_below_cache_are_there_and_nothing_else)
{
	static const char *const none[] = {"", "/", "a/", "/a", "d", "d/", "d//b", "d/b/", "d/b/c", "d/./b",
		"d/../a", "link", "draft", "x", "../samples/s/x", "samples/s/x"};
	struct fixture f;
	struct tp_who w;
	struct tp_entry e;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *p;
	struct file draft;
	uint64_t dir;

	fixture_open(&f, 16 * MIB, NULL);
	w = f.me;
	tp_tree_serve(f.tree, &s);
	put(&f, TP_NODE_CACHE, "a", "one");
	dir = make_dir(&f, TP_NODE_CACHE, "d");
	put(&f, dir, "b", "in a directory");
	put(&f, make_dir(&f, TP_NODE_SAMPLES, "s"), "x", "a sample");
	cr_assert_eq(tp_tree_make(f.tree, &w, TP_NODE_CACHE, "link", S_IFLNK | 0777, 0, "a", &e), 0);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "draft", O_CREAT | O_WRONLY, &draft), 0);
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		cr_assert_eq(pin(&s, none[i], 0, &p, &info), -ENOENT, "'%s'", none[i]);
	cr_assert_eq(s.pin(s.user, "a\0", 2, 0, &p, &info), -ENOENT);
	cr_assert_eq(pin(&s, "d/b", 0, &p, &info), 0);
	cr_assert(pin_has(&s, p, "in a directory"));
	s.unpin(s.user, p);
	cr_assert_eq(file_close(&f, &draft), 0);
	fixture_close(&f);
}

Test(serve, a_pin_tells_what_it_is_and_takes_the_generation_that_is_asked_for)
{
	struct fixture f;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *p;
	struct tp_who w;
	struct tp_entry e;
	uint64_t generation;

	fixture_open(&f, 16 * MIB, NULL);
	tp_tree_serve(f.tree, &s);
	w = (struct tp_who){.uid = 12, .gid = 34, .tid = getpid()};
	cr_assert_eq(put_as(&f, &w, TP_NODE_CACHE, "a", "one"), 0);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "a", &e), 0);
	cr_assert_eq(pin(&s, "a", 0, &p, &info), 0);
	cr_assert_eq(info.size_bytes, 3);
	cr_assert_eq(info.mode, e.attr.mode);
	cr_assert_eq(info.uid, 12);
	cr_assert_eq(info.gid, 34);
	cr_assert_neq(info.generation, 0);
	s.unpin(s.user, p);
	generation = info.generation;
	cr_assert_eq(pin(&s, "a", generation, &p, &info), 0);
	s.unpin(s.user, p);
	put(&f, TP_NODE_CACHE, "a", "two");
	cr_assert_eq(pin(&s, "a", generation, &p, &info), -ESTALE);
	cr_assert_eq(pin(&s, "a", 0, &p, &info), 0);
	cr_assert_neq(info.generation, generation);
	cr_assert(pin_has(&s, p, "two"));
	s.unpin(s.user, p);
	fixture_close(&f);
}

Test(serve, a_pin_keeps_its_bytes_over_a_new_generation_and_without_a_name_and_no_longer)
{
	struct fixture f;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *old, *new;
	uint64_t used;

	fixture_open(&f, 16 * MIB, NULL);
	tp_tree_serve(f.tree, &s);
	used = pool_used_bytes(&f);
	put(&f, TP_NODE_CACHE, "a", "one");
	cr_assert_eq(pin(&s, "a", 0, &old, &info), 0);
	put(&f, TP_NODE_CACHE, "a", "two");
	cr_assert_eq(pin(&s, "a", 0, &new, &info), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "a"), 0);
	put(&f, TP_NODE_CACHE, "b", "three");
	cr_assert(pin_has(&s, old, "one"));
	cr_assert(pin_has(&s, new, "two"));
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "b"), 0);
	s.unpin(s.user, old);
	cr_assert(pin_has(&s, new, "two"));
	cr_assert_gt(pool_used_bytes(&f), used);
	s.unpin(s.user, new);
	cr_assert_eq(pool_used_bytes(&f), used);
	fixture_close(&f);
}

Test(serve, what_is_written_in_place_is_busy_and_leaves_a_pin_its_bytes)
{
	struct fixture f;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *before, *after;
	struct file file;

	fixture_open(&f, 16 * MIB, NULL);
	tp_tree_serve(f.tree, &s);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "commit", "live"), 0);
	put(&f, TP_NODE_CACHE, "a", "one");
	cr_assert_eq(pin(&s, "a", 0, &before, &info), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "a", O_WRONLY, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 0, "two"), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "a", "two"));
	cr_assert_eq(pin(&s, "a", 0, &after, &info), -EBUSY);
	cr_assert(pin_has(&s, before, "one"));
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(pin(&s, "a", info.generation, &after, &info), -ESTALE);
	cr_assert_eq(pin(&s, "a", 0, &after, &info), 0);
	cr_assert(pin_has(&s, before, "one"));
	cr_assert(pin_has(&s, after, "two"));
	s.unpin(s.user, before);
	s.unpin(s.user, after);
	fixture_close(&f);
}

Test(serve, what_is_pinned_is_not_evicted)
{
	struct fixture f;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *p;
	char name[16];

	fixture_open(&f, 16 * MIB, NULL);
	tp_tree_serve(f.tree, &s);
	put(&f, TP_NODE_CACHE, "a", "one");
	cr_assert_eq(pin(&s, "a", 0, &p, &info), 0);
	put(&f, TP_NODE_CACHE, "b", "as old as a");
	for (unsigned i = 0; sees(&f, &f.me, TP_NODE_CACHE, "b"); i++) {
		(void)snprintf(name, sizeof(name), "fill%u", i);
		(void)put_bytes(&f, TP_NODE_CACHE, name, MIB, i);
	}
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "a"));
	s.unpin(s.user, p);
	fixture_close(&f);
}

Test(serve, each_allocation_of_a_pin_may_fail)
{
	struct fixture f;
	struct tp_serve s;
	struct tp_pin_info info;
	struct tp_pin *p;
	unsigned n;
	int r;

	fixture_open(&f, 16 * MIB, NULL);
	tp_tree_serve(f.tree, &s);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "a", 2 * MIB, 1), 0);
	for (n = 1;; n++) {
		heap_fail_at(n);
		r = pin(&s, "a", 0, &p, &info);
		if (!heap_fail_off())
			break;
		cr_assert_eq(r, -ENOMEM);
	}
	cr_assert_eq(r, 0);
	cr_assert_eq(n, 3);
	s.unpin(s.user, p);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "a"), 0);
	fixture_close(&f);
}

/* Two stores */

static const char *const names[NAMES] = {"a", "d/b", "d/c"};

struct side {
	struct fixture fixture;
	struct tp_serve serve;
	uint64_t directory, used_bytes;
	size_t nodes;	  /* when nothing is published */
	uint64_t version; /* last published, or about to be */
	unsigned char *image;
};

struct pair;

/* One that is under way, or has a place for it. */
struct slot {
	struct tp_fetch fetch;
	struct pair *pair;
	unsigned owner, name;
	bool under_way;
	unsigned char *landing;
};

struct pair {
	struct side sides[2];
	struct tp_memory *memory;
	struct slot slots[FETCHES];
	uint64_t random, seed;
	uint64_t whole[3], missed, late, other; /* how fetches ended; whole ones by size */
	uint64_t generation;			/* of the last that came */
};

static unsigned below(struct pair *p, unsigned n)
{
	p->random = p->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)((p->random >> 33) % n);
}

static unsigned size_class(uint64_t version)
{
	return version % 8 == 0 ? 2 : version % 8 <= 2 ? 0 : 1;
}

static size_t size_of(uint64_t version)
{
	static const size_t sizes[] = {0, 4096, LARGE_BYTES};

	return sizes[size_class(version)];
}

/* Of each page of that publication; the rest of a page is the same everywhere. */
static uint64_t stamp_of(unsigned owner, unsigned name, uint64_t version)
{
	return (uint64_t)owner << 56 | (uint64_t)name << 48 | version;
}

static void publish(struct pair *p, unsigned owner, unsigned name)
{
	struct side *s = &p->sides[owner];
	struct fixture *f = &s->fixture;
	uint64_t stamp = stamp_of(owner, name, ++s->version);
	struct file file;

	for (size_t i = 0; i < size_of(s->version); i += TP_PAGE_BYTES)
		memcpy(s->image + i, &stamp, sizeof(stamp));
	cr_assert_eq(file_open(f, &f->me, name ? s->directory : TP_NODE_CACHE, name ? names[name] + 2 : "a",
			     O_WRONLY | O_CREAT | O_TRUNC, &file),
		0);
	/* Without room nothing is published. */
	if (size_of(s->version) > 0)
		(void)file_write(f, &file, 0, s->image, size_of(s->version));
	(void)file_close(f, &file);
}

static void take_away(struct pair *p, unsigned owner, unsigned name)
{
	struct side *s = &p->sides[owner];
	int r = unlink_as(&s->fixture, &s->fixture.me, name ? s->directory : TP_NODE_CACHE,
		name ? names[name] + 2 : "a");

	cr_assert(r == 0 || r == -ENOENT);
}

/* As the evictor would, who is a thread of its own and comes when it likes. */
static void evict(struct pair *p, unsigned owner)
{
	struct tp_tree *t = p->sides[owner].fixture.tree;
	struct tp_heat_entry *e;
	struct tp_gen *g;
	TP_WRLOCK(&t->lock);

	e = tp_heat_victim(t->heat, NULL, NULL, UINT64_MAX);
	g = e ? tp_container(e, struct tp_gen, heat) : NULL;
	if (g && g->busy == 0)
		tp_tree_drop_object(t, g->object);
}

/* What came is one publication. */
static void check(struct slot *s)
{
	struct pair *p = s->pair;
	const struct tp_fetch *f = &s->fetch;
	uint64_t stamp, version;

	cr_assert_neq(f->info.generation, 0);
	cr_assert(f->generation == 0 || f->generation == f->info.generation);
	cr_assert_eq(f->len, f->info.size_bytes);
	if (f->len == 0) {
		p->whole[0]++;
		return;
	}
	memcpy(&stamp, s->landing, sizeof(stamp));
	version = stamp & 0xffffffffffff;
	cr_assert_eq(stamp, stamp_of(s->owner, s->name, version), "seed %" PRIu64, p->seed);
	cr_assert_eq(f->len, size_of(version), "seed %" PRIu64, p->seed);
	for (size_t i = 0; i < f->len; i += TP_PAGE_BYTES) {
		cr_assert_eq(memcmp(s->landing + i, &stamp, sizeof(stamp)), 0,
			"seed %" PRIu64 ": another publication at %zu", p->seed, i);
		cr_assert_eq(memcmp(s->landing + i + sizeof(stamp), p->sides[s->owner].image + sizeof(stamp),
				     TP_PAGE_BYTES - sizeof(stamp)),
			0);
	}
	p->whole[size_class(version)]++;
}

static void done(struct tp_fetch *f, int error)
{
	struct slot *s = tp_container(f, struct slot, fetch);
	struct pair *p = s->pair;

	s->under_way = false;
	p->missed += error == -ENOENT;
	p->other += error == -ESTALE;
	p->late += error == -ETIMEDOUT;
	cr_assert(
		error == 0 || error == -ENOENT || error == -ETIMEDOUT || (error == -ESTALE && f->generation),
		"seed %" PRIu64 ": %d", p->seed, error);
	if (error == 0) {
		check(s);
		p->generation = f->info.generation;
		/* What comes late would be seen by the next who looks. */
		memset(s->landing, 0xdd, LOOK_BYTES);
	}
}

static void ask(struct pair *p)
{
	struct slot *s = &p->slots[below(p, FETCHES)];

	if (s->under_way)
		return;
	s->owner = below(p, 2);
	s->name = below(p, NAMES);
	s->under_way = true;
	s->fetch = (struct tp_fetch){.name = names[s->name],
		.name_len = strlen(names[s->name]),
		.generation = below(p, 4) ? 0 : p->generation,
		.landing = s->landing,
		.landing_bytes = LARGE_BYTES,
		.deadline_ns = tp_memory_now_ns(p->memory) + (5 + below(p, 100)) * TP_NS_PER_MS,
		.done = done};
	cr_assert_eq(tp_memory_fetch(p->memory, 1 - s->owner, &s->fetch), 0);
}

static void pair_init(struct pair *p, uint64_t pool_bytes)
{
	*p = (struct pair){.random = 1};
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &p->sides[i];

		fixture_open(&s->fixture, pool_bytes, NULL);
		tp_tree_serve(s->fixture.tree, &s->serve);
		s->directory = make_dir(&s->fixture, TP_NODE_CACHE, "d");
		s->used_bytes = pool_used_bytes(&s->fixture);
		s->nodes = s->fixture.tree->nodes.count;
		s->image = malloc(LARGE_BYTES);
		for (size_t n = 0; n < LARGE_BYTES; n++)
			s->image[n] = (unsigned char)(n % TP_PAGE_BYTES % 251);
	}
	for (unsigned i = 0; i < FETCHES; i++) {
		p->slots[i].pair = p;
		p->slots[i].landing = malloc(LARGE_BYTES);
	}
}

static void pair_connect(struct pair *p, uint64_t seed)
{
	struct tp_memory_options options = {.serve = {&p->sides[0].serve, &p->sides[1].serve}};

	p->seed = p->random = seed;
	options.seed = seed;
	options.delay_ns_max = (1 + below(p, 30)) * TP_NS_PER_MS;
	options.lost_pct = below(p, 2) ? below(p, 25) : 0;
	options.twice_pct = below(p, 2) ? below(p, 50) : 0;
	cr_assert_eq(tp_memory_new(&options, &p->memory), 0);
}

/* All fetches end, and all that was there can go. */
static void pair_disconnect(struct pair *p)
{
	while (tp_memory_step(p->memory)) {
	}
	for (unsigned i = 0; i < FETCHES; i++)
		cr_assert_not(p->slots[i].under_way);
	tp_memory_free(p->memory);
	for (unsigned owner = 0; owner < 2; owner++) {
		struct fixture *f = &p->sides[owner].fixture;

		for (unsigned name = 0; name < NAMES; name++)
			take_away(p, owner, name);
		let_kernel_hear(f);
		holds(f);
		cr_assert_eq(f->tree->nodes.count, p->sides[owner].nodes, "seed %" PRIu64 ": a pin is left",
			p->seed);
		cr_assert_eq(pool_used_bytes(f), p->sides[owner].used_bytes,
			"seed %" PRIu64 ": a pin is left", p->seed);
	}
}

static void pair_fini(struct pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		fixture_close(&p->sides[i].fixture);
		free(p->sides[i].image);
	}
	for (unsigned i = 0; i < FETCHES; i++)
		free(p->slots[i].landing);
}

Test(serve, a_peers_read_is_a_miss_or_late_or_one_publication, .timeout = 300)
{
	struct pair p;

	pair_init(&p, 64 * MIB);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		pair_connect(&p, seed);
		for (unsigned i = 0; i < 100; i++) {
			unsigned what = below(&p, 100), owner = below(&p, 2), name = below(&p, NAMES);

			if (what < 20)
				publish(&p, owner, name);
			else if (what < 23)
				take_away(&p, owner, name);
			else if (what < 26)
				evict(&p, owner);
			else if (what < 30)
				tp_memory_cut(p.memory, what == 26);
			else if (what < 50)
				ask(&p);
			else
				(void)tp_memory_step(p.memory);
		}
		tp_memory_cut(p.memory, false);
		pair_disconnect(&p);
	}
	cr_log_info("%" PRIu64 " %" PRIu64 " %" PRIu64 " whole, %" PRIu64 " missed, %" PRIu64
		    " late, %" PRIu64 " of another generation",
		p.whole[0], p.whole[1], p.whole[2], p.missed, p.late, p.other);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_gt(p.whole[i], SEEDS / 10);
	cr_assert_gt(p.missed, SEEDS / 10);
	cr_assert_gt(p.late, SEEDS / 10);
	cr_assert_gt(p.other, SEEDS / 100);
	pair_fini(&p);
}

struct writer {
	struct pair *pair;
	_Atomic bool enough;
};

/* Owner 1 in a pool that is too small for all of it, so that its evictor is at work. */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	unsigned random = 1;

	while (!atomic_load(&w->enough)) {
		unsigned name = (unsigned)rand_r(&random) % NAMES;

		if (rand_r(&random) % 10 == 0)
			take_away(w->pair, 1, name);
		else
			publish(w->pair, 1, name);
	}
	return NULL;
}

Test(serve, a_peer_reads_while_the_owner_writes_and_evicts, .timeout = 300)
{
	pthread_t thread;
	struct writer w;
	struct pair p;

	pair_init(&p, 15 * MIB / 2);
	pair_connect(&p, 1);
	w = (struct writer){.pair = &p};
	cr_assert_eq(pthread_create(&thread, NULL, write_on, &w), 0);
	while (p.whole[1] < 500 || p.whole[2] < 20 ||
		tp_stats_get(&p.sides[1].fixture.store->stats, TP_STAT_EVICTED) < 20) {
		ask(&p);
		(void)tp_memory_step(p.memory);
	}
	atomic_store(&w.enough, true);
	(void)pthread_join(thread, NULL);
	pair_disconnect(&p);
	pair_fini(&p);
}
