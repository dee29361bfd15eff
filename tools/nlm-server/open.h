/* Engine and model of the server. */
#ifndef NLM_SERVER_OPEN_H
#define NLM_SERVER_OPEN_H

#include "nlm-server/server.h"

/* Opens the backend and loads the model: s->engine, s->model, s->info, s->model_name. *out_code: what to exit with.
 */
nlm_status open_model(server *s, int *out_code, nlm_error *err);

#endif
