/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The socket by which black-box tests steer the provider in memory; see fake.h for the commands. */

#include <sys/socket.h>
#include <sys/un.h>

#include "basic/log.h"
#include "provider/fake-internal.h"

#define COMMAND_MAX (64 * 1024)

typedef struct Command {
        const char *session, *node, *health, *detail, *image;
        json_int_t code, value;
        int rebooted;
} Command;

typedef struct CommandEntry {
        const char *op;
        int (*run)(Fake *f, const Command *c, json_t *reply);
} CommandEntry;

static int command_exit(Fake *f, const Command *c, json_t *reply) {
        return fake_exit_session(&f->provider, c->session, (int) c->code);
}

static int command_write(Fake *f, const Command *c, json_t *reply) {
        return fake_write(&f->provider, c->session, (uint64_t) c->value);
}

static int command_read(Fake *f, const Command *c, json_t *reply) {
        const FakeSession *s = fake_find(f, c->session);
        json_t *facts;

        if (!s)
                return -ENOENT;
        facts = json_pack("{s:I, s:b, s:b, s:s, s:s*, s:s*, s:s*, s:I}", "value", (json_int_t) s->content, "frozen", s->frozen,
                          "wanted", s->wanted, "task", task_state_to_string(s->task), "container", s->container,
                          "node", s->node, "image", s->image, "generation", (json_int_t) s->generation);
        int r = facts ? json_object_update(reply, facts) : -1;
        json_decref(facts);
        return r < 0 ? -ENOMEM : 0;
}

static int command_freeze(Fake *f, const Command *c, json_t *reply) {
        return fake_set_frozen(&f->provider, c->session, true);
}

static int command_thaw(Fake *f, const Command *c, json_t *reply) {
        return fake_set_frozen(&f->provider, c->session, false);
}

static int command_vanish(Fake *f, const Command *c, json_t *reply) {
        return fake_vanish(&f->provider, c->session);
}

static int command_kill_container(Fake *f, const Command *c, json_t *reply) {
        return fake_kill_container(&f->provider, c->session);
}

static int command_session_health(Fake *f, const Command *c, json_t *reply) {
        return fake_set_session_health(&f->provider, c->session, c->health);
}

static int command_lose_node(Fake *f, const Command *c, json_t *reply) {
        return fake_lose_node(&f->provider, c->node);
}

static int command_return_node(Fake *f, const Command *c, json_t *reply) {
        return fake_return_node(&f->provider, c->node, c->rebooted);
}

static int command_health(Fake *f, const Command *c, json_t *reply) {
        ProviderHealth health = provider_health_from_string(c->health);

        if (health < 0)
                return -EINVAL;
        fake_set_health(&f->provider, health, c->detail);
        return 0;
}

static int command_delete_image(Fake *f, const Command *c, json_t *reply) {
        return fake_forget_image(&f->provider, c->image);
}

static int command_list(Fake *f, const Command *c, json_t *reply) {
        fake_list(&f->provider);
        return 0;
}

static int command_losses(Fake *f, const Command *c, json_t *reply) {
        return json_object_set_new(reply, "losses", json_integer((json_int_t) f->losses)) < 0 ? -ENOMEM : 0;
}

static const CommandEntry commands[] = {
        { "exit", command_exit },
        { "write", command_write },
        { "read", command_read },
        { "freeze", command_freeze },
        { "thaw", command_thaw },
        { "vanish", command_vanish },
        { "kill-container", command_kill_container },
        { "session-health", command_session_health },
        { "lose-node", command_lose_node },
        { "return-node", command_return_node },
        { "health", command_health },
        { "delete-image", command_delete_image },
        { "list", command_list },
        { "losses", command_losses },
};

static int run_operation(Fake *f, const char *op, json_t *json, json_t *reply) {
        Command c = { .session = "", .node = "", .image = "" };

        if (json_unpack(json, "{s?:s, s?:s, s?:s, s?:s, s?:s, s?:I, s?:I, s?:b}", "session", &c.session, "node", &c.node,
                        "health", &c.health, "detail", &c.detail, "image", &c.image, "code", &c.code, "value", &c.value,
                        "rebooted", &c.rebooted) < 0)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                if (streq(commands[i].op, op))
                        return commands[i].run(f, &c, reply);
        return -EOPNOTSUPP;
}

static int run_fail(Fake *f, const char *name, json_t *json) {
        const char *code, *message = "Refused by the test. Ask again.";
        FakeOp op = fake_op_from_string(name);
        RefusalCode refusal;
        int times = 1;

        if (op < 0 || json_unpack(json, "{s:s, s?:s, s?:i}", "code", &code, "message", &message, "times", &times) < 0 || times < 0)
                return -EINVAL;
        if (streq(code, "-EIO"))
                return fake_break_next(&f->provider, op, (unsigned) times, EIO);
        refusal = refusal_code_from_string(code);
        if (refusal < 0)
                return -EINVAL;
        return fake_fail_next(&f->provider, op, (unsigned) times, refusal, message);
}

static int run_latencies(Fake *f, json_t *latencies) {
        const char *name;
        json_t *value;

        json_object_foreach(latencies, name, value) {
                FakeOp op = fake_op_from_string(name);
                if (op < 0 || !json_is_integer(value) || json_integer_value(value) < 0)
                        return -EINVAL;
                fake_set_latency(&f->provider, op, (usec_t) json_integer_value(value));
        }
        return 0;
}

static int run_command(Fake *f, json_t *json, json_t *reply) {
        const char *op = NULL, *fail = NULL;
        json_t *latencies = NULL;

        if (json_unpack(json, "{s?:s, s?:s, s?:o}", "op", &op, "fail", &fail, "latency_usec", &latencies) < 0)
                return -EINVAL;
        if (op)
                return run_operation(f, op, json, reply);
        if (fail)
                return run_fail(f, fail, json);
        return latencies ? run_latencies(f, latencies) : -EINVAL;
}

static int on_command(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct sockaddr_un sender = {};
        socklen_t length = sizeof(sender);
        _cleanup_free_ char *buffer = malloc(COMMAND_MAX), *text = NULL;
        Fake *f = userdata;

        if (!buffer)
                return 0;
        ssize_t n = recvfrom(fd, buffer, COMMAND_MAX, MSG_DONTWAIT, (struct sockaddr *) &sender, &length);
        if (n < 0)
                return 0;
        json_t *json = json_loadb(buffer, (size_t) n, 0, NULL), *reply = json_object();
        int r = json && reply ? run_command(f, json, reply) : -EINVAL;
        if (r < 0)
                log_warning("The control command %.*s failed: %s", (int) MIN(n, 200), buffer, strerror(-r));
        (void) json_object_set_new(reply, r < 0 ? "error" : "ok", r < 0 ? json_string(strerror(-r)) : json_true());
        fake_flush(f);
        text = json_dumps(reply, JSON_COMPACT);
        if (text && length > offsetof(struct sockaddr_un, sun_path))
                (void) sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *) &sender, length);
        json_decref(json);
        json_decref(reply);
        return 0;
}

int fake_control_open(Fake *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (!f->control_path)
                return 0;
        if (strlen(f->control_path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, f->control_path);
        f->control_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (f->control_fd < 0)
                return -errno;
        /* One that a killed daemon left. */
        (void) unlink(f->control_path);
        if (bind(f->control_fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return sd_event_add_io(f->event, &f->control, f->control_fd, EPOLLIN, on_command, f);
}

void fake_control_close(Fake *f) {
        if (f->control_fd < 0)
                return;
        f->control = sd_event_source_disable_unref(f->control);
        closep(&f->control_fd);
        f->control_fd = -EBADF;
        (void) unlink(f->control_path);
}
