/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TSan does not see through the kernel, which sends the RELEASE of a handle after the replies to all that was asked of it: what is read comes
 * after what was answered before.
 */
#pragma once

#include <signal.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TP_TELLS_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define TP_TELLS_TSAN 1
#endif
#ifdef TP_TELLS_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
extern char tp_kernel_order;
#define TP_ANSWERED() __tsan_release(&tp_kernel_order)
#define TP_ASKED() __tsan_acquire(&tp_kernel_order)
/* It runs a handler only when the call that the signal came into returns, and one that is restarted does not. */
#define TP_LOOK_FLAGS 0
#else
#define TP_ANSWERED() ((void)0)
#define TP_ASKED() ((void)0)
#define TP_LOOK_FLAGS SA_RESTART
#endif
