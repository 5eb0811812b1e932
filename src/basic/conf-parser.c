/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "basic/conf-parser.h"
#include "basic/io-util.h"

#define WHITESPACE " \t\r\f\v"

typedef struct Parser {
        const ConfHandler *handler;
        const char *file;
        unsigned line;
        char *section;                  /* NULL before the first header and behind a bad one */
        bool section_bad;               /* its assignments were reported with the header */
} Parser;

static int problem(Parser *p, const char *text) {
        return p->handler->problem ? p->handler->problem(p->handler->userdata, p->file, p->line, text) : 0;
}

/* Cuts white space off both ends, in place. */
static char *strip(char *s) {
        s += strspn(s, WHITESPACE);
        size_t n = strlen(s);
        while (n > 0 && strchr(WHITESPACE, s[n - 1]))
                n--;
        s[n] = 0;
        return s;
}

static int parse_section(Parser *p, char *s) {
        size_t n = strlen(s);

        p->section_bad = true;
        if (n < 3 || s[n - 1] != ']' || strcspn(s + 1, "[]") != n - 2) {
                (void) free_and_strdup(&p->section, NULL);
                return problem(p, "This is no section header of the form [Name]; what follows it is ignored up to the next one.");
        }
        s[n - 1] = 0;
        p->section_bad = false;
        return free_and_strdup(&p->section, s + 1);
}

static int parse_assignment(Parser *p, char *s) {
        char *equals = strchr(s, '=');

        if (!equals || equals == s)
                return problem(p, "This line is neither a comment, a [Section] nor Key=value; it is ignored.");
        if (!p->section)
                return p->section_bad ? 0 : problem(p, "This assignment stands before the first [Section]; it is ignored.");
        *equals = 0;
        return p->handler->assign(p->handler->userdata, p->file, p->line, p->section, strip(s), strip(equals + 1));
}

static int parse_line(Parser *p, const char *data, size_t n) {
        char buf[CONF_LINE_MAX + 1];

        if (n > CONF_LINE_MAX)
                return problem(p, "This line is longer than 4096 bytes; it is ignored.");
        if (memchr(data, 0, n))
                return problem(p, "This line holds a NUL byte; it is ignored.");
        memcpy(buf, data, n);
        buf[n] = 0;

        char *s = strip(buf);
        if (!*s || *s == '#' || *s == ';')
                return 0;
        if (!utf8_is_valid(s))
                return problem(p, "This line is not valid UTF-8; it is ignored.");
        return *s == '[' ? parse_section(p, s) : parse_assignment(p, s);
}

int conf_parse_buffer(const char *file, const char *data, size_t size, const ConfHandler *handler) {
        Parser p = { .handler = handler, .file = file };
        int r = 0;

        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {        /* byte order mark */
                data += 3;
                size -= 3;
        }
        while (size > 0 && r >= 0) {
                const char *end = memchr(data, '\n', size);
                size_t n = end ? (size_t) (end - data) : size;

                p.line++;
                r = parse_line(&p, data, n);
                n += end ? 1 : 0;
                data += n;
                size -= n;
        }
        free(p.section);
        return r < 0 ? r : 0;
}

/* -EFBIG above the limit. Reads to the end rather than trusting st_size: /proc and pipes have none. */
static int read_limited(const char *file, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *buf = NULL;
        size_t n = 0, allocated = 0;
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        while (n == allocated) {
                if (n > CONF_FILE_MAX)
                        return -EFBIG;
                char *more = realloc(buf, allocated = n ? MIN(n * 2, CONF_FILE_MAX + 1) : 4096);
                if (!more)
                        return -ENOMEM;
                buf = more;
                ssize_t k = read_full(fd, buf + n, allocated - n);
                if (k < 0)
                        return (int) k;
                n += (size_t) k;
        }
        *ret = TAKE_PTR(buf);
        *ret_size = n;
        return 0;
}

int conf_parse_file(const char *file, const ConfHandler *handler) {
        _cleanup_free_ char *data = NULL, *text = NULL;
        size_t size = 0;
        int r = read_limited(file, &data, &size);
        if (r == -ENOMEM)
                return r;
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                return conf_parse_buffer(file, data, size, handler);

        Parser p = { .handler = handler, .file = file };
        text = r == -EFBIG ? strdup("The file is larger than 1 MiB; it is ignored.")
                           : strformat("The file cannot be read (%s); it is ignored.%s", strerror(-r),
                                       r == -EACCES ? " The service reads it as its own user: chmod 0644." : "");
        return text ? problem(&p, text) : -ENOMEM;
}

static const char *file_name(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash ? slash + 1 : path;
}

static int compare_file_names(const void *a, const void *b) {
        return strcmp(file_name(*(char *const *) a), file_name(*(char *const *) b));
}

static bool has_file_name(char *const *paths, const char *name) {
        STRV_FOREACH(p, paths)
                if (streq(file_name(*p), name))
                        return true;
        return false;
}

/* Adds those drop-ins of one directory whose names no stronger directory had. */
static int add_dropins(const char *dir, Strv *paths) {
        DIR *d = opendir(dir);
        int r = 0;

        if (!d)
                return errno == ENOMEM ? -ENOMEM : 0;
        for (const struct dirent *de; r >= 0 && (de = readdir(d));) {
                if (de->d_name[0] == '.' || !endswith(de->d_name, ".conf") || has_file_name(*paths, de->d_name))
                        continue;
                if (strv_length(*paths) >= CONF_DROPINS_MAX)
                        break;
                r = strv_consume(paths, strformat("%s/%s", dir, de->d_name));
        }
        closedir(d);
        return r;
}

int conf_files(const char *const *dirs, const char *name, Strv *ret) {
        _cleanup_strv_ Strv files = NULL, dropins = NULL;
        size_t n = strv_length((char *const *) dirs);
        int r;

        for (size_t i = n; i > 0; i--) {
                _cleanup_free_ char *main_file = strformat("%s/%s.conf", dirs[i - 1], name);
                _cleanup_free_ char *dir = strformat("%s/%s.conf.d", dirs[i - 1], name);
                if (!main_file || !dir)
                        return -ENOMEM;
                /* One that exists but cannot be read still counts: its problem is to be reported. */
                if (!files && (access(main_file, F_OK) == 0 || errno != ENOENT)) {
                        r = strv_extend(&files, main_file);
                        if (r < 0)
                                return r;
                }
                r = add_dropins(dir, &dropins);
                if (r < 0)
                        return r;
        }
        if (dropins)
                qsort(dropins, strv_length(dropins), sizeof(char *), compare_file_names);
        STRV_FOREACH(p, dropins) {
                r = strv_extend(&files, *p);
                if (r < 0)
                        return r;
        }
        if (!files && !(files = calloc(1, sizeof(char *))))
                return -ENOMEM;
        *ret = TAKE_PTR(files);
        return 0;
}
