/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Configuration files in the form of systemd's: [Section] lines, Key=value lines, comments that begin with # or ;.
 * White space around keys and values does not count. No continuation lines, no quoting: a value is the rest of its line.
 * What cannot be used (a line over CONF_LINE_MAX bytes, a key outside of any section, bytes that are not UTF-8) is
 * reported with file and line and skipped; the rest of the file still counts. Nothing here logs. */

#include "basic/macro.h"
#include "basic/string-util.h"

#define CONF_LINE_MAX (4 * KIB)                 /* bytes of one line, newline not counted */
#define CONF_FILE_MAX (1 * MIB)
#define CONF_DROPINS_MAX 1000                   /* names of drop-ins in all directories together */

typedef struct ConfHandler {
        /* One assignment. section and key are not empty. Negative stops the parser and is returned. */
        int (*assign)(void *userdata, const char *file, unsigned line, const char *section, const char *key, const char *value);
        /* Something that was skipped; text is a full sentence without file and line. line 0: the file as a whole. */
        int (*problem)(void *userdata, const char *file, unsigned line, const char *text);
        void *userdata;
} ConfHandler;

/* `file` is only a name for the messages. */
int conf_parse_buffer(const char *file, const char *data, size_t size, const ConfHandler *handler);

/* A file that does not exist is an empty one; one that cannot be read is a problem, not a failure. */
int conf_parse_file(const char *file, const ConfHandler *handler);

/* The files that make up the configuration <name>.conf, in the order in which they are to be read, as systemd does it:
 * <name>.conf of the strongest directory that has one, then the *.conf files of all <name>.conf.d/, sorted by file name;
 * of the same name in two directories only the stronger one counts (an empty file or a link to /dev/null masks).
 * `dirs`: weakest first, NULL-terminated. */
int conf_files(const char *const *dirs, const char *name, Strv *ret);
