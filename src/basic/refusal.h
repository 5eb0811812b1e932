/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A refusal is a request that was understood and is not done: quota, capacity, wrong state, unknown name, a backend
 * that said no. It is a code and a full sentence that names the object, the reason and the remedy. It is not an
 * errno: functions that can refuse return -EBADRQC, used for nothing else, and fill their `reterr_refusal`.
 * Every other negative errno means that something broke. */

#include "basic/macro.h"

/* Code, and the last part of the D-Bus error name org.swarm.Orchestrator.Error.<Name>. */
#define REFUSAL_TABLE(X)                                                                                  \
        X(INVALID_ARGUMENT, "InvalidArgument")          /* mapped to org.freedesktop.DBus.Error.InvalidArgs */ \
        X(ACCESS_DENIED, "AccessDenied")                /* mapped to org.freedesktop.DBus.Error.AccessDenied */ \
        X(NO_SUCH_SESSION, "NoSuchSession")                                                               \
        X(NO_SUCH_TEMPLATE, "NoSuchTemplate")                                                             \
        X(NO_SUCH_NODE, "NoSuchNode")                                                                     \
        X(NO_SUCH_PROVIDER, "NoSuchProvider")                                                             \
        X(NO_SUCH_JOB, "NoSuchJob")                                                                       \
        X(NO_SUCH_GENERATION, "NoSuchGeneration")                                                         \
        X(NO_SUCH_IMAGE, "NoSuchImage")                                                                   \
        X(SESSION_EXISTS, "SessionExists")                                                                \
        X(WRONG_STATE, "WrongState")                                                                      \
        X(BUSY, "Busy")                                                                                   \
        X(LIMIT_EXCEEDED, "LimitExceeded")                                                                \
        X(RATE_LIMITED, "RateLimited")                                                                    \
        X(NO_CAPACITY, "NoCapacity")                                                                      \
        X(IMAGE_REFUSED, "ImageRefused")                /* VOLUME, wrong platform, too many layers */     \
        X(FILES_REFUSED, "FilesRefused")                /* names or mounts that a layer cannot hold */    \
        X(FILES_CHANGED, "FilesChanged")                /* the witness broke: the container ran again */  \
        X(NETWORK_CONFLICT, "NetworkConflict")                                                            \
        X(PROVIDER_FAILED, "ProviderFailed")            /* the backend said no, or the task failed */     \
        X(PROVIDER_UNAVAILABLE, "ProviderUnavailable")  /* the backend cannot be reached now */           \
        X(REGISTRY_FAILED, "RegistryFailed")                                                              \
        X(STORE_FAILED, "StoreFailed")                                                                    \
        X(NOT_CANCELABLE, "NotCancelable")                                                                \
        X(CANCELED, "Canceled")                                                                           \
        X(INTERRUPTED, "Interrupted")                                                                     \
        X(TIMED_OUT, "TimedOut")                                                                          \
        X(INTERNAL, "Internal")

typedef enum RefusalCode {
#define X(code, name) REFUSAL_##code,
        REFUSAL_TABLE(X)
#undef X
        _REFUSAL_MAX,
        _REFUSAL_INVALID = -EINVAL,
} RefusalCode;

/* Bytes. Sentences quote what others said and what others named, and jobs are kept by the thousand, each with its own. */
#define REFUSAL_MESSAGE_MAX 4096

typedef struct Refusal {
        RefusalCode code;
        char *message;          /* a full sentence, UTF-8; cut with "..." if it was longer than that */
} Refusal;

const char *refusal_code_to_string(RefusalCode code);
RefusalCode refusal_code_from_string(const char *name);

Refusal *refusal_free(Refusal *r);
DEFINE_CLEANUP(Refusal *, refusal_free)
#define _cleanup_refusal_ _cleanup_(refusal_freep)

Refusal *refusal_copy(const Refusal *r);        /* NULL for NULL, and when memory is short */

/* Fills *reterr (which may be NULL) and returns -EBADRQC, or -ENOMEM. Use: return refuse(reterr, REFUSAL_BUSY, "…"); */
int refuse(Refusal **reterr, RefusalCode code, const char *format, ...) _printf_(3, 4);

/* Turns the result of a function that may refuse or break into a refusal for a person: refused → itself;
 * broke → INTERNAL with strerror. Takes *from. */
Refusal *refusal_of(int r, Refusal **from);
