/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Replays inputs: each argument is a file, or a directory of them. Takes the place of libFuzzer's main(), so that every
 * run of the tests tries what was ever found, with any compiler. */

#include <dirent.h>

#include "basic/string-util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        _cleanup_free_ uint8_t *data = NULL;
        long size;

        if (!f || fseek(f, 0, SEEK_END) < 0 || (size = ftell(f)) < 0)
                return -errno;
        rewind(f);
        /* Exactly as large as the input, so that a read behind its end shows under a sanitizer. */
        data = malloc(size > 0 ? (size_t) size : 1);
        if (!data)
                return -ENOMEM;
        if (fread(data, 1, (size_t) size, f) != (size_t) size)
                return -EIO;
        (void) LLVMFuzzerTestOneInput(data, (size_t) size);
        return 1;
}

static int replay(const char *path) {
        DIR *d = opendir(path);
        int n = 0;

        if (!d)
                return replay_file(path);
        for (const struct dirent *de; n >= 0 && (de = readdir(d));) {
                if (de->d_name[0] == '.')
                        continue;
                _cleanup_free_ char *file = strformat("%s/%s", path, de->d_name);
                int r = file ? replay_file(file) : -ENOMEM;
                n = r < 0 ? r : n + r;
        }
        closedir(d);
        return n;
}

int main(int argc, char *argv[]) {
        int n = 0;

        for (int i = 1; i < argc; i++) {
                int r = replay(argv[i]);
                if (r < 0) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return EXIT_FAILURE;
                }
                n += r;
        }
        printf("%i inputs replayed\n", n);
        return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
