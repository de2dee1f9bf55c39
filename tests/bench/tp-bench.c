/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-bench: times whole operations on objects, side by side on several systems.
 *
 *	tp-bench [OPTION...] NAME=KIND:PATH[:PID]...
 *
 * KIND is `dir` (a directory of any file system), `hollow` (the same, of a server that keeps no bytes: they are not compared) or `redis` (a
 * unix socket). PID is the server behind it. Client 0 runs on processor 0, client 1 on processor 1, and so on. Where the server runs decides more than anything
 * else how long a small request takes, and the kernel's choice is a matter of luck that lasts for seconds; so each row is measured with
 * all servers put `beside` client 0, all put `apart` (processor 1), and all `free` to go where the kernel likes. One row is a size and a number of client processes; in each round of a row every system has its turn, so that noise
 * of the machine hits all alike. A turn makes N objects, reads all for the first time, reads all again, asks for the attributes of all, and
 * removes them. Round 0 touches memory, compares what is read, and is not counted.
 *
 * One line for each system, operation and row, of key=value words:
 *
 *	bench system=tmpfs place=free op=create size=4096 clients=1 n=2800 median_ns=7120 p99_ns=19800
 *
 * `create` is open, write by at most 1 MiB, close; `first` and `warm` are open, read to the known size by at most 1 MiB, close; `stat` is one stat.
 * redis has SET for create and GET for first and warm.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)1 << 20)
#define SYSTEMS_MAX 16
#define LIST_MAX 8
#define CLIENTS_MAX 8
#define OBJECTS_MAX 4096

enum place { PLACE_BESIDE, PLACE_APART, PLACE_FREE, PLACE_COUNT };
enum kind { KIND_DIR, KIND_HOLLOW, KIND_REDIS };
enum op { OP_CREATE, OP_FIRST, OP_WARM, OP_STAT, OP_COUNT };

static const char *const place_names[PLACE_COUNT] = {"beside", "apart", "free"};
static const char *const op_names[OP_COUNT] = {"create", "first", "warm", "stat"};

struct samples {
	uint64_t *ns;
	size_t count, room;
};

struct system {
	const char *name;
	const char *path;
	enum kind kind;
	pid_t server;			  /* 0: none, the kernel itself */
	struct samples samples[OP_COUNT]; /* of the present row */
};

/* What the clients of one turn share with the parent. */
struct turn {
	pthread_barrier_t barrier;
	uint64_t ns[CLIENTS_MAX][OP_COUNT][OBJECTS_MAX];
};

struct client {
	const struct system *system;
	struct turn *turn;
	char *buffer; /* PIECE_BYTES */
	size_t size_bytes;
	unsigned index, objects;
	bool compare;
	int socket; /* redis only */
};

static unsigned rounds = 7;
static size_t budget_bytes = (size_t)96 << 20;
static unsigned objects_max = 400;

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static __attribute__((noreturn)) void die(const struct client *c, const char *what)
{
	(void)fprintf(stderr, "tp-bench: %s: %s: %s\n", c->system->name, what, strerror(errno));
	exit(1);
}

static void path_of(const struct client *c, unsigned object, char *ret_path, size_t room)
{
	const char *dir = c->system->kind == KIND_REDIS ? "bench" : c->system->path;

	(void)snprintf(ret_path, room, "%s/o-%u-%u", dir, c->index, object);
}

static void piece_mark(const struct client *c, unsigned object, size_t off)
{
	uint64_t mark = (uint64_t)c->index << 56 | (uint64_t)object << 32 | off;

	memcpy(c->buffer, &mark, sizeof(mark));
}

static void piece_compare(const struct client *c, unsigned object, size_t off, size_t len)
{
	uint64_t mark = (uint64_t)c->index << 56 | (uint64_t)object << 32 | off;

	if (!c->compare)
		return;
	errno = EILSEQ;
	if (memcmp(c->buffer, &mark, sizeof(mark)) != 0)
		die(c, "read something else than was written");
	for (size_t i = sizeof(mark); i < len; i++) {
		if (c->buffer[i] != 'b')
			die(c, "read something else than was written");
	}
}

static size_t piece_len(const struct client *c, size_t off)
{
	return c->size_bytes - off < PIECE_BYTES ? c->size_bytes - off : PIECE_BYTES;
}

static void file_create(const struct client *c, unsigned object, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die(c, path);
	for (size_t off = 0; off < c->size_bytes; off += PIECE_BYTES) {
		size_t len = piece_len(c, off);

		piece_mark(c, object, off);
		if (write(fd, c->buffer, len) != (ssize_t)len)
			die(c, "write");
	}
	if (close(fd))
		die(c, "close");
}

static void file_read(const struct client *c, unsigned object, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(c, path);
	for (size_t off = 0; off < c->size_bytes; off += PIECE_BYTES) {
		size_t len = piece_len(c, off);

		if (read(fd, c->buffer, len) != (ssize_t)len)
			die(c, "read");
		piece_compare(c, object, off, len);
	}
	if (close(fd))
		die(c, "close");
}

static void socket_send(const struct client *c, const void *data, size_t len)
{
	for (const char *p = data; len;) {
		ssize_t n = send(c->socket, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			die(c, "send");
		p += n;
		len -= (size_t)n;
	}
}

static void socket_receive(const struct client *c, void *data, size_t len)
{
	for (char *p = data; len;) {
		ssize_t n = recv(c->socket, p, len, 0);

		if (n <= 0)
			die(c, "receive");
		p += n;
		len -= (size_t)n;
	}
}

static void redis_set(const struct client *c, unsigned object, const char *key)
{
	char head[512], answer[5];
	int n = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key,
		c->size_bytes);

	if (c->size_bytes + (size_t)n + 2 <= PIECE_BYTES) {
		/* One send, as any client would: the object stands behind room for its head. */
		piece_mark(c, object, 0);
		struct iovec iov[3] = {{head, (size_t)n}, {c->buffer, c->size_bytes}, {(char *)"\r\n", 2}};
		struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

		if (sendmsg(c->socket, &m, MSG_NOSIGNAL) != (ssize_t)c->size_bytes + n + 2)
			die(c, "send");
	} else {
		socket_send(c, head, (size_t)n);
		for (size_t off = 0; off < c->size_bytes; off += PIECE_BYTES) {
			piece_mark(c, object, off);
			socket_send(c, c->buffer, piece_len(c, off));
		}
		socket_send(c, "\r\n", 2);
	}
	socket_receive(c, answer, sizeof(answer));
	if (memcmp(answer, "+OK\r\n", sizeof(answer)) != 0)
		die(c, "SET was refused");
}

static void redis_get(const struct client *c, unsigned object, const char *key)
{
	char head[512], expect[32];
	int n = snprintf(head, sizeof(head), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
	int e = snprintf(expect, sizeof(expect), "$%zu\r\n", c->size_bytes);
	size_t got = 0;

	socket_send(c, head, (size_t)n);
	/* Small: all of the answer in as few calls as the server needed, behind one another in the buffer. */
	if (c->size_bytes + (size_t)e + 2 <= PIECE_BYTES) {
		while (got < (size_t)e + c->size_bytes + 2) {
			ssize_t r = recv(c->socket, c->buffer + got, PIECE_BYTES - got, 0);

			if (r <= 0)
				die(c, "receive");
			got += (size_t)r;
		}
		if (memcmp(c->buffer, expect, (size_t)e) != 0)
			die(c, "GET was refused");
		if (c->compare) {
			memmove(c->buffer, c->buffer + e, c->size_bytes);
			piece_compare(c, object, 0, c->size_bytes);
		}
		return;
	}
	socket_receive(c, head, (size_t)e);
	if (memcmp(head, expect, (size_t)e) != 0)
		die(c, "GET was refused");
	for (size_t off = 0; off < c->size_bytes; off += PIECE_BYTES) {
		socket_receive(c, c->buffer, piece_len(c, off));
		piece_compare(c, object, off, piece_len(c, off));
	}
	socket_receive(c, head, 2);
}

static void redis_del(const struct client *c, const char *key)
{
	char head[512], answer[4];
	int n = snprintf(head, sizeof(head), "*2\r\n$3\r\nDEL\r\n$%zu\r\n%s\r\n", strlen(key), key);

	socket_send(c, head, (size_t)n);
	socket_receive(c, answer, sizeof(answer));
}

static void redis_connect(struct client *c)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", c->system->path);
	c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&a, sizeof(a)))
		die(c, c->system->path);
}

static void operate(const struct client *c, enum op op, unsigned object, const char *path)
{
	struct stat st;

	switch (op) {
	case OP_CREATE:
		if (c->system->kind == KIND_REDIS)
			redis_set(c, object, path);
		else
			file_create(c, object, path);
		break;
	case OP_FIRST:
	case OP_WARM:
		if (c->system->kind == KIND_REDIS)
			redis_get(c, object, path);
		else
			file_read(c, object, path);
		break;
	case OP_STAT:
		if (stat(path, &st) || (size_t)st.st_size != c->size_bytes)
			die(c, path);
		break;
	default:
		break;
	}
}

/* Thread tid runs on that processor from now on; -1: on any. With fewer processors than that it stays where it is. */
static void run_on(pid_t tid, int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (processor < 0 || processor == i)
			CPU_SET(i, &set);
	}
	(void)sched_setaffinity(tid, sizeof(set), &set);
}

/* All threads of the server; those that it starts later go where the one that starts them runs. */
static void server_place(const struct system *s, enum place place)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	if (!s->server)
		return;
	(void)snprintf(path, sizeof(path), "/proc/%d/task", s->server);
	d = opendir(path);
	if (!d)
		return;
	while ((e = readdir(d))) {
		if (atoi(e->d_name) > 0)
			run_on(atoi(e->d_name), place == PLACE_FREE ? -1 : place == PLACE_APART ? 1 : 0);
	}
	(void)closedir(d);
}

/* One client's part of a turn, in its own process. */
static void client_run(struct client *c)
{
	unsigned ops = c->system->kind == KIND_REDIS ? OP_STAT : OP_COUNT;
	char path[4096];

	run_on(0, (int)c->index);
	memset(c->buffer, 'b', PIECE_BYTES);
	if (c->system->kind == KIND_REDIS)
		redis_connect(c);
	for (unsigned op = 0; op < ops; op++) {
		(void)pthread_barrier_wait(&c->turn->barrier);
		if (op == OP_CREATE)
			memset(c->buffer, 'b', PIECE_BYTES);
		/* The first stat after a read asks for the time of the read. */
		for (unsigned i = 0; op == OP_STAT && i < c->objects; i++) {
			path_of(c, i, path, sizeof(path));
			operate(c, op, i, path);
		}
		for (unsigned i = 0; i < c->objects; i++) {
			uint64_t start;

			path_of(c, i, path, sizeof(path));
			start = now_ns();
			operate(c, op, i, path);
			c->turn->ns[c->index][op][i] = now_ns() - start;
		}
	}
	(void)pthread_barrier_wait(&c->turn->barrier);
	for (unsigned i = 0; i < c->objects; i++) {
		path_of(c, i, path, sizeof(path));
		if (c->system->kind == KIND_REDIS)
			redis_del(c, path);
		else if (unlink(path))
			die(c, "unlink");
	}
}

static int samples_add(struct samples *s, const uint64_t *ns, size_t count)
{
	if (s->count + count > s->room) {
		size_t room = (s->count + count) * 2;
		uint64_t *grown = realloc(s->ns, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->ns = grown;
		s->room = room;
	}
	memcpy(s->ns + s->count, ns, count * sizeof(*ns));
	s->count += count;
	return 0;
}

/* Waits for all; when one failed the others, who would wait for it at the barrier, are ended. */
static int clients_wait(pid_t *pids, unsigned clients)
{
	int r = 0;

	for (unsigned left = clients; left; left--) {
		int status;
		pid_t pid = wait(&status);

		for (unsigned i = 0; i < clients; i++) {
			if (pids[i] == pid)
				pids[i] = 0;
		}
		if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		r = -EIO;
		for (unsigned i = 0; i < clients; i++) {
			if (pids[i] > 0)
				(void)kill(pids[i], SIGKILL);
		}
	}
	return r;
}

static unsigned objects_of(size_t size_bytes)
{
	size_t n = budget_bytes / size_bytes;

	return (unsigned)(n < 4 ? 4 : n > objects_max ? objects_max : n);
}

static int turn_run(struct system *s, struct turn *turn, char *buffer, size_t size_bytes, unsigned clients,
	unsigned round)
{
	pthread_barrierattr_t attr;
	pid_t pids[CLIENTS_MAX];
	unsigned objects = objects_of(size_bytes);
	int r;

	(void)pthread_barrierattr_init(&attr);
	(void)pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	(void)pthread_barrier_init(&turn->barrier, &attr, clients);
	for (unsigned i = 0; i < clients; i++) {
		struct client c = {.system = s,
			.turn = turn,
			.buffer = buffer,
			.size_bytes = size_bytes,
			.index = i,
			.objects = objects,
			.compare = round == 0 && s->kind != KIND_HOLLOW};

		pids[i] = fork();
		if (pids[i] < 0)
			return -errno;
		if (pids[i] == 0) {
			client_run(&c);
			_exit(0);
		}
	}
	r = clients_wait(pids, clients);
	if (r || round == 0)
		return r;
	for (unsigned i = 0; i < clients; i++) {
		for (unsigned op = 0; op < (s->kind == KIND_REDIS ? OP_STAT : OP_COUNT); op++) {
			r = samples_add(&s->samples[op], turn->ns[i][op], objects);
			if (r)
				return r;
		}
	}
	return 0;
}

static int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void row_print(
	struct system *systems, unsigned count, size_t size_bytes, unsigned clients, enum place place)
{
	for (unsigned i = 0; i < count; i++) {
		for (unsigned op = 0; op < OP_COUNT; op++) {
			struct samples *s = &systems[i].samples[op];

			if (!s->count)
				continue;
			qsort(s->ns, s->count, sizeof(*s->ns), compare_ns);
			(void)printf(
				"bench system=%s place=%s op=%s size=%zu clients=%u n=%zu median_ns=%" PRIu64
				" p99_ns=%" PRIu64 "\n",
				systems[i].name, place_names[place], op_names[op], size_bytes, clients,
				s->count, s->ns[s->count / 2], s->ns[s->count * 99 / 100]);
			s->count = 0;
		}
	}
	(void)fflush(stdout);
}

static int row_run(struct system *systems, unsigned count, struct turn *turn, char *buffer, size_t size_bytes,
	unsigned clients, enum place place)
{
	/* With more clients than one no server is beside all of them. */
	if (clients > 1 && place != PLACE_FREE)
		return 0;
	for (unsigned i = 0; i < count; i++)
		server_place(&systems[i], place);
	for (unsigned round = 0; round <= rounds; round++) {
		for (unsigned i = 0; i < count; i++) {
			int r = turn_run(&systems[i], turn, buffer, size_bytes, clients, round);

			if (r)
				return r;
		}
	}
	for (unsigned i = 0; i < count; i++)
		server_place(&systems[i], PLACE_FREE);
	row_print(systems, count, size_bytes, clients, place);
	return 0;
}

static size_t size_parse(const char *text, char **ret_end)
{
	size_t n = strtoull(text, ret_end, 0);

	switch (**ret_end) {
	case 'K':
		++*ret_end;
		return n << 10;
	case 'M':
		++*ret_end;
		return n << 20;
	case 'G':
		++*ret_end;
		return n << 30;
	default:
		return n;
	}
}

/* "4K,1M" */
static unsigned list_parse(const char *text, size_t *ret_list)
{
	unsigned n = 0;
	char *end;

	while (n < LIST_MAX) {
		ret_list[n] = size_parse(text, &end);
		if (!ret_list[n])
			return 0;
		n++;
		if (*end != ',')
			return *end ? 0 : n;
		text = end + 1;
	}
	return 0;
}

static int system_parse(char *text, struct system *ret_system)
{
	static const char *const kinds[] = {"dir", "hollow", "redis"};
	char *kind = strchr(text, '=');
	char *path = kind ? strchr(kind, ':') : NULL;
	char *server;

	if (!path)
		return -EINVAL;
	*kind++ = 0;
	*path++ = 0;
	server = strchr(path, ':');
	if (server)
		*server++ = 0;
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(kind, kinds[i]) == 0) {
			*ret_system = (struct system){
				.name = text, .path = path, .kind = i, .server = server ? atoi(server) : 0};
			return 0;
		}
	}
	return -EINVAL;
}

static int usage(void)
{
	(void)fputs("usage: tp-bench [--rounds N] [--sizes 4K,64K,1M,16M] [--clients 1,2] [--budget 96M]\n"
		    "                [--objects N] [--place beside,apart,free]\n"
		    "                NAME=dir|hollow|redis:PATH[:PID]...\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"sizes", required_argument, NULL, 's'},
		{"clients", required_argument, NULL, 'c'},
		{"budget", required_argument, NULL, 'b'},
		{"objects", required_argument, NULL, 'o'},
		{"place", required_argument, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	static struct system systems[SYSTEMS_MAX];
	size_t sizes[LIST_MAX] = {4096, 65536, 1 << 20, 16 << 20}, clients[LIST_MAX] = {1, 2};
	unsigned sizes_count = 4, clients_count = 2, count = 0, places = (1u << PLACE_COUNT) - 1;
	struct turn *turn;
	char *buffer, *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			rounds = (unsigned)atoi(optarg);
			break;
		case 's':
			sizes_count = list_parse(optarg, sizes);
			break;
		case 'c':
			clients_count = list_parse(optarg, clients);
			break;
		case 'b':
			budget_bytes = size_parse(optarg, &end);
			break;
		case 'o':
			objects_max = (unsigned)atoi(optarg);
			break;
		case 'p':
			places = 0;
			for (unsigned i = 0; i < PLACE_COUNT; i++) {
				if (strstr(optarg, place_names[i]))
					places |= 1u << i;
			}
			break;
		default:
			return usage();
		}
	}
	for (; optind < argc && count < SYSTEMS_MAX; optind++, count++) {
		if (system_parse(argv[optind], &systems[count]))
			return usage();
	}
	if (!count || !places || !sizes_count || !clients_count || !objects_max || objects_max > OBJECTS_MAX)
		return usage();
	for (unsigned i = 0; i < clients_count; i++) {
		if (clients[i] > CLIENTS_MAX)
			return usage();
	}
	turn = mmap(NULL, sizeof(*turn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	buffer = aligned_alloc(4096, PIECE_BYTES);
	if (turn == MAP_FAILED || !buffer)
		return 1;
	memset(turn, 0, sizeof(*turn));

	for (unsigned s = 0; s < sizes_count; s++) {
		for (unsigned k = 0; k < clients_count; k++) {
			for (unsigned place = 0; place < PLACE_COUNT; place++) {
				if (places & 1u << place && row_run(systems, count, turn, buffer, sizes[s],
								    (unsigned)clients[k], place))
					return 1;
			}
		}
	}
	return 0;
}
