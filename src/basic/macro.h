/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Cleanup attributes, ownership transfer and the few macros that everything else is written with. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _noreturn_ __attribute__((noreturn))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *) ((char *) (ptr) - offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define STR_IN_SET(x, ...) str_in_set((x), (const char *const[]) { __VA_ARGS__, NULL })

/* Hands the value over and leaves NULL (or -EBADF) behind, so that the cleanup of the giver does nothing. */
#define TAKE_PTR(p) ({ typeof(p) *_pp = &(p); typeof(p) _v = *_pp; *_pp = NULL; _v; })
#define TAKE_FD(fd) ({ int *_pfd = &(fd); int _f = *_pfd; *_pfd = -EBADF; _f; })

/* Defines name##p() for _cleanup_(name##p) on a variable of the pointer type. */
#define DEFINE_CLEANUP(type, func)                      \
        static inline void func##p(type *p) {           \
                if (*p)                                 \
                        func(*p);                       \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline void closep(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

DEFINE_CLEANUP(FILE *, fclose)
#define _cleanup_fclose_ _cleanup_(fclosep)

typedef uint64_t usec_t;                /* microseconds; wall clock since the epoch unless said otherwise */
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)
#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_INFINITY UINT64_MAX

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)
