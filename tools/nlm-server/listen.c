/* TCP, Unix sockets and sockets of systemd. */
#include "nlm-server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/status.h"

#define FIRST_LISTEN_FD 3

static const char *scheme(const server *s) {
    return s->set->tls_cert ? "https" : "http";
}

/* "http://[::1]:8080" of a bound socket; that of all addresses is opened at localhost. */
static void name_address(server *s, int fd) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        const bool is_any = in->sin_addr.s_addr == 0;
        snprintf(s->address, sizeof s->address, "%s://%s:%d", scheme(s), is_any ? "localhost" : host,
                 ntohs(in->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&address;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        if (IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr))
            snprintf(s->address, sizeof s->address, "%s://localhost:%d", scheme(s), ntohs(in->sin6_port));
        else
            snprintf(s->address, sizeof s->address, "%s://[%s]:%d", scheme(s), host, ntohs(in->sin6_port));
    } else if (address.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const void *)&address;
        snprintf(s->address, sizeof s->address, "%s+unix:%s", scheme(s), un->sun_path);
    }
}

/* ---- systemd ------------------------------------------------------------------------------------------- */

/* The number of sockets that were handed over; the variables are not for children. */
static int handed_over(void) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    int n = 0;
    if (pid && fds && strtol(pid, NULL, 10) == (long)getpid()) n = (int)strtol(fds, NULL, 10);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return n;
}

static nlm_status take_handed(server *s, int n, nlm_error *err) {
    for (int fd = FIRST_LISTEN_FD; fd < FIRST_LISTEN_FD + n; fd++) {
        int type = 0, is_listening = 0;
        socklen_t length = sizeof type;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "LISTEN_FDS", "file %d is no stream socket", fd);
        }
        length = sizeof is_listening;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length) != 0 || !is_listening) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "LISTEN_FDS", "socket %d does not listen", fd);
        }
        if (!s->address[0]) name_address(s, fd);
        NLM_TRY(http_server_listen(s->http, fd, err));
    }
    return NLM_OK;
}

void listen_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, strlen(path));
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, length);
    close(fd);
}

/* ---- sockets of one's own ------------------------------------------------------------------------------- */

static nlm_status open_unix(server *s, nlm_error *err) {
    const char *path = s->set->unix_socket;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    if (strlen(path) >= sizeof address.sun_path) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, path, "the path of a socket has at most %zu bytes",
                        sizeof address.sun_path - 1);
    }
    memcpy(address.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return nlm_fail_errno(err, NLM_IO, path, "no socket");
    /* One that a server left behind answers nobody, and may go. */
    const bool is_socket = lstat(path, &info) == 0 && S_ISSOCK(info.st_mode);
    if (is_socket && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 && errno == ECONNREFUSED) {
        unlink(path);
    }
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 256) != 0) {
        const nlm_status status = nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot listen there");
        close(fd);
        return status;
    }
    name_address(s, fd);
    return http_server_listen(s->http, fd, err);
}

/* One address of those a name has. false: errno says why not. */
static int open_address(const struct addrinfo *at) {
    const int one = 1;
    const int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 256) == 0) return fd;
    const int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static nlm_status open_tcp(server *s, nlm_error *err) {
    char port[16], where[300];
    struct addrinfo *all = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    snprintf(port, sizeof port, "%d", (int)s->set->port);
    snprintf(where, sizeof where, "%s:%s", s->set->host, port);
    const int code = getaddrinfo(s->set->host, port, &hints, &all);
    if (code != 0) return nlm_fail(err, NLM_NOT_FOUND, where, "%s", gai_strerror(code));
    int fd = -1;
    for (const struct addrinfo *at = all; at && fd < 0; at = at->ai_next) fd = open_address(at);
    freeaddrinfo(all);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), where, "cannot listen there");
    name_address(s, fd);
    return http_server_listen(s->http, fd, err);
}

nlm_status listen_open(server *s, nlm_error *err) {
    const int n = handed_over();
    if (n > 0) return take_handed(s, n, err);
    return s->set->unix_socket ? open_unix(s, err) : open_tcp(s, err);
}

void listen_close(const server *s) {
    if (s->set->unix_socket && strstr(s->address, "+unix:")) unlink(s->set->unix_socket);
}
