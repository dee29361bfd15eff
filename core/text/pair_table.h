/* A hash table over pairs of numbers: which two symbols merge, how early, and into what. */
#ifndef NLM_TEXT_PAIR_TABLE_H
#define NLM_TEXT_PAIR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nlm_pair {
    uint32_t left, right;
    uint32_t rank;  /* the lowest merges first */
    int32_t result; /* -1: the slot is free */
} nlm_pair;

/* Zeroed is empty. */
typedef struct nlm_pair_table {
    nlm_pair *slots; /* linear probing, at most three quarters full */
    size_t capacity; /* 0 or a power of two */
    size_t count;
} nlm_pair_table;

/* Makes room for `count` pairs in all. False when memory runs out. */
bool nlm_pair_table_reserve(nlm_pair_table *table, size_t count);
/* Adds a pair unless it is there already; result >= 0. False when memory runs out. */
bool nlm_pair_table_add(nlm_pair_table *table, nlm_pair pair);
/* NULL if the pair is not there. */
const nlm_pair *nlm_pair_table_find(const nlm_pair_table *table, uint32_t left, uint32_t right);
void nlm_pair_table_release(nlm_pair_table *table);

#endif
