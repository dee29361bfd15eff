/* Safetensors files and indexes that lie: each gives a sentence that names what is wrong. */
#include "unit/check.h"

#include "format/json.h"
#include "format/safetensors.h"
#include "unit/temporary.h"

typedef struct lie {
    const char *header;
    const char *says;
} lie;

enum { DATA_BYTES = 16 };

/* Opens a file of this header and 16 bytes of data, an exact-size copy of it. */
static nlm_status open_header(const char *header, size_t length, nlm_error *err) {
    const size_t size = 8 + length + DATA_BYTES;
    unsigned char *file = calloc(1, size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)(length >> (8 * i));
    memcpy(file + 8, header, length);
    nlm_safetensors *st = NULL;
    const nlm_status status = nlm_safetensors_parse("memory", file, size, &st, err);
    nlm_safetensors_close(st);
    free(file);
    return status;
}

#define F32(name, from, to, shape) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static const lie lies[] = {
    {"", "no valid JSON"},
    {"[]", "no JSON object"},
    {"null", "no JSON object"},
    {"{} {}", "something follows the value"},
    {"{" F32("a", 0, 16, "[4]"), "no valid JSON"},
    {"{\"a\": 1}", "'a' is no object"},
    {"{\"a\": {}}", "'a' has no dtype"},
    {"{\"a\": {\"dtype\": 1}}", "'a' has no dtype"},
    {"{\"a\": {\"dtype\": \"F33\", \"shape\": [4], \"data_offsets\": [0, 16]}}",
     "the dtype 'F33', which is not known"},
    {"{\"a\": {\"dtype\": \"F32\", \"dtype\": \"F32\"}}", "'dtype' is there twice"},
    {"{\"a\": {\"dtype\": \"F32\"}}", "the shape of tensor 'a' is no list"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4]}}", "the data_offsets of tensor 'a' is no list"},
    {"{" F32("a", 0, 16, "4") "}", "is no list"},
    {"{" F32("a", 0, 16, "[-4]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[1.5]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[1e300]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[1e999]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[9007199254740994]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[\"4\"]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 0, 16, "[1,1,1,1,4]") "}", "has more than 4 numbers"},
    {"{" F32("a", 0, 16, "[4503599627370496,4503599627370496,4]") "}", "multiplies to more than 2^64 bits"},
    {"{" F32("a", 0, 16, "[5]") "}", "'a' has 16 bytes; its shape and its type F32 take 20"},
    {"{" F32("a", 0, 16, "[0]") "}", "'a' has 16 bytes; its shape and its type F32 take 0"},
    {"{" F32("a", 0, 20, "[5]") "}", "is it complete?"},
    {"{" F32("a", 16, 0, "[4]") "}", "is it complete?"},
    {"{" F32("a", -16, 0, "[4]") "}", "no whole number of 0 to 2^53"},
    {"{" F32("a", 4, 16, "[3]") "}", "4 bytes of data before tensor 'a' belong to none"},
    {"{" F32("a", 0, 12, "[3]") "}", "4 bytes of data at the end of the file belong to no tensor"},
    {"{}", "16 bytes of data at the end"},
    {"{" F32("a", 0, 12, "[3]") "," F32("b", 8, 16, "[2]") "}", "the data of tensors 'a' and 'b' overlaps"},
    {"{" F32("a", 0, 16, "[4]") "," F32("b", 0, 16, "[4]") "}", "the data of tensors 'a' and 'b' overlaps"},
    {"{" F32("a", 0, 8, "[2]") "," F32("a", 8, 16, "[2]") "}", "the tensor 'a' is there twice"},
    {"{" F32("", 0, 16, "[4]") "}", "a tensor's name has 0 bytes"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16, 16]}}", "has more than 2 numbers"},
    {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0]}}", "are not two numbers"},
    {"{\"a\": {\"dtype\": \"F4\", \"shape\": [31], \"data_offsets\": [0, 16]}}", "no whole bytes"},
    {"{\"__metadata__\": []}", "'__metadata__' is no object"},
    {"{\"__metadata__\": {\"k\": 1}}", "'k' of '__metadata__' is no string"},
    {"{\"__metadata__\": {}, \"__metadata__\": {}}", "'__metadata__' is there twice"},
    {"{\"\xFF\": 1}", "no valid UTF-8 at byte 2"},
    {"{\"\xC3\": 1}", "no valid UTF-8"},
    {"{\"\xED\xA0\x80\": 1}", "no valid UTF-8"},
    {"{\"a\\u0000b\": 1}", "a string holds a NUL at byte 3"},
    {"{\"\\ud800\": 1}", "no valid JSON"},
    {"{\"a\x01\": 1}", "a control character"},
};

static void headers_that_lie_are_named(void) {
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = open_header(lies[i].header, strlen(lies[i].header), &err);
        if (status != NLM_BAD_FORMAT || !strstr(err.msg, lies[i].says)) {
            printf("\n%s: %d, %s; expected: %s\n", lies[i].header, status, err.msg, lies[i].says);
        }
        CU_ASSERT_EQUAL(status, NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, lies[i].says));
        CU_ASSERT_STRING_EQUAL(err.where, "memory");
    }
}

/* What looks like a lie, and is none. */
static void odd_headers_are_read(void) {
    static const char *const headers[] = {
        "{" F32("a", 0, 16, "[4]") "}    ",
        "\n{" F32("b", 8, 16, "[2]") ",\t" F32("a", 0, 8, "[1,2]") "}",
        "{" F32("a", 0, 0, "[0]") "," F32("b", 0, 16, "[2,2]") "," F32("c", 16, 16, "[3,0]") "}",
        "{" F32("\\\\u0000", 0, 16, "[4]") "}",
        "{\"a\": {\"dtype\": \"F4\", \"shape\": [32], \"data_offsets\": [0, 16], \"more\": [{}]}}",
        "{\"a\": {\"dtype\": \"F64\", \"shape\": [2], \"data_offsets\": [0, 1.6e1]}}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(open_header(headers[i], strlen(headers[i]), &err), NLM_OK);
        CU_ASSERT_STRING_EQUAL(err.msg, "");
    }
    CU_ASSERT_EQUAL(open_header("{\0}", 3, NULL), NLM_BAD_FORMAT);
}

static void deep_json_is_refused(void) {
    enum { DEEP = 100000 };
    static char header[DEEP];
    for (int c = 0; c < 2; c++) {
        nlm_error err = NLM_ERROR_INIT;
        memset(header, "[{"[c], sizeof header);
        CU_ASSERT_EQUAL(open_header(header, sizeof header, &err), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, c == 0 ? "nested too deep" : "no valid JSON"));
    }
}

static void headers_past_the_file_are_refused(void) {
    static const uint64_t lengths[] = {1, 17, 100000001, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t size = 0; size < 8; size++) {
        nlm_safetensors *st = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_safetensors_parse("memory", "\0\0\0\0\0\0\0", size, &st, &err), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "not a safetensors file"));
    }
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char file[24] = {0};
        nlm_safetensors *st = NULL;
        nlm_error err = NLM_ERROR_INIT;
        for (int b = 0; b < 8; b++) file[b] = (unsigned char)(lengths[i] >> (8 * b));
        CU_ASSERT_EQUAL(nlm_safetensors_parse("memory", file, sizeof file, &st, &err), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NULL(st);
    }
}

/* A file of the Python package, cut anywhere and with any bit of its header flipped. */
static void a_real_file_cut_or_changed_is_refused_or_read(void) {
    unsigned char data[1024];
    FILE *file = fopen(NLM_TEST_DATA "/safetensors/types.safetensors", "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    const size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    for (size_t cut = 0; cut < size; cut++) {
        nlm_safetensors *st = NULL;
        unsigned char *copy = malloc(cut ? cut : 1);
        memcpy(copy, data, cut);
        CU_ASSERT_EQUAL(nlm_safetensors_parse("memory", copy, cut, &st, NULL), NLM_BAD_FORMAT);
        free(copy);
    }
    size_t read = 0, refused = 0;
    for (size_t bit = 0; bit < 8 * (size - 57); bit++) {
        nlm_safetensors *st = NULL;
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        const nlm_status status = nlm_safetensors_parse("memory", data, size, &st, NULL);
        CU_ASSERT_TRUE(status == NLM_OK || status == NLM_BAD_FORMAT);
        read += status == NLM_OK;
        refused += status != NLM_OK;
        nlm_safetensors_close(st);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    CU_ASSERT_TRUE(read > 100);     /* names and texts */
    CU_ASSERT_TRUE(refused > 1000); /* lengths, shapes, places and marks */
}

static void write_text(temporary *t, const char *name, const char *text) {
    FILE *file = fopen(temporary_path(t, name), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_TRUE(fputs(text, file) >= 0);
    fclose(file);
}

static void indexes_that_lie_are_named(void) {
    static const struct {
        const char *index;
        nlm_status status;
        const char *says;
    } cases[] = {
        {"", NLM_BAD_FORMAT, "no valid JSON"},
        {"[]", NLM_BAD_FORMAT, "no object 'weight_map'"},
        {"{\"weight_map\": []}", NLM_BAD_FORMAT, "no object 'weight_map'"},
        {"{\"weight_map\": {}, \"weight_map\": {}}", NLM_BAD_FORMAT, "'weight_map' is there twice"},
        {"{\"weight_map\": {\"a\": 1}}", NLM_BAD_FORMAT, "no name of one beside it"},
        {"{\"weight_map\": {\"a\": \"\"}}", NLM_BAD_FORMAT, "no name of one beside it"},
        {"{\"weight_map\": {\"a\": \"..\"}}", NLM_BAD_FORMAT, "no name of one beside it"},
        {"{\"weight_map\": {\"a\": \"../a.safetensors\"}}", NLM_BAD_FORMAT, "no name of one beside it"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", NLM_BAD_FORMAT, "no name of one beside it"},
        {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", NLM_NOT_FOUND, "gone.safetensors"},
        {"{\"weight_map\": {\"a\": \"model.safetensors.index.json\"}}", NLM_BAD_FORMAT, "not a safetensors file"},
        {"{\"weight_map\": {\"a\": \"none.safetensors\"}}", NLM_BAD_FORMAT, "'a' is not in 'none.safetensors'"},
    };
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors *st = NULL;
    CU_ASSERT_EQUAL(nlm_safetensors_open(t.folder, &st, NULL), NLM_NOT_FOUND);
    FILE *none = fopen(temporary_path(&t, "none.safetensors"), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(none);
    CU_ASSERT_EQUAL(fwrite("\2\0\0\0\0\0\0\0{}", 1, 10, none), 10);
    fclose(none);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_error err = NLM_ERROR_INIT;
        write_text(&t, "model.safetensors.index.json", cases[i].index);
        CU_ASSERT_EQUAL(nlm_safetensors_open(t.folder, &st, &err), cases[i].status);
        if (!strstr(err.msg, cases[i].says)) printf("\n%s: %s\n", cases[i].index, err.msg);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].says));
        CU_ASSERT_PTR_NULL(st);
    }
    temporary_remove(&t);
}

static void json_strings_are_spelt_whatever_they_hold(void) {
    nlm_str out = {0};
    nlm_json_quote(&out, "a\"\\\n\x1B\xFF\xC3\xA9\0b", 10);
    CU_ASSERT_EQUAL(out.length, strlen(out.data));
    CU_ASSERT_STRING_EQUAL(out.data, "\"a\\\"\\\\\\n\\u001b\xEF\xBF\xBD\xC3\xA9\\u0000b\"");
    nlm_str_release(&out);
}

static const check_case cases[] = {
    CHECK_CASE(headers_that_lie_are_named),
    CHECK_CASE(odd_headers_are_read),
    CHECK_CASE(deep_json_is_refused),
    CHECK_CASE(headers_past_the_file_are_refused),
    CHECK_CASE(a_real_file_cut_or_changed_is_refused_or_read),
    CHECK_CASE(indexes_that_lie_are_named),
    CHECK_CASE(json_strings_are_spelt_whatever_they_hold),
};
CHECK_MAIN("safetensors: hostile", cases)
