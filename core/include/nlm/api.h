/* What the public functions of libnlm are declared with, and the handle that several headers share. */
#ifndef NLM_API_H
#define NLM_API_H

#if defined(__GNUC__)
#define NLM_API __attribute__((visibility("default")))
#else
#define NLM_API
#endif

/* A loaded model: nlm/nlm.h. */
typedef struct nlm_model nlm_model;

#endif
