/* SPDX-License-Identifier: Apache-2.0 */
#include "party.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct tp_party *tp_party_new(void)
{
	struct tp_party *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	p->stall_seconds = 60;
	p->seed = 1;
	return p;
}

void tp_party_add(struct tp_party *p, const char *role, tp_round round)
{
	assert(p->members < TP_MEMBERS_MAX);
	p->role[p->members] = role;
	p->round[p->members++] = round;
}

uint32_t tp_member_random(struct tp_member *m, uint32_t below)
{
	uint64_t z = (m->random += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 16) % below;
}

void tp_party_count(struct tp_party *p, unsigned counter, uint64_t n)
{
	(void)__atomic_fetch_add(&p->counters[counter], n, __ATOMIC_RELAXED);
}

void tp_member_doing(struct tp_member *m, const char *what)
{
	m->party->doing[m->number] = what;
}

void tp_member_fail(struct tp_member *m, const char *format, ...)
{
	struct tp_party *p = m->party;
	va_list ap;

	if (__atomic_exchange_n(&p->failed, 1, __ATOMIC_SEQ_CST) == 0) {
		int len = snprintf(p->what, sizeof(p->what), "%s %u, round %lu: ", m->role, m->number,
			(unsigned long)p->rounds[m->number]);

		va_start(ap, format);
		(void)vsnprintf(p->what + len, sizeof(p->what) - (size_t)len, format, ap);
		va_end(ap);
	}
	p->stop = true;
	_exit(1);
}

static void member_main(struct tp_party *p, unsigned number)
{
	struct tp_member m = {
		.party = p, .number = number, .random = p->seed * 1000 + number, .role = p->role[number]};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!p->stop && (p->rounds_max == 0 || p->rounds[number] < p->rounds_max)) {
		p->round[number](&m);
		p->rounds[number]++;
	}
	p->doing[number] = "ended";
	_exit(0);
}

static double now_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct watch {
	pid_t pid[TP_MEMBERS_MAX]; /* 0: has ended */
	uint64_t rounds[TP_MEMBERS_MAX];
	double moved[TP_MEMBERS_MAX];
	unsigned running;
};

static void reap(struct tp_party *p, struct watch *w)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < p->members; i++) {
			if (w->pid[i] != pid)
				continue;
			w->pid[i] = 0;
			w->running--;
			if (status != 0 && !p->failed) {
				p->failed = 1;
				(void)snprintf(p->what, sizeof(p->what),
					"%s %u ended with status %x while it did: %s", p->role[i], i,
					(unsigned)status, p->doing[i] ? p->doing[i] : "nothing");
			}
		}
	}
	if (p->failed)
		p->stop = true;
}

/* true when one stands still for too long; all of them are then told. */
static bool stalled(struct tp_party *p, struct watch *w, double now)
{
	bool any = false;

	for (unsigned i = 0; i < p->members; i++) {
		if (w->rounds[i] != p->rounds[i]) {
			w->rounds[i] = p->rounds[i];
			w->moved[i] = now;
		}
		if (w->pid[i] && now - w->moved[i] > p->stall_seconds)
			any = true;
	}
	for (unsigned i = 0; any && i < p->members; i++) {
		if (w->pid[i])
			(void)fprintf(stderr, "%s %u (pid %d): %lu rounds, still for %.0f s: %s\n",
				p->role[i], i, (int)w->pid[i], (unsigned long)p->rounds[i], now - w->moved[i],
				p->doing[i] ? p->doing[i] : "nothing");
	}
	return any;
}

static void kill_all(struct tp_party *p, struct watch *w)
{
	for (unsigned i = 0; i < p->members; i++) {
		if (w->pid[i])
			(void)kill(w->pid[i], SIGKILL);
	}
}

int tp_party_run(struct tp_party *p)
{
	struct watch w = {0};
	double started = now_seconds();
	bool still = false;

	for (unsigned i = 0; i < p->members; i++) {
		w.moved[i] = started;
		w.pid[i] = fork();
		assert(w.pid[i] >= 0);
		if (w.pid[i] == 0)
			member_main(p, i);
		w.running++;
	}
	while (w.running > 0) {
		struct timespec tick = {.tv_nsec = 20000000};
		double now = now_seconds();

		(void)nanosleep(&tick, NULL);
		reap(p, &w);
		if (p->seconds > 0 && now - started > p->seconds)
			p->stop = true;
		if (!still && stalled(p, &w, now)) {
			still = true;
			p->stop = true;
			kill_all(p, &w);
		}
	}
	if (p->failed && !still)
		(void)fprintf(stderr, "%s\n", p->what);
	return p->failed || still ? 1 : 0;
}
