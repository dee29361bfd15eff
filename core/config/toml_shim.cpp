/* tomlplusplus behind a C function: its tree is copied into plain nodes and forgotten. */
#include <cstddef>
extern "C" {
#include "base/arena.h"
}
#include "config/toml.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

/* Header-only, so that its limits are ours and its errors are values. */
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY       1
#define TOML_EXCEPTIONS        0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES NLM_TOML_MAX_DEPTH
#include <toml++/toml.h>

namespace {

struct fault_error {
    nlm_status status;
    toml::source_position at;
    const char *text;
};

const char *copy_text(nlm_arena *arena, std::string_view text, toml::source_position at) {
    if (text.find('\0') != text.npos) throw fault_error{NLM_BAD_FORMAT, at, "a string may not hold U+0000"};
    const char *copy = nlm_arena_strndup(arena, text.data(), text.size());
    if (!copy) throw std::bad_alloc();
    return copy;
}

void copy_node(nlm_arena *arena, const toml::node &from, nlm_toml_node *to);

nlm_toml_node *new_items(nlm_arena *arena, std::size_t count) {
    void *items = nlm_arena_array(arena, count, sizeof(nlm_toml_node));
    if (!items) throw std::bad_alloc();
    return static_cast<nlm_toml_node *>(items);
}

void copy_table(nlm_arena *arena, const toml::table &from, nlm_toml_node *to) {
    nlm_toml_node *items = new_items(arena, from.size());
    nlm_toml_node *item = items;
    for (auto &&[key, value] : from) {
        copy_node(arena, value, item);
        item->line = key.source().begin.line;
        item->column = key.source().begin.column;
        item->key = copy_text(arena, key.str(), key.source().begin);
        item++;
    }
    std::sort(items, item, [](const nlm_toml_node &a, const nlm_toml_node &b) {
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    to->items = items;
    to->count = from.size();
}

void copy_array(nlm_arena *arena, const toml::array &from, nlm_toml_node *to) {
    nlm_toml_node *items = new_items(arena, from.size());
    for (std::size_t i = 0; i < from.size(); i++) copy_node(arena, from[i], &items[i]);
    to->items = items;
    to->count = from.size();
}

void copy_node(nlm_arena *arena, const toml::node &from, nlm_toml_node *to) {
    to->line = from.source().begin.line;
    to->column = from.source().begin.column;
    switch (from.type()) {
        case toml::node_type::table:
            to->kind = NLM_TOML_TABLE;
            copy_table(arena, *from.as_table(), to);
            break;
        case toml::node_type::array:
            to->kind = NLM_TOML_ARRAY;
            copy_array(arena, *from.as_array(), to);
            break;
        case toml::node_type::string:
            to->kind = NLM_TOML_STRING;
            to->string = copy_text(arena, from.as_string()->get(), from.source().begin);
            break;
        case toml::node_type::integer:
            to->kind = NLM_TOML_INTEGER;
            to->integer = from.as_integer()->get();
            break;
        case toml::node_type::floating_point:
            to->kind = NLM_TOML_FLOAT;
            to->number = from.as_floating_point()->get();
            break;
        case toml::node_type::boolean:
            to->kind = NLM_TOML_BOOLEAN;
            to->boolean = from.as_boolean()->get();
            break;
        default: to->kind = NLM_TOML_DATETIME; break;
    }
}

nlm_status set_fault(nlm_toml_fault *fault, nlm_status status, toml::source_position at, std::string_view text) {
    fault->line = at.line;
    fault->column = at.column;
    const std::size_t length = std::min(text.size(), sizeof fault->text - 1);
    std::memcpy(fault->text, text.data(), length);
    fault->text[length] = '\0';
    return status;
}

} // namespace

extern "C" nlm_status nlm_toml_shim_parse(const char *text, size_t length, nlm_arena *arena, nlm_toml_node *out_root,
                                          nlm_toml_fault *fault) {
    try {
        const toml::parse_result result = toml::parse(std::string_view(text, length));
        if (!result) {
            return set_fault(fault, NLM_BAD_FORMAT, result.error().source().begin, result.error().description());
        }
        copy_node(arena, result.table(), out_root);
        return NLM_OK;
    } catch (const fault_error &error) {
        return set_fault(fault, error.status, error.at, error.text);
    } catch (const std::bad_alloc &) {
        return set_fault(fault, NLM_OUT_OF_MEMORY, {}, "out of memory");
    } catch (const std::exception &error) {
        return set_fault(fault, NLM_INTERNAL, {}, error.what());
    } catch (...) {
        return set_fault(fault, NLM_INTERNAL, {}, "the TOML parser failed");
    }
}
