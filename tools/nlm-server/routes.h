/* What answers which path. */
#ifndef NLM_SERVER_ROUTES_H
#define NLM_SERVER_ROUTES_H

#include "nlm-server/server.h"

typedef void (*route_handler)(server *s, http_exchange *x);

/* info.c */
void info_health(server *s, http_exchange *x);
void info_models(server *s, http_exchange *x);
void info_model(server *s, http_exchange *x);
void info_props(server *s, http_exchange *x);
void info_openapi(server *s, http_exchange *x);
/* page.c */
void info_page(server *s, http_exchange *x);
/* tokens.c */
void tokens_tokenize(server *s, http_exchange *x);
void tokens_detokenize(server *s, http_exchange *x);
void tokens_apply_template(server *s, http_exchange *x);
/* metrics.c */
void metrics_answer(server *s, http_exchange *x);
/* embeddings.c */
void embeddings_create(server *s, http_exchange *x);
/* slot_routes.c */
void slots_list(server *s, http_exchange *x);
void slots_change(server *s, http_exchange *x);

#endif
