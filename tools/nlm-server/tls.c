/* OpenSSL's context. */
#include "nlm-server/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/status.h"

static nlm_status fail(const char *path, nlm_error *err) {
    char why[256];
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    ERR_clear_error();
    return nlm_fail(err, NLM_INVALID_ARGUMENT, path, "%s", why);
}

static nlm_status fill(SSL_CTX *tls, const char *certificate, const char *key, nlm_error *err) {
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) return fail(certificate, err);
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) return fail(key, err);
    if (SSL_CTX_check_private_key(tls) != 1) return fail(key, err);
    return NLM_OK;
}

nlm_status tls_create(const char *certificate, const char *key, SSL_CTX **out, nlm_error *err) {
    *out = SSL_CTX_new(TLS_server_method());
    if (!*out) return fail("tls", err);
    const nlm_status status = fill(*out, certificate, key, err);
    if (status != NLM_OK) {
        SSL_CTX_free(*out);
        *out = NULL;
    }
    return status;
}

void tls_destroy(SSL_CTX *tls) {
    SSL_CTX_free(tls);
}
