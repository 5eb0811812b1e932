/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "basic/conf-parser.h"
#include "basic/io-util.h"
#include "basic/log.h"
#include "basic/nearest.h"
#include "core/config-table.h"

#define CREDENTIAL_MAX (4 * KIB)

typedef struct Loader {
        Config *config;
        Strv *warnings;                 /* NULL = log only */
} Loader;

static int warn(void *userdata, const char *file, unsigned line, const char *text) {
        Loader *l = userdata;
        _cleanup_free_ char *place = line > 0 ? strformat("%s:%u", file, line) : strdup(file);
        _cleanup_free_ char *config_file = strformat("CONFIG_FILE=%s", file), *config_line = strformat("CONFIG_LINE=%u", line);
        if (!place || !config_file || !config_line)
                return -ENOMEM;

        const char *extra[] = { config_file, config_line, NULL };
        log_event(LOG_WARNING, MESSAGE_CONFIG_INVALID, LOG_FIELDS(.extra = extra), "%s: %s", place, text);
        return l->warnings ? strv_consume(l->warnings, strformat("%s: %s", place, text)) : 0;
}

static int warn_consume(Loader *l, const char *file, unsigned line, char *text) {
        int r = text ? warn(l, file, line, text) : -ENOMEM;
        free(text);
        return r;
}

/* Names of the keys of a section, or of all sections where it is NULL, for the search of what was meant. */
static void list_names(const char *section, const char **names) {
        size_t n = 0;

        for (size_t i = 0; i < config_n_keys; i++) {
                const ConfigKey *k = &config_keys[i];
                if (section && !streq(k->section, section))
                        continue;
                const char *name = section ? k->name : k->section;
                if (n == 0 || !streq(names[n - 1], name))
                        names[n++] = name;
        }
        names[n] = NULL;
}

static int warn_unknown(Loader *l, const char *file, unsigned line, const char *section, const char *key) {
        _cleanup_free_ const char **names = calloc(config_n_keys + 1, sizeof(char *));
        const char *near;

        if (!names)
                return -ENOMEM;

        for (size_t i = 0; i < config_n_keys; i++)
                if (streq(config_keys[i].name, key))
                        return warn_consume(l, file, line, strformat("%s= belongs in section [%s], not in [%s]; it is ignored.",
                                                                     key, config_keys[i].section, section));
        list_names(NULL, names);
        if (!str_in_set(section, names)) {
                near = nearest_word(section, names);
                return warn_consume(l, file, line, strformat("Unknown section [%s]%s%s%s; %s= is ignored.", section,
                                                             near ? ", did you mean [" : "", strempty(near), near ? "]?" : "", key));
        }
        list_names(section, names);
        near = nearest_word(key, names);
        return warn_consume(l, file, line, strformat("Unknown key %s= in section [%s]%s%s%s; it is ignored.", key, section,
                                                     near ? ", did you mean " : "", strempty(near), near ? "=?" : ""));
}

static const char *form_of(const ConfigKey *k) {
        static const char *const forms[] = {
                [CONFIG_NUMBER] = "a whole number",
                [CONFIG_PERCENT] = "a percentage",
                [CONFIG_SPAN] = "a time span such as 90s, 5min or 2h",
                [CONFIG_SIZE] = "a size such as 512M or 4G",
                [CONFIG_CPUS] = "a number of cpus",
                [CONFIG_BOOLEAN] = "\"yes\" or \"no\"",
                [CONFIG_STRING] = "a string",
                [CONFIG_WORDS] = "a list of words",
        };
        return k->form ? k->form : forms[k->type];
}

static int warn_value(Loader *l, const char *file, unsigned line, const ConfigKey *k, const char *value) {
        return warn_consume(l, file, line,
                            strformat("%s= must be %s%s%s%s%s, %s%.100s%s is not; it is ignored.", k->name, form_of(k),
                                      k->min ? " from " : "", strempty(k->min), k->max ? " to " : "", strempty(k->max),
                                      k->hidden ? "" : "\"", k->hidden ? "what is written" : value, k->hidden ? "" : "\""));
}

static int assign(void *userdata, const char *file, unsigned line, const char *section, const char *key, const char *value) {
        Loader *l = userdata;

        for (size_t i = 0; i < config_n_keys; i++) {
                const ConfigKey *k = &config_keys[i];
                if (!streq(k->name, key) || !streq(k->section, section))
                        continue;
                int r = config_key_set(k, l->config, value);
                return r == 0 || r == -ENOMEM ? r : warn_value(l, file, line, k, value);
        }
        return warn_unknown(l, file, line, section, key);
}

static void erase(char *s) {
        if (s)
                explicit_bzero(s, strlen(s));
        free(s);
}

/* -EMSGSIZE: too long. The buffer holds CREDENTIAL_MAX + 1 bytes. */
static int read_credential(const char *path, char *buf) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read_full(fd, buf, CREDENTIAL_MAX + 1);
        if (n < 0)
                return (int) n;
        if ((size_t) n > CREDENTIAL_MAX)
                return -EMSGSIZE;
        buf[n] = 0;
        if (memchr(buf, 0, (size_t) n))
                return -EBADMSG;
        if (n > 0 && buf[n - 1] == '\n')
                buf[--n] = 0;
        if (n > 0 && buf[n - 1] == '\r')
                buf[--n] = 0;
        return 0;
}

/* One line user:password: it becomes an HTTP header. */
static bool credential_is_valid(const char *s) {
        const char *colon = strchr(s, ':');

        if (!colon || colon == s || !utf8_is_valid(s))
                return false;
        for (; *s; s++)
                if ((unsigned char) *s < ' ' || *s == 0x7f)
                        return false;
        return true;
}

static int load_credential(Loader *l, const char *dir, const char *name, char **field) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, name);
        char buf[CREDENTIAL_MAX + 2];
        int r;

        if (!path)
                return -ENOMEM;
        r = read_credential(path, buf);
        if (r == -ENOENT)
                r = 0;
        else if (r == -EMSGSIZE || r == -EBADMSG || (r >= 0 && !credential_is_valid(buf)))
                r = warn(l, path, 0, "The credential must be one line of the form user:password, at most 4096 bytes; it is ignored.");
        else if (r < 0)
                r = warn_consume(l, path, 0, strformat("The credential cannot be read (%s); check LoadCredential= of the unit and "
                                                       "the mode of the file. The registry will be used without it.", strerror(-r)));
        else {
                erase(*field);
                *field = strdup(buf);
                r = *field ? 0 : -ENOMEM;
        }
        explicit_bzero(buf, sizeof(buf));
        return r;
}

static int set_defaults(Config *c) {
        for (size_t i = 0; i < config_n_keys; i++) {
                int r = config_key_set(&config_keys[i], c, "");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int load_files(Loader *l, const char *const *dirs) {
        const ConfHandler handler = { .assign = assign, .problem = warn, .userdata = l };
        _cleanup_strv_ Strv files = NULL;
        int r = conf_files(dirs, "orchestrator", &files);
        if (r < 0)
                return r;
        STRV_FOREACH(f, files) {
                r = conf_parse_file(*f, &handler);
                if (r < 0)
                        return r;
        }
        return 0;
}

int config_load(const char *const *dirs, const char *credentials_dir, Config **ret, Strv *ret_warnings) {
        _cleanup_(config_freep) Config *c = calloc(1, sizeof(*c));
        _cleanup_strv_ Strv warnings = calloc(1, sizeof(char *));
        Loader l = { c, &warnings };
        int r;

        if (!c || !warnings)
                return -ENOMEM;
        r = set_defaults(c);
        if (r < 0)
                return r;
        r = load_files(&l, dirs);
        if (r < 0)
                return r;
        if (credentials_dir) {
                r = load_credential(&l, credentials_dir, "swarm-registry-push", &c->push_credential);
                if (r < 0)
                        return r;
                r = load_credential(&l, credentials_dir, "swarm-registry-pull", &c->pull_credential);
                if (r < 0)
                        return r;
        }
        for (; *dirs; dirs++) {
                r = free_and_strdup(&c->config_dir, *dirs);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(c);
        if (ret_warnings)
                *ret_warnings = TAKE_PTR(warnings);
        return 0;
}

static void *field_of(const ConfigKey *k, const Config *c) {
        return (char *) c + k->offset;
}

/* Fixed keys are strings and lists of words: one pointer each. */
static bool field_equals(const ConfigKey *k, const Config *a, const Config *b) {
        if (k->type == CONFIG_STRING)
                return streq_ptr(*(char **) field_of(k, a), *(char **) field_of(k, b));

        Strv x = *(Strv *) field_of(k, a), y = *(Strv *) field_of(k, b);
        size_t i = 0;

        for (; x && x[i] && y && y[i]; i++)
                if (!streq(x[i], y[i]))
                        return false;
        return strv_length(x) == i && strv_length(y) == i;
}

static void field_swap(const ConfigKey *k, Config *a, Config *b) {
        char *x = field_of(k, a), *y = field_of(k, b), kept[sizeof(void *)];

        memcpy(kept, x, sizeof(kept));
        memcpy(x, y, sizeof(kept));
        memcpy(y, kept, sizeof(kept));
}

int config_keep_fixed(Config *c, Config *old, Strv *warnings) {
        Loader l = { c, warnings };

        for (size_t i = 0; i < config_n_keys; i++) {
                const ConfigKey *k = &config_keys[i];
                int r = !k->fixed || field_equals(k, c, old) ? 0 :
                        warn_consume(&l, "orchestrator.conf", 0, strformat("%s= has changed, which takes effect when the service is restarted.", k->name));
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < config_n_keys; i++)
                if (config_keys[i].fixed)
                        field_swap(&config_keys[i], c, old);
        return 0;
}

Config *config_free(Config *c) {
        if (!c)
                return NULL;
        for (size_t i = 0; i < config_n_keys; i++) {
                void *field = field_of(&config_keys[i], c);
                if (config_keys[i].type == CONFIG_STRING)
                        free(*(char **) field);
                else if (config_keys[i].type == CONFIG_WORDS)
                        strv_free(*(Strv *) field);
        }
        erase(c->push_credential);
        erase(c->pull_credential);
        free(c->config_dir);
        free(c);
        return NULL;
}

static int split_credential(const char *credential, LayerRegistry *r) {
        const char *colon = strchr(credential, ':');

        r->username = strndup(credential, (size_t) (colon - credential));
        r->password = strdup(colon + 1);
        return r->username && r->password ? 0 : -ENOMEM;
}

int config_registry(const Config *c, LayerRegistry *ret) {
        LayerRegistry registry = {};
        int r;

        if (!c->registry_url)
                return -ENODATA;
        r = free_and_strdup(&registry.url, c->registry_url);
        if (r >= 0)
                r = free_and_strdup(&registry.ca_file, c->registry_ca_file);
        if (r >= 0 && c->push_credential)
                r = split_credential(c->push_credential, &registry);
        if (r < 0) {
                free(registry.url);
                free(registry.ca_file);
                free(registry.username);
                erase(registry.password);
                return r;
        }
        *ret = registry;
        return 0;
}
