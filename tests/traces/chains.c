/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces of prefix chains: what a store of LLM KV chunks is asked for. The numbers come from what has been published
 * about such loads, and were fixed before the policy was tuned:
 *
 * chat: conversations with people. Turns as in WildChat (59 % have one turn, 2.5 in the mean; LMSYS-Chat-1M 2.0,
 *   ShareGPT 3.5); about 740 tokens a turn (WildChat: 295 asked, 441 answered) are 3 chunks of 256, the first turn is
 *   longer (documents; the median input of Mooncake's conversations has 6,900 tokens). Half of them share the system
 *   prompt of some application, as hits across users are few. Between turns passes the time that a person takes: 80 %
 *   of reuse within 10 minutes ("KVCache Cache in the Wild", trace A, whose ideal hit ratio is 62 %; Mooncake: 40 %).
 *   Two hours, as there.
 * api: programs ask. Hardly any second turns, the hits are templates that one user sends many times in a burst: 80 %
 *   of reuse within 10 seconds, an ideal hit ratio of 54 %, a tenth of the chunks has most of the reuse (trace B).
 * agents: coding agents ("TraceLab"): 84 steps a session in the mean and 19 in the median, nine steps to one request of
 *   the user, 2 to 25 thousand tokens of tools and system prompt in a few variants, contexts that grow to 160 thousand
 *   tokens and are then compacted to a summary; sub-agents with prompts of their own, and contexts that are taken back
 *   to an earlier point and branch there. Chunks of 2,048 tokens. Eight hours.
 * mix: all three against one store for two hours, four requests at a time.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define CHUNK_KIB 1024
#define AGENT_CHUNK_TOKENS 2048
#define AGENT_CONTEXT_MAX (160000 / AGENT_CHUNK_TOKENS)

enum kind {
	CHAT,
	API,
	AGENT,
};

struct path {
	uint32_t *ids; /* owned */
	uint32_t n, max;
};

struct session {
	double when_s; /* its next request */
	enum kind kind;
	struct path path;
	uint32_t own_from; /* what comes before is shared with others */
	uint32_t left;	   /* turns, requests or steps to go */
	double tokens;	   /* agent: of the chunk that is not full yet */
	bool by_user;	   /* agent: the next step is the user's */
};

#define APPS 40
#define TEMPLATES 1500
#define TOOLSETS 12
#define PROJECTS 40

struct world {
	struct trace *t;
	struct rng *r;
	double end_s;
	struct session **heap; /* owned, the next one first */
	uint32_t n, max;
	struct path apps[APPS], templates[TEMPLATES], projects[TOOLSETS][PROJECTS], toolsets[TOOLSETS];
	struct zipf app_zipf, template_zipf, toolset_zipf, project_zipf;
};

/* --- Paths --- */

static void path_grow(struct world *w, struct path *p, uint32_t chunks)
{
	for (uint32_t i = 0; i < chunks; i++) {
		if (p->n == p->max) {
			p->max = p->max ? p->max * 2 : 16;
			p->ids = need(realloc(p->ids, p->max * sizeof(*p->ids)));
		}
		p->ids[p->n] = trace_object(w->t, w->r, CHUNK_KIB, (uint16_t)(p->n + 1));
		p->n++;
	}
}

static void path_copy(struct path *to, const struct path *from)
{
	to->n = to->max = from->n;
	to->ids = need(malloc((from->n + 1) * sizeof(*to->ids)));
	if (from->n)
		memcpy(to->ids, from->ids, from->n * sizeof(*to->ids));
}

static void walk(struct world *w, const struct path *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		trace_ref(w->t, p->ids[i], i == 0);
}

/* --- The next event --- */

static void push(struct world *w, struct session *s)
{
	uint32_t i;

	if (w->n == w->max) {
		w->max = w->max ? w->max * 2 : 1024;
		w->heap = need(realloc(w->heap, w->max * sizeof(*w->heap)));
	}
	for (i = w->n++; i && w->heap[(i - 1) / 2]->when_s > s->when_s; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = s;
}

static struct session *pop(struct world *w)
{
	struct session *first = w->heap[0], *last = w->heap[--w->n];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = i * 2 + 1;

		if (child + 1 < w->n && w->heap[child + 1]->when_s < w->heap[child]->when_s)
			child++;
		if (child >= w->n || w->heap[child]->when_s >= last->when_s)
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	if (w->n)
		w->heap[i] = last;
	return first;
}

static struct session *session_new(struct world *w, enum kind kind, double when_s, const struct path *shared)
{
	struct session *s = need(calloc(1, sizeof(*s)));

	s->kind = kind;
	s->when_s = when_s;
	path_copy(&s->path, shared);
	s->own_from = s->path.n;
	push(w, s);
	return s;
}

/* --- Chats --- */

static void chat_begin(struct world *w, double when_s)
{
	static const struct path none;
	struct path *app = &w->apps[zipf_draw(&w->app_zipf, w->r)];
	struct session *s;

	if (!app->n)
		path_grow(w, app, 1 + rng_geometric(w->r, 2));
	s = session_new(w, CHAT, when_s, rng_below(w->r, 2) ? app : &none);
	s->left = rng_unit(w->r) < 0.59 ? 1 : 2 + rng_geometric(w->r, 2.76);
}

static void chat_turn(struct world *w, struct session *s)
{
	path_grow(w, &s->path, 1 + rng_geometric(w->r, s->path.n == s->own_from ? 5 : 2));
	walk(w, &s->path);
	s->when_s += 5 + rng_lognormal(w->r, 120, 1.7);
}

/* --- Programs --- */

static void api_begin(struct world *w, double when_s)
{
	struct path *template = &w->templates[zipf_draw(&w->template_zipf, w->r)];
	struct session *s;

	if (!template->n)
		path_grow(w, template, 1 + rng_geometric(w->r, 6));
	s = session_new(w, API, when_s, template);
	s->left = 1 + rng_geometric(w->r, 14);
}

static void api_request(struct world *w, struct session *s)
{
	s->path.n = s->own_from;
	path_grow(w, &s->path, 1 + rng_geometric(w->r, 5));
	walk(w, &s->path);
	s->when_s += rng_exponential(w->r, 2);
}

/* --- Agents --- */

static void agent_begin(struct world *w, double when_s, bool sub)
{
	uint32_t tools = zipf_draw(&w->toolset_zipf, w->r), project = zipf_draw(&w->project_zipf, w->r);
	struct path *toolset, *shared;
	struct session *s;

	/* The last third of the toolsets are those of sub-agents. */
	tools = sub ? TOOLSETS * 2 / 3 + tools % (TOOLSETS / 3) : tools % (TOOLSETS * 2 / 3);
	toolset = &w->toolsets[tools];
	shared = &w->projects[tools][project];
	if (!toolset->n)
		path_grow(w, toolset, 1 + rng_below(w->r, 12));
	if (!shared->n) {
		path_copy(shared, toolset);
		path_grow(w, shared, 1 + rng_below(w->r, 4));
	}
	s = session_new(w, AGENT, when_s, shared);
	s->left = 1 + (sub ? rng_geometric(w->r, 11) : (uint32_t)fmin(2000, rng_lognormal(w->r, 19, 1.72)));
	s->tokens = rng_lognormal(w->r, 2000, 1);
}

static void agent_step(struct world *w, struct session *s)
{
	/* The user goes back to an earlier point. */
	if (s->by_user && s->path.n > s->own_from + 2 && rng_unit(w->r) < 0.08)
		s->path.n = s->own_from + 1 + rng_below(w->r, s->path.n - s->own_from - 1);
	s->tokens += rng_lognormal(w->r, 600, 1.5);
	if (s->path.n + s->tokens / AGENT_CHUNK_TOKENS > AGENT_CONTEXT_MAX) {
		s->path.n = s->own_from;
		s->tokens = 8000;
	}
	path_grow(w, &s->path, (uint32_t)(s->tokens / AGENT_CHUNK_TOKENS));
	s->tokens = fmod(s->tokens, AGENT_CHUNK_TOKENS);
	walk(w, &s->path);
	if (rng_unit(w->r) < 0.03)
		for (uint32_t i = 1 + rng_below(w->r, 3); i; i--)
			agent_begin(w, s->when_s + rng_exponential(w->r, 5), true);
	s->by_user = rng_unit(w->r) < 1.0 / 9;
	s->when_s += s->by_user ? rng_lognormal(w->r, 120, 2) : 3 + rng_lognormal(w->r, 5, 1);
}

/* --- All together --- */

static void world_init(struct world *w, struct trace *t, struct rng *r, double end_s)
{
	*w = (struct world){.t = t, .r = r, .end_s = end_s};
	zipf_init(&w->app_zipf, APPS, 1);
	zipf_init(&w->template_zipf, TEMPLATES, 0.9);
	zipf_init(&w->toolset_zipf, TOOLSETS, 1);
	zipf_init(&w->project_zipf, PROJECTS, 0.8);
}

static void world_fini(struct world *w)
{
	for (int i = 0; i < APPS; i++)
		free(w->apps[i].ids);
	for (int i = 0; i < TEMPLATES; i++)
		free(w->templates[i].ids);
	for (int i = 0; i < TOOLSETS; i++) {
		free(w->toolsets[i].ids);
		for (int j = 0; j < PROJECTS; j++)
			free(w->projects[i][j].ids);
	}
	zipf_fini(&w->app_zipf);
	zipf_fini(&w->template_zipf);
	zipf_fini(&w->toolset_zipf);
	zipf_fini(&w->project_zipf);
	free(w->heap);
}

static void world_run(struct world *w)
{
	while (w->n) {
		struct session *s = pop(w);

		if (s->left-- == 0 || s->when_s > w->end_s) {
			free(s->path.ids);
			free(s);
			continue;
		}
		switch (s->kind) {
		case CHAT:
			chat_turn(w, s);
			break;
		case API:
			api_request(w, s);
			break;
		case AGENT:
			agent_step(w, s);
			break;
		}
		push(w, s);
	}
}

/* The mean number of requests of one session of each kind, so that a trace comes out about as long as was asked. */
#define CHAT_EVENTS 36
#define API_EVENTS 200
#define AGENT_EVENTS 2500

static void populate(struct world *w, double chats, double apis, double agents)
{
	for (int i = 0; i < (int)(chats / CHAT_EVENTS) + (chats > 0); i++)
		chat_begin(w, rng_unit(w->r) * w->end_s);
	for (int i = 0; i < (int)(apis / API_EVENTS) + (apis > 0); i++)
		api_begin(w, rng_unit(w->r) * w->end_s);
	for (int i = 0; i < (int)(agents / AGENT_EVENTS) + (agents > 0); i++)
		agent_begin(w, rng_unit(w->r) * w->end_s, false);
	world_run(w);
}

static void chat(struct trace *t, struct rng *r, uint64_t events)
{
	struct world w;

	world_init(&w, t, r, 2 * 3600);
	populate(&w, (double)events, 0, 0);
	world_fini(&w);
}

static void api(struct trace *t, struct rng *r, uint64_t events)
{
	struct world w;

	world_init(&w, t, r, 2 * 3600);
	populate(&w, 0, (double)events, 0);
	world_fini(&w);
}

static void agents(struct trace *t, struct rng *r, uint64_t events)
{
	struct world w;

	world_init(&w, t, r, 8 * 3600);
	populate(&w, 0, 0, (double)events);
	world_fini(&w);
}

static void mix(struct trace *t, struct rng *r, uint64_t events)
{
	struct world w;

	world_init(&w, t, r, 2 * 3600);
	populate(&w, (double)events / 3, (double)events / 3, (double)events / 3);
	world_fini(&w);
}

const struct generator chain_generators[] = {
	{"chat", chat, true, 1},
	{"api", api, true, 1},
	{"agents", agents, true, 1},
	{"mix", mix, true, 4},
	{NULL, NULL, false, 0},
};
