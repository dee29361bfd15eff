/* The frame of a unit test program: a table of cases, run by CUnit. */
#ifndef NLM_TESTS_CHECK_H
#define NLM_TESTS_CHECK_H

#include <CUnit/Basic.h>
#include <stdio.h>

typedef struct check_case {
    const char *name;
    void (*run)(void);
} check_case;

/* Runs all cases; the program's exit code. */
static inline int check_main(const char *suite_name, const check_case *cases, size_t count) {
    if (CU_initialize_registry() != CUE_SUCCESS) return 1;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; suite && i < count; i++) {
        if (!CU_add_test(suite, cases[i].name, cases[i].run)) return 1;
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    const unsigned failures = CU_get_number_of_failures();
    const unsigned ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failures == 0 && ran == count ? 0 : 1;
}

#define CHECK_CASE(function) \
    { #function, function }
#define CHECK_MAIN(suite, cases)                                          \
    int main(void) {                                                      \
        return check_main(suite, cases, sizeof(cases) / sizeof *(cases)); \
    }

/* Says visibly that a case did not run and why. */
#define CHECK_SKIP(reason)                 \
    do {                                   \
        printf(" [skipped: %s] ", reason); \
        return;                            \
    } while (0)

#endif
