/* Counts this program's allocations: none per token. */
#include <stdatomic.h>

#include "session_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_COUNTING 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_COUNTING 0
#endif
#endif
#ifndef IS_COUNTING
#define IS_COUNTING 1
#endif

static atomic_long n_allocations;

#if IS_COUNTING
/* glibc's own, under the names it keeps for programs that replace malloc. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    n_allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    n_allocations++;
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    n_allocations++;
    return __libc_realloc(memory, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    n_allocations++;
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
    n_allocations++;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : 12; /* ENOMEM */
}
#endif

static int32_t ignore_text(void *user, const char *text, size_t length) {
    (void)text;
    *(size_t *)user += length;
    return 0;
}

static void allocations_do_not_grow_with_the_tokens(void) {
    if (!IS_COUNTING) CHECK_SKIP("a sanitizer has its own malloc");
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fixture f = fixture_open(fixture_models[i], NULL, 2);
        nlm_session *session = fixture_session(&f);
        const nlm_sampler_options sampler_options = {
            .struct_size = sizeof sampler_options, .temperature = 0.8f, .top_k = 20, .repeat_penalty = 1.1f};
        nlm_sampler *sampler = NULL;
        EXPECT_OK(nlm_sampler_create(f.model, &sampler_options, &sampler, error));
        int32_t ids[10];
        size_t n_bytes = 0;
        fixture_ids(&f, 1, ids, 10);
        fixture_extend(session, ids, 10);
        const char *const stops[] = {"no such text"};
        nlm_generate_options options = {.struct_size = sizeof options,
                                        .flags = NLM_GENERATE_IGNORE_END,
                                        .max_tokens = 20,
                                        .stops = stops,
                                        .n_stops = 1};
        /* once to warm up, then twenty and two hundred tokens */
        EXPECT_OK(nlm_session_generate(session, sampler, &options, ignore_text, &n_bytes, NULL, error));
        const long before = n_allocations;
        options.max_tokens = 200;
        EXPECT_OK(nlm_session_generate(session, sampler, &options, ignore_text, &n_bytes, NULL, error));
        CU_ASSERT_EQUAL(n_allocations - before, 0);
        nlm_sampler_destroy(sampler);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    CU_ASSERT(n_allocations > 100); /* the counter counts */
}

static const check_case cases[] = {
    CHECK_CASE(allocations_do_not_grow_with_the_tokens),
};
CHECK_MAIN("allocations", cases)
