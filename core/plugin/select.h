/* The entries behind an nlm_plugins. */
#ifndef NLM_PLUGIN_SELECT_H
#define NLM_PLUGIN_SELECT_H

#include "base/arena.h"
#include "plugin/loaded.h"
#include "plugin/registry.h"

typedef struct nlm_candidate {
    nlm_plugin_entry entry;
    nlm_plugin *plugin; /* if READY */
    size_t index;       /* the order in which it was read */
} nlm_candidate;

struct nlm_plugins {
    nlm_arena arena;
    nlm_candidate **items;
    size_t count;
    size_t capacity;
};

/* READY ones first, by priority, score and name; then SKIPPED, then REFUSED, as they were read. */
void nlm_plugins_sort(nlm_plugins *plugins);

#endif
