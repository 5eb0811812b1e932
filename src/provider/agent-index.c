/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The indexes that let a second capture of a container read only what changed. An index is worth something only with
 * the generation that it describes, whose name is kept beside it: <container>.index, .image, and .new while a capture
 * writes the next one. They never stand for different generations, whenever the machine stops: the old index goes
 * first, then the name is written, then the new index comes. */

#include "basic/log.h"
#include "oci/reference.h"
#include "provider/agent-internal.h"

#define IMAGE_FILE_MAX (4 * KIB)

static char *index_path(Agent *a, const char *container, const char *suffix) {
        return strformat("%s/%s.%s", a->index_dir, container, suffix);
}

void agent_index_done(AgentIndex *i) {
        free(i->path);
        free(i->new_path);
        free(i->image);
        *i = (AgentIndex) {};
}

/* A disk may give back anything. */
static bool image_is_valid(const char *image) {
        _cleanup_image_reference_ ImageReference reference = {};

        return image_reference_parse(image, &reference, NULL) >= 0 && reference.digest;
}

int agent_index_find(Agent *a, const char *container, AgentIndex *ret) {
        _cleanup_free_ char *image_path = index_path(a, container, "image"), *image = NULL;
        AgentIndex i = { .path = index_path(a, container, "index"), .new_path = index_path(a, container, "new") };

        if (!image_path || !i.path || !i.new_path) {
                agent_index_done(&i);
                return -ENOMEM;
        }
        if (access(i.path, R_OK) >= 0 && read_file(image_path, IMAGE_FILE_MAX, &image) >= 0 && image_is_valid(image))
                i.image = TAKE_PTR(image);
        else {
                free(i.path);
                i.path = NULL;
        }
        *ret = i;
        return 0;
}

int agent_index_commit(Agent *a, const char *container, const char *image) {
        _cleanup_free_ char *path = index_path(a, container, "index"), *new_path = index_path(a, container, "new"),
                            *name = strformat("%s.image", container);
        int r;

        if (!path || !new_path || !name)
                return -ENOMEM;
        /* A capture may do without; then the old one, with its generation, goes on to serve. */
        if (access(new_path, F_OK) < 0)
                return -errno;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        r = write_file_atomic(a->index_dir, name, image);
        if (r < 0)
                return r;
        return rename(new_path, path) < 0 ? -errno : 0;
}

void agent_index_forget(Agent *a, const char *container) {
        static const char *const suffixes[] = { "index", "new", "image", "upper" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_free_ char *path = index_path(a, container, suffixes[i]);
                if (path && unlink(path) < 0 && errno != ENOENT)
                        log_warning_errno(errno, "The index %s cannot be removed: %m", path);
        }
}
