/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where the writable layer of a container lies. With overlay2 the Engine tells at any time. With the containerd image store
 * it never does, and the kernel does only as long as the container runs. So what is seen of a running one is noted beside
 * the indexes, as <container>.upper, for the time after its end. The directory is the container's own until both go. */

#include "basic/log.h"
#include "provider/agent-internal.h"

#define UPPER_FILE_MAX (4 * KIB)

static char *upper_path(Agent *a, const char *container) {
        return strformat("%s/%s.upper", a->index_dir, container);
}

bool agent_upper_is_noted(Agent *a, const char *container) {
        _cleanup_free_ char *path = upper_path(a, container);
        return path && access(path, F_OK) >= 0;
}

void agent_upper_note(Agent *a, const ContainerFacts *f) {
        _cleanup_free_ char *name = strformat("%s.upper", f->id);
        int r;

        if (f->upperdir_told || !f->upperdir || !container_id_is_valid(f->id) || agent_upper_is_noted(a, f->id))
                return;
        r = name ? write_file_atomic(a->index_dir, name, f->upperdir) : -ENOMEM;
        if (r < 0)
                log_warning_errno(r, "Where the writable layer of container %.*s lies cannot be noted in %s: %m. If its main process ends by "
                                  "itself, its files will be out of reach. Make room there.", CONTAINER_SHORT, f->id, a->index_dir);
}

int agent_upper_find(Agent *a, ContainerFacts *f) {
        _cleanup_free_ char *path = NULL, *upper = NULL;
        int r;

        if (f->upperdir || !container_id_is_valid(f->id))
                return 0;
        path = upper_path(a, f->id);
        if (!path)
                return -ENOMEM;
        r = read_file(path, UPPER_FILE_MAX, &upper);
        if (r == -ENOMEM)
                return r;
        if (r >= 0 && upper[0] == '/')
                f->upperdir = TAKE_PTR(upper);
        return 0;
}
