/* What is decided of a plugin before any of it is loaded. */
#include "unit/plugin_folder.h"

#include "base/cpu.h"
#include "plugin/elf.h"
#include "plugin/isa.h"
#include "plugin/sha256.h"
#include "plugin/trust.h"

#include <elf.h>
#include <errno.h>
#include <link.h>

static void expect_verdict(const nlm_verdict *verdict, nlm_entry_state state, const char *reason) {
    CU_ASSERT_EQUAL(verdict->state, state);
    expect_contains(verdict->reason, reason);
}

/* ---- trust -------------------------------------------------------------------------------- */

static void expect_trust(const plugin_folder *folder, const char *name, const char *reason) {
    char resolved[PATH_MAX];
    nlm_verdict verdict = {0};
    const bool is_trusted = nlm_trust_check(folder_file(folder, name), resolved, &verdict);
    CU_ASSERT_EQUAL(is_trusted, reason == NULL);
    expect_verdict(&verdict, reason ? NLM_ENTRY_REFUSED : NLM_ENTRY_READY, reason ? reason : "");
}

static void trust_follows_modes_of_the_file_and_all_above(void) {
    static const struct {
        mode_t file, folder;
        const char *reason; /* NULL: trusted */
    } rows[] = {
        {0644, 0755, NULL},
        {0600, 0700, NULL},
        {0664, 0755, "a/lib.so can be written by its group (mode 664); expected by its owner alone: chmod g-w"},
        {0646, 0755, "a/lib.so can be written by everybody (mode 646)"},
        {0666, 0755, "a/lib.so can be written by everybody (mode 666)"},
        {01666, 0755, "a/lib.so can be written by everybody (mode 1666)"}, /* sticky means nothing for a file */
        {0644, 0775, "/a can be written by its group (mode 775)"},
        {0644, 0757, "/a can be written by everybody (mode 757)"},
        {0644, 01777, NULL}, /* sticky: others cannot replace our file */
        {0644, 01775, NULL},
    };
    plugin_folder folder;
    folder_create(&folder);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "a"), 0755), 0);
    folder_write(&folder, "a/lib.so", "x", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(chmod(folder_file(&folder, "a/lib.so"), rows[i].file), 0);
        CU_ASSERT_EQUAL(chmod(folder_file(&folder, "a"), rows[i].folder), 0);
        expect_trust(&folder, "a/lib.so", rows[i].reason);
    }
    folder_destroy(&folder);
}

static void trust_is_of_the_file_behind_a_link(void) {
    plugin_folder folder;
    folder_create(&folder);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "closed"), 0755), 0);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "open"), 0755), 0);
    CU_ASSERT_EQUAL_FATAL(chmod(folder_file(&folder, "open"), 0777), 0);
    folder_write(&folder, "closed/lib.so", "x", 1);
    folder_write(&folder, "open/lib.so", "x", 1);
    CU_ASSERT_EQUAL_FATAL(symlink("../open/lib.so", folder_file(&folder, "closed/escape.so")), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("open", folder_file(&folder, "closed_folder")), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("closed/lib.so", folder_file(&folder, "link.so")), 0);
    expect_trust(&folder, "closed/lib.so", NULL);
    expect_trust(&folder, "link.so", NULL);
    expect_trust(&folder, "closed/escape.so", "/open can be written by everybody");
    expect_trust(&folder, "closed_folder/lib.so", "/open can be written by everybody");
    expect_trust(&folder, "closed/../open/lib.so", "/open can be written by everybody");

    char resolved[PATH_MAX], link[256];
    nlm_verdict verdict = {0};
    snprintf(link, sizeof link, "%s", folder_file(&folder, "link.so"));
    CU_ASSERT_TRUE(nlm_trust_check(link, resolved, &verdict));
    CU_ASSERT_STRING_EQUAL(resolved, folder_file(&folder, "closed/lib.so"));
    CU_ASSERT_FALSE(nlm_trust_check("relative.so", resolved, &verdict));
    expect_contains(verdict.reason, "'relative.so' is not an absolute path");
    folder_destroy(&folder);
}

static void trust_needs_root_or_us_as_owner(void) {
    if (geteuid() != 0) CHECK_SKIP("only root can give files away");
    plugin_folder folder;
    folder_create(&folder);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "a"), 0755), 0);
    folder_write(&folder, "a/lib.so", "x", 1);
    if (chown(folder_file(&folder, "a/lib.so"), 12345, 0) != 0) {
        folder_destroy(&folder);
        CHECK_SKIP("this file system does not take chown");
    }
    expect_trust(&folder, "a/lib.so", "a/lib.so belongs to user 12345; expected root or the user who runs this (0)");
    CU_ASSERT_EQUAL(chown(folder_file(&folder, "a/lib.so"), 0, 0), 0);
    CU_ASSERT_EQUAL(chown(folder_file(&folder, "a"), 12345, 0), 0);
    expect_trust(&folder, "a/lib.so", "/a belongs to user 12345");
    CU_ASSERT_EQUAL(chown(folder_file(&folder, "a"), 0, 0), 0);
    expect_trust(&folder, "a/lib.so", NULL);
    folder_destroy(&folder);
}

/* The installation I: the code is I/lib/libnlm.so, the plugin I/lib/nlm/cpu.so. */
static void trust_of_own_plugins_is_that_of_the_code(void) {
    enum { TREE, LIB, CODE, FOLDER, PLUGIN, PARTS };
    static const char *const names[PARTS] = {"I", "I/lib", "I/lib/libnlm.so", "I/lib/nlm", "I/lib/nlm/cpu.so"};
    static const struct {
        const char *what;
        mode_t modes[PARTS];
        uid_t owners[PARTS];
        const char *reason; /* NULL: trusted */
    } rows[] = {
        {"as installed", {0755, 0755, 0755, 0755, 0755}, {0}, NULL},
        {"built with umask 002", {0775, 0775, 0775, 0775, 0775}, {0}, NULL},
        {"only the plugin is open", {0755, 0755, 0755, 0755, 0775}, {0}, "cpu.so can be written by its group"},
        {"only their folder is open", {0755, 0755, 0755, 0775, 0755}, {0}, "nlm can be written by its group"},
        {"open to more than the code", {0775, 0775, 0775, 0775, 0777}, {0}, "cpu.so can be written by everybody"},
        {"all above is open", {0777, 0755, 0755, 0755, 0755}, {0}, NULL},
        {"of somebody else", {0755, 0755, 0755, 0755, 0755}, {1234, 1234, 1234, 1234, 1234}, NULL},
        {"code of root, plugin of another", {0755, 0755, 0755, 0755, 0755}, {0, 0, 0, 0, 1234}, "chown -h"},
        {"plugin of a third", {0755, 0755, 0755, 0755, 0755}, {1234, 1234, 1234, 1234, 5678}, "belongs to user 5678"},
    };
    plugin_folder folder;
    folder_create(&folder);
    for (int i = 0; i < PARTS; i++) {
        if (i == CODE || i == PLUGIN)
            folder_write(&folder, names[i], "x", 1);
        else
            CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, names[i]), 0755), 0);
    }
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        bool is_made = true;
        for (int i = 0; i < PARTS; i++) {
            const char *path = folder_file(&folder, names[i]);
            if (geteuid() == 0) is_made &= chown(path, rows[r].owners[i], 0) == 0;
            is_made &= geteuid() == 0 || rows[r].owners[i] == 0;
            CU_ASSERT_EQUAL(chmod(path, rows[r].modes[i]), 0);
        }
        if (!is_made) continue; /* only root can give files away */
        char code[256], resolved[PATH_MAX];
        nlm_verdict verdict = {0};
        snprintf(code, sizeof code, "%s", folder_file(&folder, names[CODE]));
        const bool is_trusted = nlm_trust_check_own(folder_file(&folder, names[PLUGIN]), code, resolved, &verdict);
        if (is_trusted != !rows[r].reason) printf("\n%s: '%s'", rows[r].what, verdict.reason);
        CU_ASSERT_EQUAL(is_trusted, !rows[r].reason);
        expect_contains(verdict.reason, rows[r].reason ? rows[r].reason : "");
        if (is_trusted && rows[r].owners[PLUGIN] == 0 && rows[r].modes[PLUGIN] == 0775)
            expect_trust(&folder, names[PLUGIN], "can be written by its group"); /* not beside the code that runs */
    }
    folder_destroy(&folder);
}

/* ---- ELF ---------------------------------------------------------------------------------- */

static bool check_bytes(const unsigned char *bytes, size_t size, nlm_verdict *verdict) {
    /* A copy of just this size, so that the address sanitizer sees any read past it. */
    unsigned char *copy = malloc(size ? size : 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    memcpy(copy, bytes, size);
    *verdict = (nlm_verdict){0};
    const bool is_good = nlm_elf_check(&(nlm_elf_image){.data = copy, .size = size}, verdict);
    CU_ASSERT_EQUAL_FATAL(is_good, verdict->state == NLM_ENTRY_READY);
    free(copy);
    return is_good;
}

static void elf_header_must_be_of_this_machine(void) {
    static const struct {
        size_t offset;
        unsigned value;
        const char *reason;
    } rows[] = {
        {0, 'X', "it is not an ELF file"},
        {EI_CLASS, ELFCLASS32, "an ELF file of class 32-bit; expected 64-bit"},
        {EI_CLASS, 9, "class unknown"},
        {EI_DATA, ELFDATA2MSB, "byte order is not this machine's"},
        {EI_VERSION, 0, "ELF version is 0; expected 1"},
        {offsetof(ElfW(Ehdr), e_machine), EM_RISCV, "it is built for riscv; this machine is"},
        {offsetof(ElfW(Ehdr), e_machine), EM_386, "it is built for i386"},
        {offsetof(ElfW(Ehdr), e_machine), 200, "it is built for machine 200"},
        {offsetof(ElfW(Ehdr), e_type), ET_EXEC, "type 2 (an executable); expected a shared object"},
        {offsetof(ElfW(Ehdr), e_type), ET_REL, "type 1 (an object file)"},
        {offsetof(ElfW(Ehdr), e_type), ET_CORE, "type 4 (not loadable)"},
        {offsetof(ElfW(Ehdr), e_phentsize), 8, "program headers of 8 bytes"},
        {offsetof(ElfW(Ehdr), e_phnum), 0, "it has 0 program headers"},
        {offsetof(ElfW(Ehdr), e_phnum), 255, "it has 255 program headers"},
        {offsetof(ElfW(Ehdr), e_phoff) + 7, 0xFF, "a program header lies outside"},
        {offsetof(ElfW(Ehdr), e_shoff) + 7, 0xFF, "the section header table lies outside"},
    };
    size_t size;
    unsigned char *bytes = read_fixture("good.so", &size);
    nlm_verdict verdict;
    CU_ASSERT_TRUE(check_bytes(bytes, size, &verdict));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char saved[2];
        memcpy(saved, bytes + rows[i].offset, 2);
        bytes[rows[i].offset] = (unsigned char)rows[i].value;
        if (rows[i].offset >= EI_NIDENT && rows[i].value != 0xFF) bytes[rows[i].offset + 1] = 0;
        CU_ASSERT_FALSE(check_bytes(bytes, size, &verdict));
        expect_verdict(&verdict, NLM_ENTRY_REFUSED, rows[i].reason);
        memcpy(bytes + rows[i].offset, saved, 2);
    }
    free(bytes);
}

static void elf_is_refused_when_cut_at_any_byte(void) {
    size_t size;
    unsigned char *bytes = read_fixture("good.so", &size);
    nlm_verdict verdict;
    for (size_t cut = 0; cut < size; cut++) {
        if (cut > 4096 && cut + 4096 < size && cut % 61 != 0) continue;
        CU_ASSERT_FALSE_FATAL(check_bytes(bytes, cut, &verdict));
    }
    free(bytes);
}

/* Any answer will do; the address sanitizer judges. */
static void elf_check_stays_inside_a_damaged_file(void) {
    static const unsigned char values[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    size_t size;
    unsigned char *bytes = read_fixture("good.so", &size);
    const size_t reach = size < 4096 ? size : 4096;
    size_t refused = 0;
    for (size_t i = 0; i < reach; i++) {
        const unsigned char saved = bytes[i];
        for (size_t v = 0; v < sizeof values; v++) {
            nlm_verdict verdict;
            bytes[i] = values[v];
            if (!check_bytes(bytes, size, &verdict)) refused++;
        }
        bytes[i] = saved;
    }
    CU_ASSERT_TRUE(refused > 100);
    free(bytes);
}

static void elf_of_programs_and_libraries_of_the_system_is_no_plugin(void) {
    nlm_verdict verdict = {0};
    CU_ASSERT_FALSE(nlm_elf_check_file("/proc/self/exe", &verdict));
    CU_ASSERT_EQUAL(verdict.state, NLM_ENTRY_REFUSED);
    char libc[PATH_MAX] = "";
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[PATH_MAX + 128];
    while (maps && fgets(line, sizeof line, maps)) {
        const char *path = strchr(line, '/');
        if (path && strstr(path, "/libc.so")) snprintf(libc, sizeof libc, "%.*s", (int)strcspn(path, "\n"), path);
    }
    if (maps) fclose(maps);
    if (!libc[0]) CHECK_SKIP("libc is not in /proc/self/maps");
    CU_ASSERT_FALSE(nlm_elf_check_file(libc, &verdict));
    expect_contains(verdict.reason, "does not export nlm_plugin_query_v1");
    CU_ASSERT_FALSE(nlm_elf_check_file("/nowhere/lib.so", &verdict));
    CU_ASSERT_FALSE(nlm_elf_check_file("/", &verdict));
}

/* ---- ISA ---------------------------------------------------------------------------------- */

static void isa_gate_needs_every_feature_on_the_list(void) {
    static const char *const lists[][3] = {{"avx2", "fma"}, {"avx2", "avx512f", "fma"}, {"avx2", "bogus"}, {"neon"}};
    const uint64_t avx2 = UINT64_C(1) << NLM_CPU_AVX2 | UINT64_C(1) << NLM_CPU_FMA;
    const struct {
        const char *arch;
        size_t list, count;
        nlm_entry_state state;
        const char *reason;
    } rows[] = {
        {"any", 0, 0, NLM_ENTRY_READY, ""},
        {"x86_64", 0, 2, NLM_ENTRY_READY, ""},
        {"x86_64", 1, 3, NLM_ENTRY_SKIPPED, "it needs avx512f, which this CPU or its operating system"},
        {"x86_64", 2, 2, NLM_ENTRY_REFUSED, "isa 'bogus' is not known"},
        {"aarch64", 2, 2, NLM_ENTRY_REFUSED, "isa 'bogus' is not known"}, /* wrong wherever it is read */
        {"aarch64", 3, 1, NLM_ENTRY_SKIPPED, "it is for aarch64; this machine is x86_64"},
        {"sparc", 0, 0, NLM_ENTRY_REFUSED, "arch 'sparc' is not known to this host"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_verdict verdict = {0};
        const bool is_good =
            nlm_isa_check(rows[i].arch, lists[rows[i].list], rows[i].count, "x86_64", avx2, &verdict);
        CU_ASSERT_EQUAL(is_good, rows[i].state == NLM_ENTRY_READY);
        expect_verdict(&verdict, rows[i].state, rows[i].reason);
    }
}

/* ---- SHA-256 ------------------------------------------------------------------------------ */

/* Vectors of FIPS 180-4's examples (NIST CAVP). */
static void sha256_gives_the_standards_digests(void) {
    static const struct {
        const char *text;
        size_t repeat;
        const char *digest;
    } rows[] = {
        {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_sha256 hash;
        char digest[65];
        nlm_sha256_start(&hash);
        for (size_t j = 0; j < rows[i].repeat; j++) nlm_sha256_add(&hash, rows[i].text, strlen(rows[i].text));
        nlm_sha256_finish(&hash, digest);
        CU_ASSERT_STRING_EQUAL(digest, rows[i].digest);
    }
}

static const check_case cases[] = {
    CHECK_CASE(trust_follows_modes_of_the_file_and_all_above),
    CHECK_CASE(trust_is_of_the_file_behind_a_link),
    CHECK_CASE(trust_needs_root_or_us_as_owner),
    CHECK_CASE(trust_of_own_plugins_is_that_of_the_code),
    CHECK_CASE(elf_header_must_be_of_this_machine),
    CHECK_CASE(elf_is_refused_when_cut_at_any_byte),
    CHECK_CASE(elf_check_stays_inside_a_damaged_file),
    CHECK_CASE(elf_of_programs_and_libraries_of_the_system_is_no_plugin),
    CHECK_CASE(isa_gate_needs_every_feature_on_the_list),
    CHECK_CASE(sha256_gives_the_standards_digests),
};

CHECK_MAIN("plugin files", cases)
