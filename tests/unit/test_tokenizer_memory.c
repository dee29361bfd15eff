/* A tokenizer for which memory runs out, at every allocation of its making and of a text: OUT_OF_MEMORY, and nothing
 * is left. */
#include <errno.h>

#include "tokenizer_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CAN_FAIL 0
#endif
#endif
#ifndef CAN_FAIL
#define CAN_FAIL 1
#endif

static long n_allocations, fails_at; /* 0: none fails */

#if CAN_FAIL
/* glibc's own, under the names it keeps for programs that replace malloc. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

#define SEEN_BY_LIBRARIES __attribute__((visibility("default"))) /* PCRE2 among them */

static bool fails(void) {
    if (++n_allocations != fails_at) return false;
    errno = ENOMEM;
    return true;
}
SEEN_BY_LIBRARIES void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}
SEEN_BY_LIBRARIES void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}
SEEN_BY_LIBRARIES void *realloc(void *memory, size_t size) {
    return fails() ? NULL : __libc_realloc(memory, size);
}
#endif

static nlm_status make_and_encode(const nlm_gguf *gguf, nlm_error *err) {
    static const char text[] = "The model reads 1984 lines, caf\xc3\xa9 \xf0\x9f\xa6\x99 and isn't done.\n\n";
    nlm_tokenizer *tokenizer = NULL;
    nlm_ids ids = {0};
    nlm_status status = nlm_tokenizer_create(gguf, &tokenizer, err);
    if (status != NLM_OK) return status;
    status = nlm_tokenizer_encode(tokenizer, text, sizeof text - 1, NLM_ENCODE_BOS, &ids, err);
    nlm_ids_release(&ids);
    nlm_tokenizer_destroy(tokenizer);
    return status;
}

static void memory_that_runs_out_is_told_as_such(void) {
    if (!CAN_FAIL) CHECK_SKIP("a sanitizer has its own malloc");
    static const char *const names[] = {NLM_TEST_DATA "/tokenizer/bpe-gpt-2.gguf",
                                        NLM_TEST_DATA "/tokenizer/bpe-llama-3.gguf",
                                        NLM_TEST_DATA "/tokenizer/spm.gguf"};
    for (size_t i = 0; i < COUNT(names); i++) {
        nlm_gguf *gguf = NULL;
        CU_ASSERT_EQUAL_FATAL(nlm_gguf_open(names[i], &gguf, NULL), NLM_OK);
        n_allocations = fails_at = 0;
        CU_ASSERT_EQUAL_FATAL(make_and_encode(gguf, NULL), NLM_OK);
        const long all = n_allocations;
        CU_ASSERT(all > 5);
        for (long at = 1; at <= all; at += at < 200 ? 1 : 1 + all / 300) {
            nlm_error err = NLM_ERROR_INIT;
            n_allocations = 0;
            fails_at = at;
            const nlm_status status = make_and_encode(gguf, &err);
            fails_at = 0;
            /* What PCRE2's compiler to machine code lacks, its interpreter makes up for. */
            if (status != NLM_OK && status != NLM_OUT_OF_MEMORY) printf("\n  %s at %ld: %s", names[i], at, err.msg);
            CU_ASSERT(status == NLM_OK || status == NLM_OUT_OF_MEMORY);
        }
        nlm_gguf_close(gguf);
    }
}

static const check_case cases[] = {CHECK_CASE(memory_that_runs_out_is_told_as_such)};
CHECK_MAIN("tokenizer_memory", cases)
