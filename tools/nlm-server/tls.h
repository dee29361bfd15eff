/* TLS from a certificate and its key. */
#ifndef NLM_SERVER_TLS_H
#define NLM_SERVER_TLS_H

#include <nlm/status.h>

struct ssl_ctx_st;

/* TLS 1.2 and later. Errors INVALID_ARGUMENT: which file, and why. */
nlm_status tls_create(const char *certificate, const char *key, struct ssl_ctx_st **out, nlm_error *err);
void tls_destroy(struct ssl_ctx_st *tls);

#endif
