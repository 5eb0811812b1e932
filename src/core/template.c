/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "basic/io-util.h"
#include "basic/log.h"
#include "core/template-parser.h"
#include "core/yaml-node.h"

struct TemplateTable {
        Template *templates;            /* sorted by name */
        size_t n;
};

/* https://fly.io/docs/machines/guides-examples/machine-sizing/: the number is that of virtual cpus. On Swarm it becomes the
 * cpu limit: a shared cpu may be used whole while nobody else wants it. */
static const struct {
        const char *prefix;
        unsigned cpus[10];
} sizes[] = {
        { "shared-cpu-", { 1, 2, 4, 6, 8 } },
        { "performance-", { 1, 2, 4, 6, 8, 10, 12, 14, 16 } },
};

int size_to_cpus(const char *size, double *ret) {
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                const char *rest = startswith(size, sizes[i].prefix);
                for (const unsigned *c = sizes[i].cpus; rest && *c; c++) {
                        char name[16];
                        (void) snprintf(name, sizeof(name), "%ux", *c);
                        if (streq(rest, name)) {
                                *ret = *c;
                                return 0;
                        }
                }
        }
        return -EINVAL;
}

void template_done(Template *t) {
        char *const strings[] = { t->name, t->image, t->size, t->provider, t->description, t->path };
        const Strv lists[] = { t->command, t->env, t->labels, t->features, t->routes, t->healthcheck };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                free(strings[i]);
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                strv_free(lists[i]);
        *t = (Template) {};
}

TemplateTable *template_table_new(void) {
        return calloc(1, sizeof(TemplateTable));
}

TemplateTable *template_table_free(TemplateTable *t) {
        for (size_t i = 0; t && i < t->n; i++)
                template_done(&t->templates[i]);
        if (t)
                free(t->templates);
        free(t);
        return NULL;
}

/* Where the name is, or where it has to go. */
static size_t position(const TemplateTable *t, const char *name, bool *ret_found) {
        size_t low = 0, high = t->n;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = strcmp(t->templates[middle].name, name);
                if (c == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_found = false;
        return low;
}

int template_table_add(TemplateTable *table, Template *t) {
        bool found;
        size_t i = position(table, t->name, &found);

        if (found) {
                log_info("Template \"%s\" of %s replaces that of %s.", t->name, t->path, table->templates[i].path);
                template_done(&table->templates[i]);
        } else {
                if (table->n >= TEMPLATES_MAX)
                        return -E2BIG;
                Template *more = reallocarray(table->templates, table->n + 1, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                table->templates = more;
                memmove(more + i + 1, more + i, (table->n - i) * sizeof(*more));
                table->n++;
        }
        table->templates[i] = *t;
        *t = (Template) {};
        return 0;
}

const Template *template_table_find(const TemplateTable *t, const char *name) {
        bool found;
        size_t i = position(t, name, &found);
        return found ? &t->templates[i] : NULL;
}

const Template *template_table_nth(const TemplateTable *t, size_t i) {
        return i < t->n ? &t->templates[i] : NULL;
}

size_t template_table_size(const TemplateTable *t) {
        return t->n;
}

/* At most one byte more than is allowed, so that yaml_load() sees that it is too much. */
static int read_template(const char *path, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))       /* a link to /dev/null masks */
                return -EINVAL;
        size_t limit = MIN((uint64_t) st.st_size, YAML_SIZE_MAX) + 1;
        buf = malloc(limit);
        if (!buf)
                return -ENOMEM;
        n = read_full(fd, buf, limit);
        if (n < 0)
                return (int) n;
        *ret = TAKE_PTR(buf);
        *ret_size = (size_t) n;
        return 0;
}

static int load_file(TemplateTable *table, const char *dir, const char *name, Strv *errors) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, name), *data = NULL, *text = NULL;
        size_t size = 0;
        int r;

        if (!path)
                return -ENOMEM;
        if (endswith(name, ".yml"))
                return template_report(errors, path, 0, "Only files that end in .yaml are read; rename it.");
        r = read_template(path, &data, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                text = strformat("The file cannot be read (%s); nothing of it is loaded.%s", r == -EINVAL ? "it is no regular file" : strerror(-r),
                                 r == -EACCES ? " The service reads it as its own user: chmod 0644." : "");
                return text ? template_report(errors, path, 0, text) : -ENOMEM;
        }
        return template_parse_buffer(table, path, data, size, errors);
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int list_files(const char *dir, Strv *ret, Strv *errors) {
        _cleanup_free_ char *text = NULL;
        DIR *d = opendir(dir);
        int r = 0;

        if (!d) {
                if (errno == ENOENT)
                        return 0;
                text = strformat("The directory cannot be read (%s); no template is loaded.", strerror(errno));
                return text ? template_report(errors, dir, 0, text) : -ENOMEM;
        }
        for (const struct dirent *de; r >= 0 && (de = readdir(d));) {
                if (de->d_name[0] == '.' || (!endswith(de->d_name, ".yaml") && !endswith(de->d_name, ".yml")))
                        continue;
                if (strv_length(*ret) >= TEMPLATE_FILES_MAX) {
                        r = template_report(errors, dir, 0, "There are more than 1000 files; the rest is not read.");
                        break;
                }
                r = strv_extend(ret, de->d_name);
        }
        closedir(d);
        return r;
}

int template_table_load(const char *dir, TemplateTable **ret, Strv *ret_errors) {
        _cleanup_(template_table_freep) TemplateTable *table = template_table_new();
        _cleanup_strv_ Strv files = NULL, errors = calloc(1, sizeof(char *));
        int r;

        if (!table || !errors)
                return -ENOMEM;
        r = list_files(dir, &files, &errors);
        if (r < 0)
                return r;
        if (files)
                qsort(files, strv_length(files), sizeof(char *), compare_names);
        STRV_FOREACH(f, files) {
                r = load_file(table, dir, *f, &errors);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(table);
        if (ret_errors)
                *ret_errors = TAKE_PTR(errors);
        return 0;
}
