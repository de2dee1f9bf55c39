/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened, a line for each event: whatever is dropped, repaired, skipped or given up is said here.
 *
 * Lines are kept in STATE/events (rotated once to STATE/events.1 at size_max_bytes), so that they are there
 * after a crash, and can be read back as one growing stream by offset: the stream's offset 0 is the first
 * byte that was kept at open, and an offset means the same byte until close. Rotation drops the oldest file:
 * who reads below what is kept gets the oldest line that is. A line is
 * "2026-11-27T00:30:32.123456789Z KIND text" with blanks, control characters and backslashes of names in text
 * escaped as \xNN by the caller through tp_events_quote(). A line that was torn by a crash is ended. One
 * process writes.
 *
 * Saying is a copy into a buffer of a fixed size, so that it may be done with any lock held; tp_events_flush()
 * brings what was said into the stream, and is called where no lock is held, before anybody is answered whose
 * request it is about. A full disk, or a buffer that is full because nobody could flush, drops lines, counts
 * them, and says so in the first line that can be kept again. All functions may be called from any thread;
 * none waits for stable storage.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/clock.h"
#include "store/errtext.h"

struct tp_events;

/*
 * state NULL: memory only (tests). The directory exists. Errors: what open gives, -ENOMEM, with text. clock
 * outlives the events.
 */
int tp_events_open(const char *state, const struct tp_clock *clock, uint64_t size_max_bytes,
	struct tp_err *err, struct tp_events **ret);
/* Flushes first. NULL is allowed. */
void tp_events_close(struct tp_events *e);

/*
 * Says one event, to be flushed. kind is a word of at most 64 characters; a line of more than 8 KiB is cut
 * short. Waits for no disk, whatever locks the caller holds. e may be NULL: nothing happens.
 */
__attribute__((format(printf, 3, 4))) void tp_events_say(
	struct tp_events *e, const char *kind, const char *fmt, ...);
/*
 * All lines that this thread said are in the file (or dropped) when it returns: they outlive SIGKILL. Writes,
 * so no lock is held. Costs one load when nobody said anything. e may be NULL.
 */
void tp_events_flush(struct tp_events *e);
/*
 * For the handler of a crash: writes what was not flushed. Async-signal-safe, and without a lock, which the
 * thread that crashed may hold: what another thread was flushing at that moment may be there twice, or out of
 * order. Nothing may be done with e afterwards.
 */
void tp_events_crashed(struct tp_events *e);

/* The length of the stream so far, with what is not kept any more: grows only. What was not flushed is not in the stream. */
uint64_t tp_events_size(struct tp_events *e);
/* Bytes read from *offset on, which is moved to the oldest line that is kept when it is below; 0 at the end, or -errno. */
ssize_t tp_events_read(struct tp_events *e, uint64_t *offset, void *buf, size_t len);
/* Lines that could not be kept. */
uint64_t tp_events_dropped(struct tp_events *e);
/*
 * Called after each flush that had something to write (from the thread that flushed, with no lock held);
 * NULL: off. Must not flush itself.
 */
void tp_events_watch(struct tp_events *e, void (*said)(void *user), void *user);

/* Writes name into buf, escaped as above, always terminated, cut short where buf ends; returns buf. */
const char *tp_events_quote(const char *name, size_t name_len, char *buf, size_t buf_len);
