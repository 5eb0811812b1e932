/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <endian.h>
#include <fcntl.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/json-fields.h"
#include "oci/layer-index.h"

#define MAGIC "SWARMIX1"
#define MAGIC_SIZE (sizeof(MAGIC) - 1)
#define FOOTER_MAX (16 * KIB)
#define SUM_SIZE 64U                    /* the digest's hex digits */
#define END_MARK 0xffffU
#define FILE_MAX (4 * GIB)
#define BUFFER_SIZE (64 * KIB)

typedef struct __attribute__((packed)) RawEntry {
        uint16_t shared, more;
        uint8_t type;
        uint64_t inode;
        int64_t ctime_nsec;
        uint64_t size;
} RawEntry;

struct LayerIndexReader {
        FILE *file;
        LayerIndexInfo info;
        LayerIndexEntry entry;
        bool end;
        char path[LAYER_INDEX_PATH_MAX + 1];
};

struct LayerIndexWriter {
        FILE *file;
        char *path, *directory;
        DigestContext *sum;
        int error;                      /* the first that writing met */
        char last[LAYER_INDEX_PATH_MAX + 1];
};

#define INFO(member, type, max) { #member, JSON_FIELD_##type, offsetof(LayerIndexInfo, member), max }
static const JsonField info_fields[] = {
        INFO(image, STRING, 1024),
        INFO(upperdir, STRING, LAYER_INDEX_PATH_MAX),
        INFO(device, U64, 0),
        INFO(inode, U64, 0),
        INFO(clean_usec, U64, 0),
        INFO(boot, STRING, 64),
        {}
};

static void info_done(LayerIndexInfo *i) {
        json_fields_free(info_fields, i);
        *i = (LayerIndexInfo) {};
}

char *layer_index_boot(void) {
        _cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        char id[37];
        ssize_t n = fd < 0 ? -1 : read(fd, id, sizeof(id));

        return n == sizeof(id) && id[36] == '\n' ? strndup(id, 36) : NULL;
}

int64_t layer_index_ctime(const struct stat *st) {
        return (int64_t) st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

/* The end of a path comes before a slash, and a slash before every byte of a name. */
static int rank(char c) {
        return c == 0 ? 0 : c == '/' ? 1 : (unsigned char) c + 1;
}

int layer_path_compare(const char *a, const char *b) {
        while (*a && *a == *b)
                a++, b++;
        return rank(*a) - rank(*b);
}

LayerIndexReader *layer_index_close(LayerIndexReader *r) {
        if (!r)
                return NULL;
        if (r->file)
                (void) fclose(r->file);
        info_done(&r->info);
        free(r);
        return NULL;
}

static int read_exactly(FILE *f, void *to, size_t n) {
        return fread(to, 1, n, f) == n ? 0 : ferror(f) ? -EIO : -EBADMSG;
}

/* Sums everything but the sum itself and compares. */
static int check_sum(FILE *f, uint64_t size) {
        _cleanup_digest_context_ DigestContext *sum = digest_context_new();
        _cleanup_free_ char *buf = malloc(BUFFER_SIZE);
        char digest[DIGEST_SIZE], stored[SUM_SIZE];
        int r;

        if (!sum || !buf)
                return -ENOMEM;
        rewind(f);
        for (uint64_t left = size - SUM_SIZE; left > 0;) {
                size_t n = (size_t) MIN(left, BUFFER_SIZE);
                r = read_exactly(f, buf, n);
                if (r < 0)
                        return r;
                digest_context_update(sum, buf, n);
                left -= n;
        }
        r = read_exactly(f, stored, sizeof(stored));
        if (r < 0)
                return r;
        digest_context_finish(sum, digest);
        return memcmp(digest + strlen("sha256:"), stored, SUM_SIZE) == 0 ? 0 : -EBADMSG;
}

static int read_footer(LayerIndexReader *r, uint64_t size) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ json_t *json = NULL;
        uint32_t n;
        int k;

        if (fseeko(r->file, (off_t) (size - SUM_SIZE - sizeof(n)), SEEK_SET) < 0)
                return -errno;
        k = read_exactly(r->file, &n, sizeof(n));
        if (k < 0)
                return k;
        n = le32toh(n);
        if (n > FOOTER_MAX || n + sizeof(n) + SUM_SIZE + MAGIC_SIZE > size)
                return -EBADMSG;
        text = malloc(n + 1);
        if (!text)
                return -ENOMEM;
        if (fseeko(r->file, (off_t) (size - SUM_SIZE - sizeof(n) - n), SEEK_SET) < 0)
                return -errno;
        k = read_exactly(r->file, text, n);
        if (k < 0)
                return k;
        json = json_object_from_string(text, n);
        k = json ? json_fields_unpack(json, info_fields, NULL, &r->info, NULL) : -EBADMSG;
        return k == -EINVAL || (k >= 0 && (!r->info.image || !r->info.upperdir)) ? -EBADMSG : k;
}

int layer_index_rewind(LayerIndexReader *r) {
        char magic[MAGIC_SIZE];
        int k;

        rewind(r->file);
        k = read_exactly(r->file, magic, sizeof(magic));
        if (k < 0)
                return k;
        if (memcmp(magic, MAGIC, MAGIC_SIZE) != 0)
                return -EBADMSG;
        r->end = false;
        r->path[0] = 0;
        return layer_index_advance(r);
}

/* Takes the file also when it fails. */
static int open_stream(FILE *file, LayerIndexReader **ret) {
        _cleanup_layer_index_reader_ LayerIndexReader *r = calloc(1, sizeof(*r));
        struct stat st;
        int k;

        if (!r) {
                (void) fclose(file);
                return -ENOMEM;
        }
        r->file = file;
        if (fstat(fileno(file), &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size > FILE_MAX || (uint64_t) st.st_size < MAGIC_SIZE + sizeof(uint32_t) + SUM_SIZE)
                return -EBADMSG;
        if ((k = check_sum(file, (uint64_t) st.st_size)) < 0 || (k = read_footer(r, (uint64_t) st.st_size)) < 0 || (k = layer_index_rewind(r)) < 0)
                return k;
        *ret = TAKE_PTR(r);
        return 0;
}

int layer_index_open(const char *path, LayerIndexReader **ret) {
        FILE *f = fopen(path, "re");
        return f ? open_stream(f, ret) : -errno;
}

const LayerIndexInfo *layer_index_info(const LayerIndexReader *r) {
        return &r->info;
}

const LayerIndexEntry *layer_index_peek(const LayerIndexReader *r) {
        return r->end ? NULL : &r->entry;
}

static bool type_is_valid(uint8_t t) {
        return t == LAYER_INDEX_FILE || t == LAYER_INDEX_DIRECTORY || t == LAYER_INDEX_OPAQUE || t == LAYER_INDEX_WHITEOUT ||
               t == LAYER_INDEX_LEFT_OUT;
}

int layer_index_advance(LayerIndexReader *r) {
        char path[LAYER_INDEX_PATH_MAX + 1];
        RawEntry raw;
        int k;

        if (r->end)
                return 0;
        k = read_exactly(r->file, &raw, 4);
        if (k < 0)
                return k;
        uint16_t shared = le16toh(raw.shared), more = le16toh(raw.more);
        if (shared == END_MARK && more == 0) {
                r->end = true;
                return 0;
        }
        k = read_exactly(r->file, (char *) &raw + 4, sizeof(raw) - 4);
        if (k < 0)
                return k;
        if (shared > strlen(r->path) || more == 0 || shared + more > (int) LAYER_INDEX_PATH_MAX || !type_is_valid(raw.type))
                return -EBADMSG;
        memcpy(path, r->path, shared);
        k = read_exactly(r->file, path + shared, more);
        if (k < 0)
                return k;
        path[shared + more] = 0;
        if (strlen(path) != (size_t) shared + more || path[0] == '/' || layer_path_compare(r->path, path) >= 0)
                return -EBADMSG;
        memcpy(r->path, path, (size_t) shared + more + 1);
        r->entry = (LayerIndexEntry) {
                .path = r->path,
                .type = raw.type,
                .inode = le64toh(raw.inode),
                .ctime_nsec = (int64_t) le64toh((uint64_t) raw.ctime_nsec),
                .size = le64toh(raw.size),
        };
        return 0;
}

LayerIndexWriter *layer_index_discard(LayerIndexWriter *w) {
        if (!w)
                return NULL;
        if (w->file)
                (void) fclose(w->file);         /* has no name: it is gone */
        digest_context_free(w->sum);
        free(w->path);
        free(w->directory);
        free(w);
        return NULL;
}

static int errno_of_stdio(void) {
        return errno > 0 ? -errno : -EIO;
}

static void emit(LayerIndexWriter *w, const void *data, size_t n) {
        if (w->error < 0)
                return;
        digest_context_update(w->sum, data, n);
        errno = 0;
        if (fwrite(data, 1, n, w->file) != n)
                w->error = errno_of_stdio();
}

static int open_nameless(LayerIndexWriter *w) {
        _cleanup_close_ int fd = open(w->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        w->file = fd < 0 ? NULL : fdopen(fd, "w+e");
        if (!w->file)
                return -errno;
        (void) TAKE_FD(fd);
        return 0;
}

int layer_index_create(const char *path, LayerIndexWriter **ret) {
        _cleanup_layer_index_writer_ LayerIndexWriter *w = calloc(1, sizeof(*w));
        const char *slash = strrchr(path, '/');

        if (!slash || !slash[1])
                return -EINVAL;
        if (!w || !(w->path = strdup(path)) || !(w->directory = strndup(path, MAX((size_t) (slash - path), (size_t) 1))) ||
            !(w->sum = digest_context_new()))
                return -ENOMEM;
        w->error = open_nameless(w);
        emit(w, MAGIC, MAGIC_SIZE);
        *ret = TAKE_PTR(w);
        return 0;
}

int layer_index_append(LayerIndexWriter *w, const char *path, LayerIndexType type, const struct stat *st) {
        size_t n = strlen(path), shared = 0;

        if (n == 0 || n > LAYER_INDEX_PATH_MAX || layer_path_compare(w->last, path) >= 0)
                return -EINVAL;
        while (w->last[shared] && w->last[shared] == path[shared])
                shared++;
        RawEntry raw = {
                .shared = htole16((uint16_t) shared),
                .more = htole16((uint16_t) (n - shared)),
                .type = (uint8_t) type,
                .inode = htole64(st->st_ino),
                .ctime_nsec = (int64_t) htole64((uint64_t) layer_index_ctime(st)),
                .size = htole64((uint64_t) st->st_size),
        };
        memcpy(w->last, path, n + 1);
        emit(w, &raw, sizeof(raw));
        emit(w, path + shared, n - shared);
        return 0;
}

static int finish(LayerIndexWriter *w, const LayerIndexInfo *info) {
        const RawEntry end = { .shared = htole16(END_MARK) };
        _cleanup_json_ json_t *json = json_fields_pack(info_fields, info);
        _cleanup_free_ char *text = NULL;
        char digest[DIGEST_SIZE];
        int r;

        if (!json)
                return -EINVAL;
        r = json_to_string(json, false, &text);
        if (r < 0)
                return r;
        uint32_t n = htole32((uint32_t) strlen(text));
        emit(w, &end, 4);
        emit(w, text, strlen(text));
        emit(w, &n, sizeof(n));
        if (w->error < 0)
                return w->error;
        digest_context_finish(w->sum, digest);
        errno = 0;
        return fwrite(digest + strlen("sha256:"), 1, SUM_SIZE, w->file) == SUM_SIZE && fflush(w->file) >= 0 ? 0 : errno_of_stdio();
}

int layer_index_reopen(LayerIndexWriter *w, const LayerIndexInfo *info, LayerIndexReader **ret) {
        int r = finish(w, info);
        return r < 0 ? r : open_stream(TAKE_PTR(w->file), ret);
}

/* A file without a name gets one by a link, and its place by a rename, which replaces what was there in one step. */
static int put_in_place(LayerIndexWriter *w) {
        _cleanup_free_ char *fresh = strformat("%s.new", w->path);
        _cleanup_close_ int directory = open(w->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char self[64];

        if (!fresh)
                return -ENOMEM;
        if (directory < 0)
                return -errno;
        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(w->file));
        (void) unlink(fresh);
        if (fsync(fileno(w->file)) < 0 || linkat(AT_FDCWD, self, AT_FDCWD, fresh, AT_SYMLINK_FOLLOW) < 0)
                return -errno;
        if (rename(fresh, w->path) < 0 || fsync(directory) < 0)
                return -errno;
        return 0;
}

int layer_index_commit(LayerIndexWriter *w, const LayerIndexInfo *info) {
        int r = finish(w, info);
        return r < 0 ? r : put_in_place(w);
}
