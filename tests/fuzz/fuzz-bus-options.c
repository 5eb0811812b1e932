/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Options and flags of a method call. The input is a program that builds the message, for what is not a valid message
 * never gets past libsystemd: one byte says which key, one which type, then come the value's bytes. */

#include <math.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "basic/string-util.h"
#include "bus/bus-options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Target {
        const char *s;
        Strv as, pairs;
        uint32_t u;
        uint64_t t;
        double d;
        bool b;
} Target;

static const BusOption table[] = {
        BUS_OPTION("s", "s", Target, s),
        BUS_OPTION("as", "as", Target, as),
        BUS_OPTION("pairs", "a{ss}", Target, pairs),
        BUS_OPTION("u", "u", Target, u),
        BUS_OPTION("t", "t", Target, t),
        BUS_OPTION("d", "d", Target, d),
        BUS_OPTION("b", "b", Target, b),
};

static const char *const keys[] = { "s", "as", "pairs", "u", "t", "d", "b", "", "unknown", "S" };

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

static uint8_t take(Input *in) {
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

static uint64_t take_u64(Input *in) {
        uint64_t v = 0;

        for (int i = 0; i < 8; i++)
                v = v << 8 | take(in);
        return v;
}

/* A string of at most 255 characters, or, for the limits, of many. */
static char *take_string(Input *in) {
        size_t n = take(in), repeat = n == 255 ? (size_t) take(in) * 4 : 1;
        char *s;

        n = MIN(n, in->size);
        s = calloc(n * repeat + 1, 1);
        assert(s);
        for (size_t i = 0; i < n * repeat; i++)
                s[i] = (char) in->data[i % n];
        in->data += n;
        in->size -= n;
        if (!utf8_is_valid(s))
                s[0] = 0;
        return s;
}

static void append_strings(sd_bus_message *m, Input *in, bool pairs) {
        unsigned n = take(in), times = n == 255 ? 20 : 1;

        assert(sd_bus_message_open_container(m, 'a', pairs ? "{ss}" : "s") >= 0);
        for (unsigned i = 0; i < n * times && (in->size > 0 || times > 1); i++) {
                _cleanup_free_ char *a = take_string(in), *b = pairs ? take_string(in) : NULL;

                assert(pairs ? sd_bus_message_append(m, "{ss}", a, b) >= 0 : sd_bus_message_append(m, "s", a) >= 0);
        }
        assert(sd_bus_message_close_container(m) >= 0);
}

static void append_value(sd_bus_message *m, Input *in, uint8_t type) {
        _cleanup_free_ char *s = NULL;
        uint64_t bits;
        double d;

        switch (type % 9) {
        case 0:
                s = take_string(in);
                assert(sd_bus_message_append(m, "v", "s", s) >= 0);
                break;
        case 1:
        case 2:
                assert(sd_bus_message_open_container(m, 'v', type % 9 == 1 ? "as" : "a{ss}") >= 0);
                append_strings(m, in, type % 9 == 2);
                assert(sd_bus_message_close_container(m) >= 0);
                break;
        case 3:
                assert(sd_bus_message_append(m, "v", "u", (uint32_t) take_u64(in)) >= 0);
                break;
        case 4:
                assert(sd_bus_message_append(m, "v", "t", take_u64(in)) >= 0);
                break;
        case 5:
                bits = take_u64(in);
                memcpy(&d, &bits, sizeof(d));
                assert(sd_bus_message_append(m, "v", "d", d) >= 0);
                break;
        case 6:
                assert(sd_bus_message_append(m, "v", "b", take(in) & 1) >= 0);
                break;
        case 7:
                assert(sd_bus_message_append(m, "v", "v", "u", 1) >= 0);
                break;
        default:
                assert(sd_bus_message_append(m, "v", "(sx)", "x", (int64_t) 1) >= 0);
        }
}

static sd_bus_message *build(sd_bus *bus, Input *in) {
        sd_bus_message *m = NULL;
        uint64_t flags = take(in);

        assert(sd_bus_message_new_method_call(bus, &m, "a.b", "/", "a.b", "C") >= 0);
        assert(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        for (unsigned n = 0; in->size > 0 && n < 64; n++) {
                uint8_t key = take(in);
                _cleanup_free_ char *odd = key == 255 ? take_string(in) : NULL;

                assert(sd_bus_message_open_container(m, 'e', "sv") >= 0);
                assert(sd_bus_message_append(m, "s", odd ?: keys[key % ELEMENTSOF(keys)]) >= 0);
                append_value(m, in, take(in));
                assert(sd_bus_message_close_container(m) >= 0);
        }
        assert(sd_bus_message_close_container(m) >= 0);
        assert(sd_bus_message_append(m, "t", flags) >= 0);
        assert(sd_bus_message_seal(m, 1, 0) >= 0);
        return m;
}

/* What was taken keeps the promises of the header. */
static void check(const Target *t, uint64_t seen) {
        assert(!(seen & ~((UINT64_C(1) << ELEMENTSOF(table)) - 1)));
        assert(!!(seen & 1) == !!t->s);
        assert(!t->s || strlen(t->s) <= BUS_OPTION_STRING_MAX);
        assert(strv_length(t->as) <= BUS_OPTION_ENTRIES_MAX);
        assert(isfinite(t->d));
        STRV_FOREACH(p, t->pairs)
                assert(strchr(*p, '=') > *p);
}

static int parse(sd_bus_message *m, Target *t, uint64_t *seen, Refusal **refusal) {
        int r = bus_options_read(m, "Test", table, ELEMENTSOF(table), t, seen, refusal);

        return r < 0 ? r : bus_flags_read(m, "Test", 1, NULL, refusal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static sd_bus *bus = NULL;
        Input in = { data, size };
        sd_bus_message *m;

        if (!bus) {
                int pair[2];

                assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
                assert(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, pair[0], pair[0]) >= 0 && sd_bus_start(bus) >= 0);
        }
        m = build(bus, &in);

        /* Twice, as a message that was parked is. */
        for (int i = 0, first = 0; i < 2; i++) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                Target t = {};
                uint64_t seen = 0;
                int r;

                assert(sd_bus_message_rewind(m, true) >= 0);
                r = parse(m, &t, &seen, &refusal);
                assert(r >= 0 || r == -EBADRQC);
                assert((r < 0) == !!refusal);
                if (r >= 0)
                        check(&t, seen);
                else
                        assert(refusal->code == REFUSAL_INVALID_ARGUMENT && startswith(refusal->message, "Test: ") && endswith(refusal->message, "."));
                assert(i == 0 || r == first);
                first = r;
                strv_free(t.as);
                strv_free(t.pairs);
        }
        sd_bus_message_unref(m);
        return 0;
}
