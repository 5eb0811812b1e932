/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "layout.h"
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

/* As systemd's tools: the first says it also where there is no terminal. */
static bool output_colors(void) {
        const char *wanted = getenv("SYSTEMD_COLORS"), *term = getenv("TERM");

        if (wanted && (STR_IN_SET(wanted, "16", "256") || parse_boolean(wanted) >= 0))
                return parse_boolean(wanted) != 0;
        return isatty(STDOUT_FILENO) && isempty(getenv("NO_COLOR")) && term && !streq(term, "dumb");
}

/* What $COLUMNS says counts in a pipe as well. Asked before the pager is there: then standard output is
 * its pipe. */
static size_t output_width(const Arguments *a) {
        const char *e = getenv("COLUMNS");
        struct winsize ws;
        uint64_t columns;

        if (a->full)
                return SIZE_MAX;
        if (e && parse_u64(e, &columns) >= 0 && columns > 0)
                return (size_t) columns;
        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) >= 0 && ws.ws_col > 0 ? ws.ws_col : SIZE_MAX;
}

/* What is printed: headings, if there are rows, and texts. */
typedef struct Cells {
        size_t n_rows, n_columns;
        char **texts;                   /* n_rows + 1 times n_columns; the first row are the headings */
        size_t *widths, *minimum;
} Cells;

static void cells_done(Cells *c) {
        for (size_t i = 0; c->texts && i < (c->n_rows + 1) * c->n_columns; i++)
                free(c->texts[i]);
        free(c->texts);
        free(c->widths);
        free(c->minimum);
}

static char *make_cell(const json_t *row, const Column *c, usec_t now) {
        const json_t *value = value_of(row, c);

        return c->zero_is_default && json_number_value(value) == 0 ? strdup("default") : format_value(column_format(c), value, now);
}

static int cells_fill(Cells *c, const json_t *rows, const Column *columns, usec_t now) {
        while (columns[c->n_columns].key)
                c->n_columns++;
        c->n_rows = json_array_size(rows);
        c->texts = calloc((c->n_rows + 1) * c->n_columns, sizeof(*c->texts));
        c->widths = calloc(c->n_columns, sizeof(*c->widths));
        c->minimum = calloc(c->n_columns, sizeof(*c->minimum));
        if (!c->texts || !c->widths || !c->minimum)
                return -ENOMEM;
        for (size_t i = 0; i <= c->n_rows; i++)
                for (size_t j = 0; j < c->n_columns; j++) {
                        const Column *column = columns + j;
                        char *text = i > 0 ? make_cell(json_array_get(rows, i - 1), column, now) :
                                     column->heading ? strdup(column->heading) : format_heading(column->key);

                        if (!text)
                                return -ENOMEM;
                        c->texts[i * c->n_columns + j] = text;
                        c->widths[j] = MAX(c->widths[j], layout_width(text));
                        if (i == 0 && column->may_shorten)
                                c->minimum[j] = c->widths[j];
                }
        return 0;
}

static int cells_shorten(Cells *c, size_t available) {
        layout_fit(c->widths, c->minimum, c->n_columns, available);
        for (size_t i = c->n_columns; i < (c->n_rows + 1) * c->n_columns; i++) {
                char *text = layout_shorten(c->texts[i], c->widths[i % c->n_columns]);

                if (!text)
                        return -ENOMEM;
                free(c->texts[i]);
                c->texts[i] = text;
        }
        return 0;
}

static int table_add_row(Table *table, const json_t *row, const Column *columns, char *const *texts) {
        struct libscols_line *line = scols_table_new_line(table, NULL);

        for (size_t i = 0; line && columns[i].key; i++) {
                bool state = column_format(columns + i) == FORMAT_STATE;
                const char *color = state ? format_state_color(json_string_value(value_of(row, columns + i))) : NULL;

                if (scols_line_set_data(line, i, texts[i]) < 0)
                        return -ENOMEM;
                if (color && scols_cell_set_color(scols_line_get_cell(line, i), color) < 0)
                        return -ENOMEM;
        }
        return line ? 0 : -ENOMEM;
}

static int table_new(const Arguments *a, const json_t *rows, const Column *columns, Table **ret) {
        _cleanup_(scols_unref_tablep) Table *table = scols_new_table();
        _cleanup_(cells_done) Cells cells = {};

        if (!table)
                return -ENOMEM;
        int r = cells_fill(&cells, rows, columns, format_now());
        if (r >= 0)
                r = cells_shorten(&cells, output_width(a));
        if (r < 0)
                return r;
        scols_table_enable_colors(table, output_colors());
        scols_table_enable_noheadings(table, !a->legend);
        scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);        /* the cells fit */
        for (size_t i = 0; i < cells.n_columns; i++)
                if (!scols_table_new_column(table, cells.texts[i], 0, columns[i].right ? SCOLS_FL_RIGHT : 0))
                        return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < cells.n_rows; i++)
                r = table_add_row(table, json_array_get(rows, i), columns, cells.texts + (i + 1) * cells.n_columns);
        if (r >= 0)
                *ret = TAKE_PTR(table);
        return r;
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

        if (a->json != JSON_OFF)
                return output_json(a, rows);
        shown = columns_shown(a, columns);
        int r = !shown ? -ENOMEM : n > 0 ? table_new(a, rows, shown, &table) : 0;
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

int output_flush(void) {
        static int error;

        if (fflush(stdout) != 0 && error == 0)
                error = errno;
        return error != 0 || !ferror(stdout) ? error : EIO;
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
        if (!fgets(answer, sizeof(answer), stdin)) {
                (void) fputc('\n', stderr);     /* the end of input leaves the line open */
                return 0;
        }
        answer[strcspn(answer, "\n")] = 0;
        return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}
