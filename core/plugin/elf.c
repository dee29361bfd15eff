/* Reads a library's header before the loader does: is it of this machine? */
#include "plugin/elf.h"

#include "base/str.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEGMENTS   64
#define MAX_NAME_BYTES 256

/* X(EM_*, name for people) */
#define MACHINE_LIST(X)      \
    X(EM_386, "i386")        \
    X(EM_X86_64, "x86_64")   \
    X(EM_ARM, "arm")         \
    X(EM_AARCH64, "aarch64") \
    X(EM_RISCV, "riscv")     \
    X(EM_PPC64, "ppc64")     \
    X(EM_S390, "s390")

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#elif defined(__i386__)
#define HOST_MACHINE EM_386
#elif defined(__arm__)
#define HOST_MACHINE EM_ARM
#elif defined(__riscv)
#define HOST_MACHINE EM_RISCV
#else
#define HOST_MACHINE EM_NONE
#endif

#define HOST_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#define HOST_DATA  (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB)

typedef ElfW(Ehdr) elf_header;
typedef ElfW(Phdr) elf_segment;
typedef ElfW(Dyn) elf_dynamic;
typedef ElfW(Sym) elf_symbol;

typedef struct reader {
    const nlm_elf_image *image;
    nlm_verdict *verdict;
    elf_segment loads[MAX_SEGMENTS];
    size_t n_loads;
    elf_segment dynamic;
    /* File offsets of the tables the dynamic section names; 0 if it does not. */
    uint64_t symbols, strings, strings_size, hash, gnu_hash;
} reader;

static bool read_image(const nlm_elf_image *image, uint64_t offset, void *out, size_t size) {
    if (offset > image->size || size > image->size - offset) return false;
    if (image->data) {
        memcpy(out, image->data + offset, size);
        return true;
    }
    for (size_t done = 0; done < size;) {
        const ssize_t got = pread(image->fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            return false;
    }
    return true;
}

static bool truncated(const reader *r, const char *what) {
    return nlm_refuse(r->verdict, "it is truncated or damaged: %s lies outside its %llu bytes", what,
                      (unsigned long long)r->image->size);
}

static bool get(const reader *r, uint64_t offset, void *out, size_t size, const char *what) {
    return read_image(r->image, offset, out, size) || truncated(r, what);
}

/* ---- header and segments ------------------------------------------------------------------ */

static const char *machine_text(unsigned machine, char buffer[32]) {
    switch (machine) {
#define MACHINE_CASE(number, text) \
    case number: return text;
        MACHINE_LIST(MACHINE_CASE)
#undef MACHINE_CASE
        default: snprintf(buffer, 32, "machine %u", machine); return buffer;
    }
}

static bool check_ident(const reader *r, const unsigned char ident[EI_NIDENT]) {
    if (memcmp(ident, ELFMAG, SELFMAG) != 0) {
        return nlm_refuse(r->verdict, "it is not an ELF file; expected a shared object");
    }
    if (ident[EI_CLASS] != HOST_CLASS) {
        return nlm_refuse(r->verdict, "it is an ELF file of class %s; expected %zu-bit",
                          ident[EI_CLASS] == ELFCLASS32   ? "32-bit"
                          : ident[EI_CLASS] == ELFCLASS64 ? "64-bit"
                                                          : "unknown",
                          sizeof(void *) * 8);
    }
    if (ident[EI_DATA] != HOST_DATA) return nlm_refuse(r->verdict, "its byte order is not this machine's");
    if (ident[EI_VERSION] != EV_CURRENT) {
        return nlm_refuse(r->verdict, "its ELF version is %u; expected %d", (unsigned)ident[EI_VERSION], EV_CURRENT);
    }
    return true;
}

static bool check_header(const reader *r, elf_header *header) {
    if (r->image->size < EI_NIDENT) return nlm_refuse(r->verdict, "it is not an ELF file; expected a shared object");
    unsigned char ident[EI_NIDENT];
    if (!get(r, 0, ident, sizeof ident, "the ELF header") || !check_ident(r, ident)) return false;
    if (!get(r, 0, header, sizeof *header, "the ELF header")) return false;
    if (header->e_machine != HOST_MACHINE) {
        char theirs[32], ours[32];
        return nlm_refuse(r->verdict, "it is built for %s; this machine is %s",
                          machine_text(header->e_machine, theirs), machine_text(HOST_MACHINE, ours));
    }
    if (header->e_type != ET_DYN) {
        return nlm_refuse(r->verdict, "it is an ELF file of type %u (%s); expected a shared object",
                          (unsigned)header->e_type,
                          header->e_type == ET_EXEC  ? "an executable"
                          : header->e_type == ET_REL ? "an object file"
                                                     : "not loadable");
    }
    if (header->e_phentsize != sizeof(elf_segment) || header->e_phnum == 0 || header->e_phnum > MAX_SEGMENTS) {
        return nlm_refuse(r->verdict, "it has %u program headers of %u bytes; expected 1 to %d of %zu",
                          (unsigned)header->e_phnum, (unsigned)header->e_phentsize, MAX_SEGMENTS,
                          sizeof(elf_segment));
    }
    /* The loader does not read section headers, but they stand last: a file cut short lacks them. */
    const uint64_t sections = (uint64_t)header->e_shnum * header->e_shentsize;
    if (header->e_shoff > r->image->size || sections > r->image->size - header->e_shoff) {
        return truncated(r, "the section header table");
    }
    return true;
}

static bool read_segments(reader *r, const elf_header *header) {
    bool has_dynamic = false;
    for (size_t i = 0; i < header->e_phnum; i++) {
        elf_segment segment;
        const uint64_t offset = header->e_phoff + i * sizeof segment;
        if (offset < header->e_phoff) return truncated(r, "a program header");
        if (!get(r, offset, &segment, sizeof segment, "a program header")) return false;
        if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) continue;
        if (segment.p_offset > r->image->size || segment.p_filesz > r->image->size - segment.p_offset) {
            return truncated(r, "a segment");
        }
        if (segment.p_type == PT_LOAD) {
            r->loads[r->n_loads++] = segment;
        } else {
            r->dynamic = segment;
            has_dynamic = true;
        }
    }
    if (!has_dynamic) return nlm_refuse(r->verdict, "it has no dynamic section; expected a shared object");
    return true;
}

/* The file offset of an address, or false if no segment has it. */
static bool find_address(const reader *r, uint64_t address, uint64_t *out_offset) {
    for (size_t i = 0; i < r->n_loads; i++) {
        const elf_segment *s = &r->loads[i];
        if (address < s->p_vaddr || address - s->p_vaddr >= s->p_filesz) continue;
        *out_offset = s->p_offset + (address - s->p_vaddr);
        return true;
    }
    return false;
}

/* ---- the dynamic section ------------------------------------------------------------------ */

static bool get_dynamic(const reader *r, size_t index, elf_dynamic *out) {
    if (index >= r->dynamic.p_filesz / sizeof *out) return false;
    return read_image(r->image, r->dynamic.p_offset + index * sizeof *out, out, sizeof *out) && out->d_tag != DT_NULL;
}

static bool read_dynamic(reader *r) {
    elf_dynamic entry;
    for (size_t i = 0; get_dynamic(r, i, &entry); i++) {
        uint64_t *table = NULL;
        switch (entry.d_tag) {
            case DT_STRSZ: r->strings_size = entry.d_un.d_val; continue;
            case DT_SYMTAB: table = &r->symbols; break;
            case DT_STRTAB: table = &r->strings; break;
            case DT_HASH: table = &r->hash; break;
            case DT_GNU_HASH: table = &r->gnu_hash; break;
            case DT_SYMENT:
                if (entry.d_un.d_val == sizeof(elf_symbol)) continue;
                return nlm_refuse(r->verdict, "its symbols have %llu bytes; expected %zu",
                                  (unsigned long long)entry.d_un.d_val, sizeof(elf_symbol));
            default: continue;
        }
        if (!find_address(r, entry.d_un.d_ptr, table)) return truncated(r, "a table of the dynamic section");
    }
    if (!r->symbols || !r->strings || (!r->hash && !r->gnu_hash)) {
        return nlm_refuse(r->verdict,
                          "it has no table of symbols; expected one that exports " NLM_PLUGIN_QUERY_SYMBOL);
    }
    if (r->strings > r->image->size || r->strings_size > r->image->size - r->strings) {
        return truncated(r, "the string table");
    }
    return true;
}

/* A terminated string of the string table; longer ones are cut, which no caller minds. */
static bool get_string(const reader *r, uint64_t index, char out[MAX_NAME_BYTES]) {
    if (index >= r->strings_size) return truncated(r, "a name");
    const uint64_t rest = r->strings_size - index;
    const size_t size = rest < MAX_NAME_BYTES ? (size_t)rest : MAX_NAME_BYTES;
    if (!get(r, r->strings + index, out, size, "a name")) return false;
    if (size == rest && !memchr(out, '\0', size)) return truncated(r, "the end of a name");
    out[MAX_NAME_BYTES - 1] = '\0';
    return true;
}

/* A relative entry, or an empty one, makes the loader look in the current directory. */
static bool check_search_path(const reader *r, const char *paths) {
    for (const char *at = paths;;) {
        const size_t length = strcspn(at, ":");
        const bool is_origin = strncmp(at, "$ORIGIN", 7) == 0 || strncmp(at, "${ORIGIN}", 9) == 0;
        if (*at != '/' && !is_origin) {
            return nlm_refuse(r->verdict,
                              "its search path '%s' has the relative entry '%.*s'; expected absolute ones or $ORIGIN",
                              paths, (int)length, at);
        }
        if (at[length] == '\0') return true;
        at += length + 1;
    }
}

static bool check_needed(const reader *r, const char *library) {
    if (*library == '\0' || (strchr(library, '/') && *library != '/')) {
        return nlm_refuse(r->verdict, "it depends on '%s', a path relative to the current directory", library);
    }
    if (strncmp(library, "libnlm.so", 9) == 0) {
        return nlm_refuse(r->verdict, "it links %s; a plugin links nothing of nlm", library);
    }
    return true;
}

static bool check_dependencies(const reader *r) {
    elf_dynamic entry;
    for (size_t i = 0; get_dynamic(r, i, &entry); i++) {
        const bool is_path = entry.d_tag == DT_RPATH || entry.d_tag == DT_RUNPATH;
        if (!is_path && entry.d_tag != DT_NEEDED) continue;
        char text[MAX_NAME_BYTES];
        if (!get_string(r, entry.d_un.d_val, text)) return false;
        if (is_path ? !check_search_path(r, text) : !check_needed(r, text)) return false;
    }
    return true;
}

/* ---- symbols ------------------------------------------------------------------------------ */

/* The GNU hash table lists no length: the last chain's end is the last symbol. */
static bool count_gnu_symbols(const reader *r, uint64_t *out_count) {
    uint32_t head[4]; /* buckets, first hashed symbol, words of the Bloom filter, shift */
    if (!get(r, r->gnu_hash, head, sizeof head, "the hash table")) return false;
    const uint64_t buckets = r->gnu_hash + sizeof head + (uint64_t)head[2] * sizeof(ElfW(Addr));
    uint32_t last = 0;
    for (uint64_t i = 0; i < head[0]; i++) {
        uint32_t first;
        if (!get(r, buckets + i * 4, &first, sizeof first, "the hash table")) return false;
        if (first > last) last = first;
    }
    *out_count = head[1];
    if (last == 0) return true;
    if (last < head[1]) return truncated(r, "a chain of the hash table");
    const uint64_t chains = buckets + (uint64_t)head[0] * 4;
    for (uint64_t i = last;; i++) {
        uint32_t hash;
        if (!get(r, chains + (i - head[1]) * 4, &hash, sizeof hash, "a chain of the hash table")) return false;
        *out_count = i + 1;
        if (hash & 1) return true;
    }
}

static bool count_symbols(const reader *r, uint64_t *out_count) {
    if (r->gnu_hash) return count_gnu_symbols(r, out_count);
    uint32_t head[2]; /* buckets, symbols */
    if (!get(r, r->hash, head, sizeof head, "the hash table")) return false;
    *out_count = head[1];
    return true;
}

typedef struct symbol_summary {
    bool has_query;
    char other_major[MAX_NAME_BYTES]; /* an nlm_plugin_query_* that is not ours */
    nlm_str others;                   /* ", "-separated, the first few */
    size_t n_others;
    bool has_foreign_sanitizer; /* it asks for the runtime of one that this host is not built with */
} symbol_summary;

static void note_import(symbol_summary *summary, const char *name) {
    static const struct {
        const char *name;
        uint32_t sanitizer;
    } runtimes[] = {{"__asan_init", NLM_SANITIZER_ADDRESS},
                    {"__tsan_init", NLM_SANITIZER_THREAD},
                    {"__msan_init", NLM_SANITIZER_MEMORY}};
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++) {
        if (strcmp(name, runtimes[i].name) != 0 || runtimes[i].sanitizer == NLM_SANITIZER_BUILD) continue;
        summary->has_foreign_sanitizer = true;
    }
}

static void note_export(symbol_summary *summary, const char *name) {
    if (strcmp(name, NLM_PLUGIN_QUERY_SYMBOL) == 0) {
        summary->has_query = true;
        return;
    }
    if (strncmp(name, "nlm_plugin_query_", 17) == 0) memcpy(summary->other_major, name, MAX_NAME_BYTES);
    if (summary->n_others++ < 4)
        nlm_str_printf(&summary->others, "%s%.60s", summary->others.length ? ", " : "", name);
}

static bool summarise(const reader *r, uint64_t count, symbol_summary *summary) {
    for (uint64_t i = 1; i < count; i++) {
        elf_symbol symbol;
        if (!get(r, r->symbols + i * sizeof symbol, &symbol, sizeof symbol, "a symbol")) return false;
        const unsigned binding = symbol.st_info >> 4;
        const unsigned visibility = symbol.st_other & 3;
        /* Absolute ones are the names of versions, not code or data. */
        if (binding == STB_LOCAL || symbol.st_shndx == SHN_ABS) continue;
        char name[MAX_NAME_BYTES] = "";
        if (!get_string(r, symbol.st_name, name)) return false;
        if (symbol.st_shndx == SHN_UNDEF)
            note_import(summary, name);
        else if (visibility == STV_DEFAULT || visibility == STV_PROTECTED)
            note_export(summary, name);
    }
    return true;
}

static bool judge(const reader *r, const symbol_summary *summary) {
    if (!summary->has_query && summary->other_major[0]) {
        return nlm_refuse(r->verdict, "it exports %s and not %s: it is built for another major version of plugin.h",
                          summary->other_major, NLM_PLUGIN_QUERY_SYMBOL);
    }
    if (!summary->has_query) {
        return nlm_refuse(r->verdict, "it does not export %s: it is no plugin of this host", NLM_PLUGIN_QUERY_SYMBOL);
    }
    if (summary->n_others) {
        return nlm_refuse(r->verdict,
                          "it exports more than %s: %s%s; hide the rest with a version script or "
                          "-fvisibility=hidden",
                          NLM_PLUGIN_QUERY_SYMBOL, summary->others.data ? summary->others.data : "other symbols",
                          summary->n_others > 4 ? ", ..." : "");
    }
    if (summary->has_foreign_sanitizer) {
        return nlm_skip(r->verdict, "it is built with a sanitizer that this host is not built with");
    }
    return true;
}

static bool check_symbols(const reader *r) {
    uint64_t count;
    if (!count_symbols(r, &count)) return false;
    symbol_summary summary = {0};
    const bool is_good = summarise(r, count, &summary) && judge(r, &summary);
    nlm_str_release(&summary.others);
    return is_good;
}

bool nlm_elf_check(const nlm_elf_image *image, nlm_verdict *verdict) {
    reader r = {.image = image, .verdict = verdict};
    elf_header header;
    return check_header(&r, &header) && read_segments(&r, &header) && read_dynamic(&r) && check_dependencies(&r) &&
           check_symbols(&r);
}

bool nlm_elf_check_file(const char *path, nlm_verdict *verdict) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return nlm_refuse(verdict, "%s cannot be opened: %s", path, strerror(errno));
    struct stat info;
    bool is_good = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    if (!is_good) {
        nlm_refuse(verdict, "%s is not a regular file", path);
    } else {
        const nlm_elf_image image = {.fd = fd, .size = (uint64_t)info.st_size};
        is_good = nlm_elf_check(&image, verdict);
    }
    close(fd);
    return is_good;
}
