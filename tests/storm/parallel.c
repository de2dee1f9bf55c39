/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-parallel MOUNTPOINT: does the kernel ask in parallel where our session lets it? Mounts a session with a handler of its own, which holds certain requests back
 * until all that are expected are in flight at once. Requests that come one at a time never are, and the deadline says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "own_mount.h"
#include "store/cleanup.h"

#define CLIENTS 8
#define DEADLINE_S 60

/* Directories, by their place among the names; file i of directory d is FILES * d + i. No two checks share one: of a name that it knows the kernel asks without the directory's lock. */
enum { LOOKED_IN = 2, MADE_IN, READ_IN, DIRECTORIES_END, FILES = 16 };
static const char *const directory_names[DIRECTORIES_END] = {
	[LOOKED_IN] = "looked", [MADE_IN] = "made", [READ_IN] = "read"};

/* Requests of one kind in one directory, held back until `wanted` of them are there. */
struct gate {
	uint32_t opcode;
	uint64_t directory;
	unsigned wanted; /* 0: gate_open() alone opens it */
	/* gates_lock */
	struct tp_caller held[CLIENTS];
	uint64_t node[CLIENTS]; /* what each is about */
	unsigned count;
	bool open;
};

static struct gate lookups = {.opcode = FUSE_LOOKUP, .directory = LOOKED_IN, .wanted = CLIENTS};
static struct gate creates = {.opcode = FUSE_CREATE, .directory = MADE_IN};
static struct gate reader_lookups = {.opcode = FUSE_LOOKUP, .directory = READ_IN, .wanted = CLIENTS};
static struct gate reads = {.opcode = FUSE_READ, .directory = READ_IN, .wanted = CLIENTS};
static struct gate *const gates[] = {&lookups, &creates, &reader_lookups, &reads};
static pthread_mutex_t gates_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gates_changed = PTHREAD_COND_INITIALIZER;

static const char *mountpoint;
static struct own_mount own;

/* What a request is about, 0: there is no such thing. */
static uint64_t subject(const struct tp_request *r)
{
	const char *name = r->arg;

	if (r->caller.opcode == FUSE_CREATE)
		name += sizeof(struct fuse_create_in);
	else if (r->caller.opcode != FUSE_LOOKUP)
		return r->caller.node;
	if (r->caller.node != FUSE_ROOT_ID)
		return r->caller.opcode == FUSE_CREATE || r->caller.node != MADE_IN
			       ? FILES * r->caller.node + (uint64_t)(name[1] - '0')
			       : 0;
	for (uint64_t d = LOOKED_IN; d < DIRECTORIES_END; d++)
		if (strcmp(name, directory_names[d]) == 0)
			return d;
	return 0;
}

static struct fuse_attr attr_of(uint64_t node)
{
	bool file = node >= FILES;

	return (struct fuse_attr){
		.ino = node, .size = file, .mode = file ? S_IFREG | 0644 : S_IFDIR | 0755, .nlink = 1};
}

static void answer(const struct tp_caller *c, uint64_t node)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made = {{.nodeid = node, .attr = attr_of(node)}, {.open_flags = FOPEN_DIRECT_IO}};
	struct fuse_attr_out attr = {.attr = attr_of(node)};

	switch (c->opcode) {
	case FUSE_LOOKUP:
		if (node)
			tp_reply_data(own.session, c, &made.entry, sizeof(made.entry));
		else
			tp_reply_error(own.session, c, ENOENT);
		break;
	case FUSE_CREATE:
		tp_reply_data(own.session, c, &made, sizeof(made));
		break;
	case FUSE_OPEN:
		tp_reply_data(own.session, c, &made.open, sizeof(made.open));
		break;
	case FUSE_GETATTR:
		tp_reply_data(own.session, c, &attr, sizeof(attr));
		break;
	case FUSE_READ:
		tp_reply_data(own.session, c, "x", 1);
		break;
	case FUSE_RELEASE:
		tp_reply_error(own.session, c, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		tp_reply_error(own.session, c, ENOSYS);
	}
}

/* From now on nothing is held back. Nobody adds to what an open gate has held. */
static void gate_open(struct gate *g)
{
	{
		TP_LOCK(&gates_lock);
		if (g->open)
			return;
		g->open = true;
		(void)pthread_cond_broadcast(&gates_changed);
	}
	for (unsigned i = 0; i < g->count; i++)
		answer(&g->held[i], g->node[i]);
}

/* False: the request may pass. */
static bool gate_hold(struct gate *g, const struct tp_caller *c, uint64_t node)
{
	bool all;

	{
		TP_LOCK(&gates_lock);
		if (g->open)
			return false;
		g->held[g->count] = *c;
		g->node[g->count++] = node;
		all = g->count == g->wanted;
		(void)pthread_cond_broadcast(&gates_changed);
	}
	if (all)
		gate_open(g);
	return true;
}

static void handle(struct tp_request *r, void *user)
{
	uint64_t node = subject(r),
		 directory = r->caller.opcode == FUSE_READ ? r->caller.node / FILES : r->caller.node;

	for (unsigned i = 0; i < sizeof(gates) / sizeof(gates[0]); i++)
		if (gates[i]->opcode == r->caller.opcode && gates[i]->directory == directory &&
			gate_hold(gates[i], &r->caller, node))
			return;
	answer(&r->caller, node);
}

/* count requests of g came together, before the deadline. */
static bool gate_has(struct gate *g, unsigned count, const char *what)
{
	struct timespec until;
	int r = 0;
	TP_LOCK(&gates_lock);

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	while (g->count < count && r == 0)
		r = pthread_cond_timedwait(&gates_changed, &gates_lock, &until);
	if (r != 0)
		(void)fprintf(stderr,
			"tp-parallel: of %u %s only %u came in %d s: the kernel does not ask in parallel\n",
			count, what, g->count, DEADLINE_S);
	return r == 0;
}

/* A client: looks at, makes or reads file number `file` of its directory. The errno that it met. */
struct client {
	pthread_t thread;
	enum { LOOK, MAKE, READ } does;
	uint64_t directory;
	unsigned file;
	int error;
};

static void *client_run(void *arg)
{
	struct client *c = arg;
	char path[512], byte;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s/n%u", mountpoint, directory_names[c->directory], c->file);
	if (c->does == LOOK) {
		c->error = stat(path, &st) < 0 ? errno : 0;
	} else {
		tp_autoclose int fd = open(
			path, c->does == MAKE ? O_CREAT | O_WRONLY | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);

		c->error = fd < 0 || (c->does == READ && read(fd, &byte, 1) != 1) ? errno : 0;
	}
	return NULL;
}

static void client_start(struct client *c)
{
	if (pthread_create(&c->thread, NULL, client_run, c) != 0)
		abort();
}

static bool client_end(struct client *c)
{
	(void)pthread_join(c->thread, NULL);
	if (c->error)
		(void)fprintf(stderr, "tp-parallel: %s/n%u: %s\n", directory_names[c->directory], c->file,
			strerror(c->error));
	return c->error == 0;
}

static bool eight_lookups(void)
{
	struct client clients[CLIENTS];
	bool ok;

	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.does = LOOK, .directory = LOOKED_IN, .file = i};
		client_start(&clients[i]);
	}
	ok = gate_has(&lookups, CLIENTS, "look-ups in one directory");
	gate_open(&lookups);
	for (unsigned i = 0; i < CLIENTS; i++)
		ok &= client_end(&clients[i]);
	return ok;
}

static bool eight_readers_beside_a_create(void)
{
	struct client clients[CLIENTS], maker = {.does = MAKE, .directory = MADE_IN};
	bool ok;

	client_start(&maker);
	ok = gate_has(&creates, 1, "CREATE");
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.does = READ, .directory = READ_IN, .file = i};
		client_start(&clients[i]);
	}
	ok = ok && gate_has(&reader_lookups, CLIENTS, "readers' look-ups beside a CREATE") &&
	     gate_has(&reads, CLIENTS, "READs beside a CREATE");
	gate_open(&reader_lookups);
	gate_open(&reads);
	for (unsigned i = 0; i < CLIENTS; i++)
		ok &= client_end(&clients[i]);
	gate_open(&creates);
	return client_end(&maker) && ok;
}

int main(int argc, char **argv)
{
	bool ok;

	if (argc != 2) {
		(void)fputs("usage: tp-parallel MOUNTPOINT\n", stderr);
		return 2;
	}
	mountpoint = argv[1];
	if (!own_mount_start(&own, "tp-parallel", mountpoint, handle))
		return 1;
	ok = eight_lookups() && eight_readers_beside_a_create();
	own_mount_end(&own);
	return !ok;
}
