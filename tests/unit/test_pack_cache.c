/* Packed weights kept in a file between loads: used when they are what would be packed, else packed. */
#include "base/log.h"
#include "exec/pack_cache.h"
#include "unit/graph_fixture.h"
#include "unit/temporary.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { ROWS = 300, COLUMNS = 64 };

/* ---- a load, small enough to look at ---------------------------------------------------------------- */

static struct {
    int warnings;
    char last[1024];
} logged;

static void take_log(void *user, int32_t level, const char *message) {
    (void)user;
    if (level > NLM_LOG_WARN) return;
    logged.warnings++;
    snprintf(logged.last, sizeof logged.last, "%s", message);
}

/* What one process does with a model of two weights. */
typedef struct load {
    fixture f;
    fake_device device;
    nlm_pack_cache *cache;
    const char *key;
    uint32_t roles;
} load;

static void load_open(load *l) {
    fixture_open(&l->f, 2);
    fake_sliced(&l->device, l->f.reference, "packing");
    l->device.layout_version = 1;
    l->key = "this model";
    l->roles = NLM_ROLE_MATMUL;
    fixture_weight(&l->f, "first", SHAPE(ROWS, COLUMNS));
    fixture_weight(&l->f, "second", SHAPE(2, COLUMNS));
    logged.warnings = 0;
    nlm_log_set_sink(take_log, NULL);
}

static bool is_reversed(const nlm_weight *weight, const nlm_tensor *tensor) {
    const int64_t n = weight->source.shape[0];
    for (int64_t r = 0; r < n; r++) {
        const char *source = (const char *)weight->source.data + r * weight->source.stride_bytes[0];
        const char *packed = (const char *)tensor->data + (n - 1 - r) * weight->source.stride_bytes[0];
        if (memcmp(source, packed, (size_t)weight->source.stride_bytes[0]) != 0) return false;
    }
    return true;
}

/* Places both weights through the cache at `path`; how many were packed. */
static uint32_t load_place(load *l, const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    uint32_t packed = 0;
    expect_ok(nlm_pack_cache_open(path, l->key, &l->device.device, false, &l->cache, &err), &err);
    for (uint32_t i = 0; i < l->f.n_weights; i++) {
        nlm_weight *weight = &l->f.weights[i];
        const nlm_tensor *tensor = NULL;
        weight->cache = l->cache;
        atomic_store(&l->device.pack_calls, 0);
        expect_ok(nlm_weight_place_on(weight, &l->device.device, REVERSED_LAYOUT, l->roles, l->f.pool, &tensor, &err),
                  &err);
        packed += atomic_load(&l->device.pack_calls) > 0;
        CU_ASSERT_TRUE(is_reversed(weight, tensor));
        CU_ASSERT_EQUAL((uintptr_t)tensor->data % 64, 0);
    }
    nlm_pack_cache_save(l->cache);
    return packed;
}

static void load_close(load *l) {
    fixture_close(&l->f);
    nlm_pack_cache_close(l->cache);
    nlm_log_set_sink(NULL, NULL);
}

/* A whole load with nothing special; how many weights were packed. */
static uint32_t load_once(const char *path) {
    load l;
    load_open(&l);
    const uint32_t packed = load_place(&l, path);
    load_close(&l);
    return packed;
}

typedef struct cached {
    temporary t;
    char path[512];
} cached;

static void cached_make(cached *c) {
    CU_ASSERT_TRUE_FATAL(temporary_make(&c->t));
    snprintf(c->path, sizeof c->path, "%s", temporary_path(&c->t, "w.nlmpack"));
}

/* ---- cases ------------------------------------------------------------------------------------------ */

static void weights_are_packed_once_and_mapped_afterwards(void) {
    cached c;
    cached_make(&c);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    CU_ASSERT_EQUAL(logged.warnings, 0);
    struct stat before, after;
    CU_ASSERT_EQUAL(stat(c.path, &before), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    CU_ASSERT_EQUAL(logged.warnings, 0);
    CU_ASSERT_EQUAL(stat(c.path, &after), 0);
    CU_ASSERT_EQUAL(before.st_ino, after.st_ino);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
    temporary_remove(&c.t);
}

static void missing_folders_are_made_for_their_owner_alone(void) {
    cached c;
    cached_make(&c);
    char path[600], upper[600];
    snprintf(upper, sizeof upper, "%s/up", c.t.folder);
    snprintf(path, sizeof path, "%s/up/lower/w", c.t.folder);
    CU_ASSERT_EQUAL(load_once(path), 2);
    CU_ASSERT_EQUAL(load_once(path), 0);
    struct stat info;
    CU_ASSERT_EQUAL(stat(upper, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 0777, 0700);
    CU_ASSERT_EQUAL(unlink(path), 0);
    snprintf(path, sizeof path, "%s/up/lower", c.t.folder);
    CU_ASSERT_EQUAL(rmdir(path), 0);
    CU_ASSERT_EQUAL(rmdir(upper), 0);
    temporary_remove(&c.t);
}

static void write_bytes(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(data, 1, bytes, file), bytes);
    CU_ASSERT_EQUAL(fclose(file), 0);
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
}

static void make_empty(const char *path) {
    write_bytes(path, "", 0);
}
static void make_foreign(const char *path) {
    write_bytes(path, "GGUF, which this is not either", 30);
}
static void cut(const char *path) {
    CU_ASSERT_EQUAL(truncate(path, 70000), 0);
}
static void change_table(const char *path) {
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fseek(file, 60, SEEK_SET), 0);
    CU_ASSERT_EQUAL(fputc('#', file), '#');
    CU_ASSERT_EQUAL(fclose(file), 0);
}
static void zero_data(const char *path) {
    static const unsigned char zeros[5000];
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fseek(file, 8192, SEEK_SET), 0);
    CU_ASSERT_EQUAL(fwrite(zeros, 1, sizeof zeros, file), sizeof zeros);
    CU_ASSERT_EQUAL(fclose(file), 0);
}
static void open_to_others(const char *path) {
    CU_ASSERT_EQUAL(chmod(path, 0622), 0);
}

static const struct {
    void (*damage)(const char *path);
    const char *message;
} damages[] = {
    {make_empty, "this is not a file of packed weights"},
    {make_foreign, "this is not a file of packed weights"},
    {cut, "truncated"},
    {change_table, "the checksum at offset 32 does not match"},
    {open_to_others, "somebody else may write to it"},
    {zero_data, "the checksum of 'first' does not match"},
};

static void a_damaged_file_costs_one_warning_and_is_replaced(void) {
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        cached c;
        cached_make(&c);
        CU_ASSERT_EQUAL(load_once(c.path), 2);
        damages[i].damage(c.path);
        CU_ASSERT_EQUAL(load_once(c.path), damages[i].damage == zero_data ? 1 : 2);
        CU_ASSERT_EQUAL(logged.warnings, 1);
        expect_contains(logged.last, damages[i].message);
        expect_contains(logged.last, c.path);
        expect_contains(logged.last, "the weights are packed as without it");
        CU_ASSERT_EQUAL(load_once(c.path), 0);
        CU_ASSERT_EQUAL(logged.warnings, 0);
        CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
        temporary_remove(&c.t);
    }
}

static void what_cannot_be_a_file_costs_one_warning(void) {
    cached c;
    cached_make(&c);
    CU_ASSERT_EQUAL(mkdir(c.path, 0700), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    expect_contains(logged.last, "is not a regular file");
    CU_ASSERT_EQUAL(rmdir(c.path), 0);
    write_bytes(c.path, "a file", 6);
    char below[600];
    snprintf(below, sizeof below, "%s/w", c.path);
    CU_ASSERT_EQUAL(load_once(below), 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    expect_contains(logged.last, "cannot make the folder");
    CU_ASSERT_EQUAL(load_once("/proc/no/such/folder/w"), 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    temporary_remove(&c.t);
}

static void a_folder_that_may_not_be_written_costs_one_warning(void) {
    if (geteuid() == 0) CHECK_SKIP("root may write everywhere");
    cached c;
    cached_make(&c);
    CU_ASSERT_EQUAL(chmod(c.t.folder, 0500), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    expect_contains(logged.last, "Permission denied");
    CU_ASSERT_EQUAL(chmod(c.t.folder, 0700), 0);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 0);
    temporary_remove(&c.t);
}

/* A load that finds nothing to write clears up as well. */
static void what_is_abandoned_goes_when_a_file_is_mapped(void) {
    cached c;
    cached_make(&c);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    const char *path = temporary_path(&c.t, "w.nlmpack.tmp-1-0");
    write_bytes(path, "part", 4);
    const struct timespec then = {.tv_sec = time(NULL) - 7200};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, (const struct timespec[]){then, then}, 0), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
    temporary_remove(&c.t);
}

static void a_folder_that_others_may_change_is_not_used(void) {
    cached c;
    cached_make(&c);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    static const mode_t modes[] = {0770, 0707, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        CU_ASSERT_EQUAL(chmod(c.t.folder, modes[i]), 0);
        CU_ASSERT_EQUAL(load_once(c.path), 2);
        CU_ASSERT_EQUAL(logged.warnings, 1);
        expect_contains(logged.last, "others may write to its folder");
        expect_contains(logged.last, "chmod go-w");
    }
    CU_ASSERT_EQUAL(chmod(c.t.folder, 0700), 0);
    if (geteuid() == 0) {
        CU_ASSERT_EQUAL(chown(c.t.folder, 65534, (gid_t)-1), 0);
        CU_ASSERT_EQUAL(load_once(c.path), 2);
        expect_contains(logged.last, "belongs to user 65534");
        CU_ASSERT_EQUAL(chown(c.t.folder, 0, (gid_t)-1), 0);
    }
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
    temporary_remove(&c.t);
}

static void a_link_in_the_place_of_the_file_is_replaced(void) {
    cached c;
    cached_make(&c);
    char victim[512];
    snprintf(victim, sizeof victim, "%s", temporary_path(&c.t, "victim"));
    write_bytes(victim, "precious", 8);
    CU_ASSERT_EQUAL_FATAL(symlink(victim, c.path), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    struct stat info;
    CU_ASSERT_EQUAL(stat(victim, &info), 0);
    CU_ASSERT_EQUAL(info.st_size, 8);
    CU_ASSERT_EQUAL(lstat(c.path, &info), 0);
    CU_ASSERT_TRUE(S_ISREG(info.st_mode));
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    temporary_remove(&c.t);
}

/* A size limit stands for a full disk, as in test_file.c. */
static void a_full_disk_costs_one_warning_and_leaves_nothing(void) {
    cached c;
    cached_make(&c);
    struct rlimit old;
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit small = {20000, old.rlim_max};
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
    const uint32_t packed = load_once(c.path);
    setrlimit(RLIMIT_FSIZE, &old);
    CU_ASSERT_EQUAL(packed, 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    expect_contains(logged.last, "File too large");
    CU_ASSERT_EQUAL(temporary_count(&c.t), 0);
    temporary_remove(&c.t);
}

static void what_killed_processes_left_is_removed(void) {
    static const struct {
        const char *name;
        time_t age_s;
        bool stays;
    } rows[] = {{"w.nlmpack.tmp-1-0", 7200, false},
                {"w.nlmpack.tmp-2-0", 5, true},    /* it may not have its lock yet */
                {"w.nlmpack.tmp-3-0", 7200, true}, /* it has one */
                {"x.nlmpack.tmp-1-0", 7200, true},
                {"w.nlmpack2", 7200, true}};
    cached c;
    cached_make(&c);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = temporary_path(&c.t, rows[i].name);
        write_bytes(path, "part", 4);
        const struct timespec then = {.tv_sec = time(NULL) - rows[i].age_s};
        CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, (const struct timespec[]){then, then}, 0), 0);
    }
    const int locked = open(temporary_path(&c.t, "w.nlmpack.tmp-3-0"), O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(flock(locked, LOCK_EX), 0);
    CU_ASSERT_EQUAL(load_once(c.path), 2);
    close(locked);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(access(temporary_path(&c.t, rows[i].name), F_OK) == 0, rows[i].stays);
    }
    temporary_remove(&c.t);
}

static void change_key(load *l) {
    l->key = "another model";
}
static void change_layout(load *l) {
    l->device.layout_version = 2;
}
static void change_roles(load *l) {
    l->roles |= NLM_ROLE_EMBED;
}
static void change_names(load *l) {
    l->f.weights[0].name = "third";
    l->f.weights[1].name = "secon";
}
static void change_shapes(load *l) {
    for (int i = 0; i < 2; i++) { /* of as many bytes */
        nlm_tensor *w = &l->f.weights[i].source;
        nlm_tensor_init(w, NLM_F32, 2, (const int64_t[]){w->shape[0] * 2, w->shape[1] / 2}, w->data, NULL);
    }
}
static void change_types(load *l) {
    for (int i = 0; i < 2; i++) { /* of as many bytes */
        nlm_tensor *w = &l->f.weights[i].source;
        nlm_tensor_init(w, NLM_I32, 2, (const int64_t[]){w->shape[0], w->shape[1]}, w->data, NULL);
    }
}

static const struct {
    void (*change)(load *l);
    int warnings;
} stale[] = {{change_key, 1},   {change_layout, 0}, {change_roles, 0},
             {change_names, 0}, {change_shapes, 0}, {change_types, 0}};

static void weights_that_would_be_packed_otherwise_are_packed_again(void) {
    for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) {
        cached c;
        cached_make(&c);
        CU_ASSERT_EQUAL(load_once(c.path), 2);
        for (int again = 0; again < 2; again++) {
            load l;
            load_open(&l);
            stale[i].change(&l);
            CU_ASSERT_EQUAL(load_place(&l, c.path), again ? 0 : 2);
            CU_ASSERT_EQUAL(logged.warnings, again ? 0 : stale[i].warnings);
            load_close(&l);
        }
        CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
        temporary_remove(&c.t);
    }
}

static void a_file_that_lacks_a_weight_is_completed(void) {
    cached c;
    cached_make(&c);
    load l;
    load_open(&l);
    l.f.n_weights = 1;
    CU_ASSERT_EQUAL(load_place(&l, c.path), 1);
    l.f.n_weights = 2;
    load_close(&l);
    CU_ASSERT_EQUAL(load_once(c.path), 1);
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    temporary_remove(&c.t);
}

static void a_layout_without_a_version_is_not_kept(void) {
    cached c;
    cached_make(&c);
    load l;
    load_open(&l);
    l.device.layout_version = 0;
    CU_ASSERT_EQUAL(load_place(&l, c.path), 2);
    load_close(&l);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 0);
    temporary_remove(&c.t);
}

static void only_the_weights_of_its_device_are_kept(void) {
    cached c;
    cached_make(&c);
    load l;
    load_open(&l);
    nlm_error err = NLM_ERROR_INIT;
    const nlm_tensor *tensor = NULL;
    expect_ok(nlm_pack_cache_open(c.path, l.key, l.f.reference, false, &l.cache, &err), &err);
    l.f.weights[0].cache = l.cache;
    expect_ok(nlm_weight_place_on(&l.f.weights[0], &l.device.device, REVERSED_LAYOUT, 0, l.f.pool, &tensor, &err),
              &err);
    nlm_pack_cache_save(l.cache);
    load_close(&l);
    CU_ASSERT_EQUAL(temporary_count(&c.t), 0);
    temporary_remove(&c.t);
}

/* Each waits for the pipe to close, so that all write at once. */
static void processes_that_write_at_once_leave_one_sound_file(void) {
    enum { CHILDREN = 6 };
    cached c;
    cached_make(&c);
    int start[2];
    pid_t children[CHILDREN];
    CU_ASSERT_EQUAL_FATAL(pipe(start), 0);
    fflush(NULL);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        CU_ASSERT_FATAL(children[i] >= 0);
        if (children[i] > 0) continue;
        char byte;
        close(start[1]);
        const ssize_t end = read(start[0], &byte, 1);
        const uint32_t packed = load_once(c.path); /* none, if another was quicker */
        _exit(end == 0 && (packed == 0 || packed == 2) && logged.warnings == 0 ? 0 : 1);
    }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < CHILDREN; i++) {
        int end = -1;
        CU_ASSERT_EQUAL(waitpid(children[i], &end, 0), children[i]);
        CU_ASSERT_EQUAL(end, 0);
    }
    CU_ASSERT_EQUAL(temporary_count(&c.t), 1);
    CU_ASSERT_EQUAL(load_once(c.path), 0);
    CU_ASSERT_EQUAL(logged.warnings, 0);
    temporary_remove(&c.t);
}

static const check_case cases[] = {
    CHECK_CASE(weights_are_packed_once_and_mapped_afterwards),
    CHECK_CASE(missing_folders_are_made_for_their_owner_alone),
    CHECK_CASE(a_damaged_file_costs_one_warning_and_is_replaced),
    CHECK_CASE(what_cannot_be_a_file_costs_one_warning),
    CHECK_CASE(a_folder_that_may_not_be_written_costs_one_warning),
    CHECK_CASE(a_full_disk_costs_one_warning_and_leaves_nothing),
    CHECK_CASE(what_killed_processes_left_is_removed),
    CHECK_CASE(what_is_abandoned_goes_when_a_file_is_mapped),
    CHECK_CASE(a_folder_that_others_may_change_is_not_used),
    CHECK_CASE(a_link_in_the_place_of_the_file_is_replaced),
    CHECK_CASE(weights_that_would_be_packed_otherwise_are_packed_again),
    CHECK_CASE(a_file_that_lacks_a_weight_is_completed),
    CHECK_CASE(a_layout_without_a_version_is_not_kept),
    CHECK_CASE(only_the_weights_of_its_device_are_kept),
    CHECK_CASE(processes_that_write_at_once_leave_one_sound_file),
};
CHECK_MAIN("pack cache", cases)
