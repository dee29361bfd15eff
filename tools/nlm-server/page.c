/* GET /: page.html, and what a browser may do with it. */
#include <openssl/evp.h>
#include <string.h>

#include "nlm-server/embedded.h"
#include "nlm-server/routes.h"

#define SOURCE_SIZE 64 /* 'sha256-…': 44 characters of base64 */

/* What Content-Security-Policy calls the text from behind `open` to `close`: a script or a style. */
static bool put_source(const char *open, const char *close, char out[SOURCE_SIZE]) {
    const char *page = (const char *)embedded_page, *end = page + embedded_page_size;
    unsigned char digest[32], base64[48];
    const char *from = memmem(page, embedded_page_size, open, strlen(open));
    if (!from) return false;
    from += strlen(open);
    const char *to = memmem(from, (size_t)(end - from), close, strlen(close));
    if (!to || EVP_Digest(from, (size_t)(to - from), digest, NULL, EVP_sha256(), NULL) != 1) return false;
    EVP_EncodeBlock(base64, digest, sizeof digest);
    return snprintf(out, SOURCE_SIZE, "'sha256-%s'", (const char *)base64) < SOURCE_SIZE;
}

/* The page's own script and style run, nothing else does: no markup that a text brings, and no other place is asked.
 * Trusted Types keep the script from making markup out of texts at all. */
void info_page(server *s, http_exchange *x) {
    char script[SOURCE_SIZE], style[SOURCE_SIZE];
    nlm_str policy = {0};
    if (!put_source("<script type=\"module\">", "</script>", script) || !put_source("<style>", "</style>", style)) {
        api_fail(s, x, 500, NULL, "SHA-256 is not available");
        return;
    }
    nlm_str_printf(
        &policy,
        "default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        script, style);
    if (policy.has_failed) {
        api_fail(s, x, 503, NULL, "no memory for the answer");
    } else {
        http_add_header(x, "Content-Security-Policy", policy.data);
        http_add_header(x, "Referrer-Policy", "no-referrer");
        http_add_header(x, "Cache-Control", "no-cache");
        http_reply(x, 200, "text/html; charset=utf-8", (const char *)embedded_page, embedded_page_size);
    }
    nlm_str_release(&policy);
}
