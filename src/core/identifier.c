/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/random.h>

#include "basic/string-util.h"
#include "core/identifier.h"

#define DIGITS "0123456789"
#define ID_LETTERS "abcdefghjkmnpqrstvwxyz"
#define SESSION_NAME_MAX 40

bool session_id_is_valid(const char *s) {
        return s && strlen(s) == SESSION_ID_LENGTH && *s >= '0' && *s <= '9' && strspn(s, DIGITS ID_LETTERS) == SESSION_ID_LENGTH;
}

bool session_name_is_valid(const char *s) {
        size_t n = s ? strlen(s) : 0;

        return n > 0 && n <= SESSION_NAME_MAX && s[0] >= 'a' && s[0] <= 'z' && s[n - 1] != '-' &&
               strspn(s, DIGITS "-abcdefghijklmnopqrstuvwxyz") == n;
}

static uint64_t random_u64(void) {
        uint64_t v;
        /* Does not fail or fall short for 8 bytes once the kernel's pool is ready. */
        while (getrandom(&v, sizeof(v), 0) != sizeof(v))
                ;
        return v;
}

void session_id_generate(char ret[SESSION_ID_LENGTH + 1]) {
        static const char alphabet[] = DIGITS ID_LETTERS;
        uint64_t v = random_u64();

        ret[0] = (char) ('0' + (v & 0xff) % 10);
        v >>= 8;
        for (int i = 1; i < SESSION_ID_LENGTH; i++, v >>= 5)
                ret[i] = alphabet[v & 31];
        ret[SESSION_ID_LENGTH] = 0;
}

char *session_name_generate(void) {
        static const char *const adjectives[] = {
                "able", "amber", "ample", "bold", "brave", "brief", "bright", "brisk", "calm", "clear", "clever", "cool", "crisp", "deep",
                "eager", "early", "fair", "fast", "fine", "firm", "fond", "free", "fresh", "gentle", "glad", "golden", "grand", "green", "happy",
                "hardy", "keen", "kind", "late", "light", "lively", "lucky", "mellow", "merry", "mild", "neat", "noble", "patient", "plain",
                "proud", "pure", "quick", "quiet", "rapid", "ready", "royal", "safe", "sharp", "silent", "silver", "simple", "sleek", "smart",
                "solid", "steady", "still", "sunny", "swift", "tidy", "warm",
        };
        static const char *const nouns[] = {
                "badger", "beaver", "birch", "bison", "brook", "canyon", "cedar", "cliff", "cloud", "comet", "condor", "coral", "crane", "delta",
                "dune", "eagle", "falcon", "fern", "finch", "fjord", "forest", "fox", "glade", "grove", "harbor", "hawk", "heron", "hill",
                "island", "ivy", "lagoon", "lake", "lark", "lynx", "maple", "marsh", "meadow", "mesa", "moose", "oak", "ocean", "otter", "owl",
                "panda", "peak", "pine", "planet", "prairie", "puffin", "quail", "raven", "reef", "river", "robin", "salmon", "seal", "sparrow",
                "spruce", "stone", "summit", "tiger", "valley", "willow", "wren",
        };
        uint64_t v = random_u64();

        return strformat("%s-%s-%u", adjectives[v % ELEMENTSOF(adjectives)], nouns[(v >> 16) % ELEMENTSOF(nouns)], (unsigned) ((v >> 32) % 900 + 100));
}
