/* Sockets to listen on, and what a service manager is told. */
#ifndef NLM_SERVER_LISTEN_H
#define NLM_SERVER_LISTEN_H

#include "nlm-server/server.h"

/* Opens what the settings name, or takes what systemd hands over (LISTEN_FDS), and gives it to s->http; s->address is
 * what to open then. Errors IO, PERMISSION, NOT_FOUND, INVALID_ARGUMENT: which address, and why. */
nlm_status listen_open(server *s, nlm_error *err);
/* Removes the socket's file, if listen_open made one. */
void listen_close(const server *s);

/* "READY=1", "STOPPING=1" to the socket that NOTIFY_SOCKET names, if it does. */
void listen_notify(const char *state);

#endif
