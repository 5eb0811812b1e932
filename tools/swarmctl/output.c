/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "output.h"

typedef struct libscols_table Table;
DEFINE_CLEANUP(Table *, scols_unref_table)

int output_json(const Arguments *a, const json_t *value) {
        size_t flags = JSON_ENCODE_ANY | (a->json == JSON_PRETTY ? JSON_INDENT(2) : JSON_COMPACT);
        return json_dumpf(value, stdout, flags) < 0 || putchar('\n') < 0 ? -EIO : 0;
}

Column *output_columns_of(char *const *fields) {
        Column *columns = calloc(strv_length(fields) + 1, sizeof(*columns));

        for (size_t i = 0; columns && fields[i]; i++)
                columns[i] = (Column) { .key = fields[i] };
        return columns;
}

static const json_t *value_of(const json_t *row, const Column *c) {
        const json_t *value = json_object_get(row, c->key);

        return c->otherwise && isempty(json_string_value(value)) ? json_object_get(row, c->otherwise) : value;
}

static Format column_format(const Column *c) {
        return c->format == FORMAT_AUTO ? format_of_property(c->key) : c->format;
}

static bool output_colors(void) {
        const char *e = getenv("SYSTEMD_COLORS");
        return isatty(STDOUT_FILENO) && isempty(getenv("NO_COLOR")) && !(e && parse_boolean(e) == 0);
}

static int add_columns(Table *table, const Arguments *a, const Column *columns) {
        for (const Column *c = columns; c->key; c++) {
                _cleanup_free_ char *made = c->heading ? NULL : format_heading(c->key);
                int flags = (c->right ? SCOLS_FL_RIGHT : 0) | (c->may_shorten && !a->full ? SCOLS_FL_TRUNC : 0);

                if (!c->heading && !made)
                        return -ENOMEM;
                if (!scols_table_new_column(table, c->heading ? c->heading : made, 0, flags))
                        return -ENOMEM;
        }
        return 0;
}

static int add_row(Table *table, const json_t *row, const Column *columns, usec_t now) {
        struct libscols_line *line = scols_table_new_line(table, NULL);

        for (size_t i = 0; line && columns[i].key; i++) {
                const json_t *value = value_of(row, columns + i);
                bool is_default = columns[i].zero_is_default && json_number_value(value) == 0;
                _cleanup_free_ char *cell = is_default ? strdup("default") : format_value(column_format(columns + i), value, now);
                const char *color = column_format(columns + i) == FORMAT_STATE ? format_state_color(json_string_value(value)) : NULL;

                if (!cell || scols_line_set_data(line, i, cell) < 0)
                        return -ENOMEM;
                if (color && scols_cell_set_color(scols_line_get_cell(line, i), color) < 0)
                        return -ENOMEM;
        }
        return line ? 0 : -ENOMEM;
}

/* Asked here: when the table is printed stdout may be the pager's pipe. */
static void set_terminal(Table *table, const Arguments *a) {
        struct winsize ws;

        scols_table_enable_colors(table, output_colors());
        if (a->full || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0) {
                scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
                return;
        }
        scols_table_set_termforce(table, SCOLS_TERMFORCE_ALWAYS);
        scols_table_set_termwidth(table, ws.ws_col);
}

/* Those that are shown; free() it, the strings are the columns'. */
static Column *columns_shown(const Arguments *a, const Column *columns) {
        size_t n = 0;

        while (columns[n].key)
                n++;
        Column *shown = calloc(n + 1, sizeof(*shown)), *next = shown;
        for (size_t i = 0; shown && i < n; i++)
                if (a->full || !columns[i].only_full)
                        *next++ = columns[i];
        return shown;
}

int output_table(const Arguments *a, const json_t *rows, const Column *columns, const char *things) {
        _cleanup_(scols_unref_tablep) Table *table = NULL;
        _cleanup_free_ Column *shown = NULL;
        size_t n = json_array_size(rows);
        usec_t now = format_now();
        int r;

        if (a->json != JSON_OFF)
                return output_json(a, rows);
        table = scols_new_table();
        shown = columns_shown(a, columns);
        if (!table || !shown)
                return -ENOMEM;
        set_terminal(table, a);
        scols_table_enable_noheadings(table, !a->legend || n == 0);
        r = add_columns(table, a, shown);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = add_row(table, json_array_get(rows, i), shown, now);
        if (r < 0)
                return r;
        pager_open(a);
        if (n > 0)
                (void) scols_print_table(table);
        if (a->legend)
                n > 0 ? printf("\n%zu %s listed.\n", n, things) : printf("No %s.\n", things);
        return 0;
}

void output_line(const char *key, const char *value, const char *color) {
        static const struct {
                const char *name, *code;
        } codes[] = { { "green", "32" }, { "red", "31" }, { "yellow", "33" }, { "cyan", "36" } };

        printf("%20s: ", key);
        for (size_t i = 0; color && output_colors() && i < ELEMENTSOF(codes); i++)
                if (streq(codes[i].name, color)) {
                        printf("\033[0;%sm%s\033[0m\n", codes[i].code, value);
                        return;
                }
        printf("%s\n", value);
}

static int print_member(const char *key, const char *heading, Format format, const json_t *value, usec_t now) {
        _cleanup_free_ char *s = format_value(format, value, now), *label = heading ? NULL : format_label(key);

        if (!s || !(heading || label))
                return -ENOMEM;
        if (!streq(s, "-"))
                output_line(heading ? heading : label, s, format == FORMAT_STATE ? format_state_color(json_string_value(value)) : NULL);
        return 0;
}

int output_block(const Arguments *a, const json_t *object, const Column *columns) {
        usec_t now = format_now();
        const char *key;
        json_t *value;
        int r = 0;

        if (a->json != JSON_OFF)
                return output_json(a, object);
        for (const Column *c = columns; c && c->key && r >= 0; c++) {
                value = json_object_get(object, c->key);
                if (c->zero_is_default && json_is_number(value) && json_number_value(value) == 0)
                        output_line(c->heading, "default", NULL);
                else
                        r = print_member(c->key, c->heading, column_format(c), value, now);
        }
        if (columns)
                return r;
        json_object_foreach((json_t *) object, key, value) {
                Format format = format_of_property(key);

                r = print_member(key, NULL, format == FORMAT_AGO ? FORMAT_TIMESTAMP : format, value, now);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int print_property(const char *key, const json_t *value) {
        _cleanup_free_ char *s = json_is_string(value) ? strdup(json_string_value(value))
                               : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        if (!s)
                return -ENOMEM;
        format_make_printable(s);
        printf("%s=%s\n", key, s);
        return 0;
}

int output_properties(const Arguments *a, const json_t *object) {
        const char *key;
        json_t *value;
        int r = 0;

        if (a->json != JSON_OFF)
                return output_json(a, object);
        json_object_foreach((json_t *) object, key, value) {
                r = print_property(key, value);
                if (r < 0)
                        return r;
        }
        return 0;
}

int output_ask(const char *format, ...) {
        char answer[16] = "";
        va_list ap;

        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return -ENOTTY;
        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputs(" [y/N] ", stderr);
        if (!fgets(answer, sizeof(answer), stdin))
                return 0;
        return STR_IN_SET(answer, "y\n", "Y\n", "yes\n", "Yes\n");
}
