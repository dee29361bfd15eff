/* What libnlm and nlm-vet, the program that vets a plugin, say to each other.
 *
 *   nlm-vet NLM_VET_PROTOCOL LIBRARY NAME TIMEOUT_MS [KEY VALUE]...
 *
 * NAME is the one that the plugin must give itself, empty for any; keys and values are the options of its registry
 * entry. The answer is one nlm_vet_answer on NLM_VET_ANSWER_FD. Both ends are of one machine and, but for an
 * installation that is being replaced, of one build: hence the number, and a plain struct. */
#ifndef NLM_PLUGIN_VET_ANSWER_H
#define NLM_PLUGIN_VET_ANSWER_H

#include <stdint.h>

#define NLM_VET_PROGRAM   "nlm-vet"
#define NLM_VET_PROTOCOL  "1"
#define NLM_VET_ANSWER_FD 3

typedef struct nlm_vet_answer {
    uint8_t is_good;      /* loading it is safe, which does not mean that it is usable */
    uint8_t has_ended_it; /* the plugin crashed, left or was stopped */
    char reason[512];     /* "" if it is good */
} nlm_vet_answer;

#endif
