/* GGUF files that lie: each gives a sentence, or loads as what it says; none may crash, hang or make the
 * reader allocate more than a small multiple of the file.
 *
 * Memory is held to a limit for the whole program: an address space limit in an ordinary build, and a cap
 * on single allocations (max_allocation_size_mb) under AddressSanitizer. Either makes an allocation
 * that follows a number of the file return NULL, which shows as OUT_OF_MEMORY and fails the test. */
#include "unit/check.h"

#include "unit/gguf_bytes.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define HAS_NO_LIMIT 1
#elif !defined(__SANITIZE_ADDRESS__) && !HAS_FEATURE(address_sanitizer)
#define HAS_ADDRESS_SPACE_LIMIT 1
#endif

const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) {
    return "max_allocation_size_mb=1:allocator_may_return_null=1";
}

#define EXTRA_ADDRESS_SPACE (UINT64_C(64) << 20)

static void limit_memory(void) {
#ifdef HAS_ADDRESS_SPACE_LIMIT
    FILE *file = fopen("/proc/self/statm", "r");
    uint64_t pages = 0;
    if (!file || fscanf(file, "%" SCNu64, &pages) != 1) pages = UINT64_C(1) << 18;
    if (file) fclose(file);
    const rlim_t limit = pages * (uint64_t)sysconf(_SC_PAGESIZE) + EXTRA_ADDRESS_SPACE;
    const struct rlimit address_space = {limit, limit};
    setrlimit(RLIMIT_AS, &address_space);
#endif
}

/* Without it the other cases could not tell a bounded allocation from one that follows the file. */
static void memory_limit_is_in_force(void) {
#ifdef HAS_NO_LIMIT
    CHECK_SKIP("ThreadSanitizer has no limit on memory");
#endif
    void *volatile memory = malloc((size_t)2 * EXTRA_ADDRESS_SPACE);
    CU_ASSERT_PTR_NULL(memory);
    free(memory);
}

static uint64_t sum_bytes(const void *data, uint64_t size) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += ((const unsigned char *)data)[i];
    return sum;
}

/* Reads everything a loaded file claims to have, so that a sanitizer sees any claim that is not true. */
static uint64_t walk(const nlm_gguf *g) {
    uint64_t sum = nlm_gguf_alignment(g);
    for (size_t i = 0; i < nlm_gguf_entry_count(g); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(g, i);
        sum += sum_bytes(entry->key.data, entry->key.length) + sum_bytes(entry->data, entry->bytes);
        for (uint64_t s = 0; entry->strings && s < entry->count; s++) {
            sum += sum_bytes(entry->strings[s].data, entry->strings[s].length);
        }
    }
    for (size_t i = 0; i < nlm_gguf_tensor_count(g); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(g, i);
        sum += sum_bytes(tensor->name.data, tensor->name.length);
        if (tensor->is_supported) sum += sum_bytes(tensor->tensor.data, tensor->bytes);
    }
    return sum;
}

/* Parses an exact-size copy. A failure must be one of a file, with a sentence. */
static bool loads(const unsigned char *data, size_t size, uint64_t *out_sum) {
    unsigned char *copy = malloc(size ? size : 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    memcpy(copy, data, size);
    nlm_gguf *g = NULL;
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = nlm_gguf_parse("memory", copy, size, &g, &err);
    if (status == NLM_OK) {
        *out_sum = walk(g);
        nlm_gguf_close(g);
    } else {
        CU_ASSERT_TRUE(status == NLM_BAD_FORMAT || status == NLM_UNSUPPORTED);
        CU_ASSERT_TRUE(strlen(err.msg) > 10);
        CU_ASSERT_EQUAL(strncmp(err.where, "memory:", 7), 0);
    }
    free(copy);
    return status == NLM_OK;
}

static void gguf_truncated_at_any_byte_is_refused(void) {
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    uint64_t whole = 0, sum = 0;
    CU_ASSERT_TRUE_FATAL(loads(b.data, b.size, &whole));
    const size_t needed = b.size - 32; /* the tensor of unknown type begins here; its size is not known */
    for (size_t size = 0; size < b.size; size++) {
        const bool has_loaded = loads(b.data, size, &sum);
        CU_ASSERT_EQUAL_FATAL(has_loaded, size >= needed);
        if (has_loaded) CU_ASSERT_EQUAL_FATAL(sum, whole);
    }
}

static void gguf_with_any_byte_changed_is_refused_or_loads(void) {
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    const size_t header = b.size - 192; /* all but the tensors' data */
    size_t loaded = 0, refused = 0;
    for (size_t at = 0; at < header; at++) {
        const unsigned char old = b.data[at];
        for (unsigned value = 0; value < 256; value++) {
            uint64_t sum;
            b.data[at] = (unsigned char)value;
            if (loads(b.data, b.size, &sum))
                loaded++;
            else
                refused++;
        }
        b.data[at] = old;
    }
    CU_ASSERT_TRUE(loaded > header);  /* each byte's own value, and names and values */
    CU_ASSERT_TRUE(refused > header); /* lengths, types and counts */
}

/* The same of a whole model that another program made, at fewer places. */
static void gguf_real_file_truncated_or_changed_is_refused_or_loads(void) {
    enum { SIZE = 379104, HEADER = 14176 };
    FILE *file = fopen(NLM_TEST_DATA "/models/stories260K-q8_0.gguf", "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    static unsigned char data[SIZE];
    const size_t size = fread(data, 1, SIZE, file);
    fclose(file);
    CU_ASSERT_EQUAL_FATAL(size, SIZE);
    uint64_t sum;
    size_t loaded = 0, refused = 0;
    CU_ASSERT_TRUE(loads(data, size, &sum));
    for (size_t cut = 0; cut < size; cut += 499) CU_ASSERT_FALSE_FATAL(loads(data, cut, &sum));
    for (size_t at = 0; at < HEADER; at += 17) {
        data[at] ^= 0xFF;
        if (loads(data, size, &sum))
            loaded++;
        else
            refused++;
        data[at] ^= 0xFF;
    }
    CU_ASSERT_TRUE(loaded > 100 && refused > 100);
}

/* One lie each. The sentence must hold `expected`. */
typedef void (*lie)(bytes *b);
static const uint64_t one[] = {1};

static void wrong_magic(bytes *b) {
    put(b, "GGML", 4);
    put_u32(b, 3);
}
static void version_1(bytes *b) {
    put_header(b, 1, 0, 0);
}
static void version_4(bytes *b) {
    put_header(b, 4, 0, 0);
}
static void big_endian(bytes *b) {
    put_header(b, 0x03000000, 0, 0);
}
static void too_many_tensors(bytes *b) {
    put_header(b, 3, UINT64_MAX, 0);
}
static void too_many_keys(bytes *b) {
    put_header(b, 3, 0, UINT64_C(1) << 60);
}
static void long_key(bytes *b) {
    put_header(b, 3, 0, 1);
    put_u64(b, UINT64_MAX - 3);
    put(b, "key with what follows", 21);
}
static void empty_key(bytes *b) {
    put_header(b, 3, 0, 1);
    put_key(b, "", NLM_GGUF_U32);
    put_u32(b, 1);
}
static void unknown_type(bytes *b) {
    put_header(b, 3, 0, 1);
    put_key(b, "k", 13);
    put_u32(b, 1);
}
static void bool_of_2(bytes *b) {
    put_header(b, 3, 0, 1);
    put_key(b, "k", NLM_GGUF_BOOL);
    put_u8(b, 2);
}
static void nested_array(bytes *b) {
    put_header(b, 3, 0, 1);
    put_key(b, "nest", NLM_GGUF_ARRAY);
    put_u32(b, NLM_GGUF_ARRAY);
    put_u64(b, 1);
    put_u32(b, NLM_GGUF_U8);
    put_u64(b, 0);
}
static void put_array_key(bytes *b, uint32_t element_type, uint64_t count) {
    put_header(b, 3, 0, 1);
    put_key(b, "k", NLM_GGUF_ARRAY);
    put_u32(b, element_type);
    put_u64(b, count);
    put_u64(b, 0);
}
static void array_whose_size_wraps(bytes *b) {
    put_array_key(b, NLM_GGUF_U64, (UINT64_C(1) << 61) + 1);
}
static void array_past_the_end(bytes *b) {
    put_array_key(b, NLM_GGUF_U32, 3);
}
static void too_many_strings(bytes *b) {
    put_array_key(b, NLM_GGUF_STRING, UINT64_C(1) << 40);
}
static void repeated_key(bytes *b) {
    put_header(b, 3, 0, 3);
    for (int i = 0; i < 3; i++) {
        put_key(b, i == 1 ? "other" : "twin", NLM_GGUF_U8);
        put_u8(b, 1);
    }
}
static void put_alignment(bytes *b, uint32_t alignment) {
    put_header(b, 3, 0, 1);
    put_key(b, "general.alignment", NLM_GGUF_U32);
    put_u32(b, alignment);
}
static void alignment_0(bytes *b) {
    put_alignment(b, 0);
}
static void alignment_48(bytes *b) {
    put_alignment(b, 48);
}
static void alignment_1(bytes *b) {
    put_alignment(b, 1);
}
static void alignment_as_string(bytes *b) {
    put_header(b, 3, 0, 1);
    put_key(b, "general.alignment", NLM_GGUF_STRING);
    put_string(b, "32");
}
static void huge_alignment(bytes *b) {
    put_header(b, 3, 1, 1);
    put_key(b, "general.alignment", NLM_GGUF_U32);
    put_u32(b, UINT32_C(1) << 31);
    put_tensor(b, "w", 1, one, NLM_F32, 0);
    put_padding(b, 32);
    put_f32(b, 1);
}
static void put_one_tensor(bytes *b, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset) {
    put_header(b, 3, 1, 0);
    put_tensor(b, "w", n_dims, dims, type, offset);
    put_padding(b, 32);
    for (int i = 0; i < 16; i++) put_f32(b, 1);
}
static void no_dims(bytes *b) {
    put_one_tensor(b, 0, one, NLM_F32, 0);
}
static void five_dims(bytes *b) {
    put_one_tensor(b, 5, (const uint64_t[]){1, 1, 1, 1, 1}, NLM_F32, 0);
}
static void zero_dim(bytes *b) {
    put_one_tensor(b, 2, (const uint64_t[]){4, 0}, NLM_F32, 0);
}
static void dims_that_wrap(bytes *b) {
    put_one_tensor(b, 4,
                   (const uint64_t[]){UINT64_C(1) << 16, UINT64_C(1) << 16, UINT64_C(1) << 16, UINT64_C(1) << 16},
                   NLM_F32, 0);
}
static void dims_that_wrap_to_16(bytes *b) {
    put_one_tensor(b, 2, (const uint64_t[]){UINT64_C(1) << 63, 32}, NLM_F32, 0);
}
static void bytes_that_wrap(bytes *b) {
    put_one_tensor(b, 1, (const uint64_t[]){(UINT64_C(1) << 62) + 1}, NLM_F32, 0);
}
static void half_a_block(bytes *b) {
    put_one_tensor(b, 1, (const uint64_t[]){33}, NLM_Q4_0, 0);
}
static void offset_past_2_to_63(bytes *b) {
    put_one_tensor(b, 1, one, NLM_F32, UINT64_C(1) << 63);
}
static void offset_that_wraps(bytes *b) {
    put_one_tensor(b, 1, one, NLM_F32, UINT64_MAX - 31);
}
static void offset_past_the_end(bytes *b) {
    put_one_tensor(b, 1, one, NLM_F32, 64);
}
static void unknown_type_past_the_end(bytes *b) {
    put_one_tensor(b, 1, one, 999, 96);
}
static void misaligned_offset(bytes *b) {
    put_one_tensor(b, 1, one, NLM_F32, 4);
}
static void tensor_past_the_end(bytes *b) {
    put_one_tensor(b, 1, (const uint64_t[]){17}, NLM_F32, 0);
}
static void no_data(bytes *b) {
    put_header(b, 3, 1, 0);
    put_tensor(b, "w", 1, one, NLM_F32, 0);
}
static void put_two_tensors(bytes *b, const char *second, uint64_t offset) {
    put_header(b, 3, 2, 0);
    put_tensor(b, "w", 1, (const uint64_t[]){16}, NLM_F32, 0);
    put_tensor(b, second, 1, (const uint64_t[]){8}, NLM_F32, offset);
    put_padding(b, 32);
    for (int i = 0; i < 32; i++) put_f32(b, 1);
}
static void repeated_tensor(bytes *b) {
    put_two_tensors(b, "w", 64);
}
static void overlapping_tensors(bytes *b) {
    put_two_tensors(b, "v", 32);
}
static void same_data_twice(bytes *b) {
    put_two_tensors(b, "v", 0);
}
static void control_characters(bytes *b) {
    put_header(b, 3, 1, 0);
    put_tensor(b, "\033[2J\n\xFF", 0, one, NLM_F32, 0);
    put_padding(b, 64);
}

static void gguf_lies_are_named(void) {
    static const struct {
        lie lie;
        const char *expected;
    } lies[] = {
        {wrong_magic, "not a GGUF file"},
        {version_1, "GGUF version 1, expected 2 or 3"},
        {version_4, "GGUF version 4, expected 2 or 3"},
        {big_endian, "big-endian GGUF file (version 3)"},
        {too_many_tensors, "the tensor count is 18446744073709551615"},
        {too_many_keys, "the metadata count is 1152921504606846976"},
        {long_key, "the length of a metadata key is 18446744073709551612"},
        {empty_key, "a metadata key has 0 bytes"},
        {unknown_type, "the type of a metadata value is 13, expected 0 to 12"},
        {bool_of_2, "a bool is 2"},
        {nested_array, "'nest' is an array of arrays"},
        {array_whose_size_wraps, "2305843009213693953 elements of type u64, but 8 bytes are left"},
        {array_past_the_end, "3 elements of type u32, but 8 bytes are left"},
        {too_many_strings, "an array has 1099511627776 strings"},
        {repeated_key, "the key 'twin' appears twice"},
        {alignment_0, "general.alignment is 0"},
        {alignment_48, "general.alignment is 48"},
        {alignment_1, "general.alignment is 1"},
        {alignment_as_string, "general.alignment is of type string"},
        {huge_alignment, "the file ends before its tensor data"},
        {no_dims, "tensor 'w' has 0 dimensions, expected 1 to 4"},
        {five_dims, "tensor 'w' has 5 dimensions, expected 1 to 4"},
        {zero_dim, "dimension 1 of tensor 'w' is 0"},
        {dims_that_wrap, "multiply to more than 2^63"},
        {dims_that_wrap_to_16, "multiply to more than 2^63"},
        {bytes_that_wrap, "does not fit 63 bits"},
        {half_a_block, "no multiple of the 32 elements of a q4_0 block"},
        {offset_past_2_to_63, "at offset 9223372036854775808) reaches past the 64 bytes"},
        {offset_that_wraps, "reaches past the 64 bytes"},
        {offset_past_the_end, "reaches past the 64 bytes"},
        {unknown_type_past_the_end, "reaches past the 64 bytes"},
        {misaligned_offset, "is 4, no multiple of the alignment 32"},
        {tensor_past_the_end, "tensor 'w' (68 bytes at offset 0) reaches past the 64 bytes"},
        {no_data, "the file ends before its tensor data"},
        {repeated_tensor, "the tensor 'w' appears twice"},
        {overlapping_tensors, "the data of tensors 'w' and 'v' overlaps"},
        {same_data_twice, "the data of tensors 'w' and 'v' overlaps"},
        {control_characters,
         "tensor '?[2J?"
         "?' has 0 dimensions"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        bytes b = {.size = 0};
        lies[i].lie(&b);
        nlm_gguf *g = NULL;
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = nlm_gguf_parse("memory", b.data, b.size, &g, &err);
        if (status == NLM_OK || !strstr(err.msg, lies[i].expected)) {
            printf("\n  %s: status %d, \"%s\", expected \"%s\"", err.where, status, err.msg, lies[i].expected);
        }
        CU_ASSERT_TRUE(status == NLM_BAD_FORMAT || status == NLM_UNSUPPORTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, lies[i].expected));
        if (status == NLM_OK) nlm_gguf_close(g);
    }
}

static void gguf_error_shows_the_end_of_a_long_path(void) {
    char path[600];
    memset(path, 'd', sizeof path);
    snprintf(path + 550, 50, "/model.gguf");
    nlm_gguf *g = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_gguf_parse(path, "GGUF\1\0\0\0", 8, &g, &err), NLM_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.where, "/model.gguf:4"));
    CU_ASSERT_EQUAL(strncmp(err.where, "...d", 4), 0);
}

static const check_case cases[] = {
    CHECK_CASE(memory_limit_is_in_force),
    CHECK_CASE(gguf_truncated_at_any_byte_is_refused),
    CHECK_CASE(gguf_with_any_byte_changed_is_refused_or_loads),
    CHECK_CASE(gguf_real_file_truncated_or_changed_is_refused_or_loads),
    CHECK_CASE(gguf_lies_are_named),
    CHECK_CASE(gguf_error_shows_the_end_of_a_long_path),
};

int main(void) {
    limit_memory();
    return check_main("gguf_hostile", cases, sizeof cases / sizeof *cases);
}
