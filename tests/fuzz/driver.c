/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/driver.c - runs a fuzz target without libFuzzer: its corpus, then mutations of it.
 *
 * fuzz-NAME CORPUS [RUNS]. The same corpus and number give the same inputs; one that crashes is
 * written to
 * ./crash-PID, and fuzz-NAME ./crash-PID runs it alone. Speaks TAP.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUNS 20000           /* a few seconds under ASan */
#define INPUT_MAX (1u << 20) /* bytes; above every limit that a parser has for one piece */
#define SEEDS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Of the sanitizers' run time, where there is one: they end the program without a signal that we
 * could handle. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

typedef struct {
    uint8_t *data;
    size_t size;
} Input;

/* What a signal handler has to find. */
static const uint8_t *current_data;
static size_t current_size;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t below(uint64_t *state, size_t limit)
{
    return limit ? next_random(state) % limit : 0;
}

static void write_crash(void)
{
    char name[32];
    snprintf(name, sizeof name, "crash-%d", (int)getpid());
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    (void)!write(fd, current_data, current_size);
    close(fd);
}

static void on_fatal_signal(int signal_number)
{
    write_crash();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void catch_crashes(void)
{
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(write_crash);
        return;
    }
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], on_fatal_signal);
}

/* In a block of exactly its size, so that ASan sees the first byte too many. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (copy == NULL)
        exit(1);
    memcpy(copy, data, size);
    current_data = copy;
    current_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static bool load(const char *path, Input *input)
{
    struct stat st;
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return false;
    if (fstat(fileno(file), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > INPUT_MAX) {
        fclose(file);
        return false;
    }
    input->data = malloc((size_t)st.st_size + 1);
    input->size = input->data ? fread(input->data, 1, (size_t)st.st_size, file) : 0;
    fclose(file);
    return input->data != NULL;
}

static size_t load_corpus(const char *folder, Input *seeds)
{
    struct dirent **names;
    size_t count = 0;
    int found = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (count < SEEDS_MAX && load(path, &seeds[count]))
            count++;
        free(names[i]);
    }
    if (found >= 0)
        free(names);
    return count;
}

/* Puts `size` bytes in at `at`, as far as there is room. */
static void insert(uint8_t *data, size_t *used, size_t at, const uint8_t *bytes, size_t size)
{
    if (size > INPUT_MAX - *used)
        return;
    memmove(data + at + size, data + at, *used - at);
    memcpy(data + at, bytes, size);
    *used += size;
}

static void mutate(uint8_t *data, size_t *used, const Input *other, uint64_t *state)
{
    static const uint8_t telling[] = {0,   1,   0x7f, 0x80, 0xff, '\n', '"', '\\',
                                      '=', ',', ' ',  '#',  '(',  '{',  '[', '-'};
    size_t at = below(state, *used);
    size_t size;
    switch (below(state, 7)) {
    case 0:
        if (*used)
            data[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1:
        if (*used)
            data[at] = telling[below(state, sizeof telling)];
        break;
    case 2:
        insert(data, used, at, &telling[below(state, sizeof telling)], 1);
        break;
    case 3: /* a piece is lost */
        size = below(state, *used - at + 1);
        memmove(data + at, data + at + size, *used - at - size);
        *used -= size;
        break;
    case 4: /* the end is lost */
        *used = at;
        break;
    case 5: /* a piece of another seed */
        size = below(state, other->size + 1);
        insert(data, used, at, other->data + below(state, other->size - size + 1), size);
        break;
    default: /* a number of 4 bytes, as lengths are */
        for (size_t i = 0; i < 4 && at + i < *used; i++)
            data[at + i] = (uint8_t)(below(state, 2) ? 0xff : below(state, 256));
    }
}

static void run_mutations(const Input *seeds, size_t count, size_t runs)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    uint8_t *data = malloc(INPUT_MAX);
    if (data == NULL)
        exit(1);
    for (size_t run = 0; run < runs; run++) {
        const Input *seed = &seeds[below(&state, count)];
        size_t used = seed->size;
        memcpy(data, seed->data, used);
        for (size_t step = below(&state, 6) + 1; step > 0; step--)
            mutate(data, &used, &seeds[below(&state, count)], &state);
        run_one(data, used);
    }
    free(data);
}

int main(int argc, char **argv)
{
    static Input seeds[SEEDS_MAX];
    size_t runs = argc > 2 ? strtoul(argv[2], NULL, 10) : RUNS;
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS [RUNS] | INPUT\n", argv[0]);
        return 2;
    }
    catch_crashes();
    if (load(argv[1], &seeds[0])) {
        run_one(seeds[0].data, seeds[0].size);
        return 0;
    }
    size_t count = load_corpus(argv[1], seeds);
    printf("1..2\n");
    for (size_t i = 0; i < count; i++)
        run_one(seeds[i].data, seeds[i].size);
    printf("%s 1 - %zu seeds of '%s'\n", count ? "ok" : "not ok", count, argv[1]);
    fflush(stdout);
    if (count)
        run_mutations(seeds, count, runs);
    printf("%s 2 - %zu mutations\n", count ? "ok" : "not ok", count ? runs : 0);
    for (size_t i = 0; i < count; i++)
        free(seeds[i].data);
    return count ? 0 : 1;
}
