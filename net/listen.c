/* Where a server listens: "127.0.0.1:8080", "[::1]:8080", "localhost:8080", "unix:/path". */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "net/internal.h"

static const char *open_unix(struct http_server *s, const char *path, struct arena *a);
static const char *open_tcp(struct http_server *s, const char *where, struct arena *a);

const char *
listener_open(struct http_server *s, struct arena *a)
{
    const char *where = s->options.listen;
    if (text_starts(where, "unix:"))
        return open_unix(s, where + 5, a);
    return open_tcp(s, where, a);
}

/* A socket file that a dead process left is removed; one that somebody answers on, or a file that
 * is no socket, is left alone. */
static const char *
clear_stale(const struct sockaddr_un *at, struct arena *a)
{
    struct stat st;
    if (lstat(at->sun_path, &st) < 0)
        return errno == ENOENT ? NULL : arena_printf(a, "%s: %s", at->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return arena_printf(a, "%s is there and is no socket", at->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return arena_printf(a, "%s: %s", at->sun_path, strerror(errno));
    bool dead = connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 && errno == ECONNREFUSED;
    close(fd);
    if (!dead)
        return arena_printf(a, "%s is in use", at->sun_path);
    if (unlink(at->sun_path) < 0 && errno != ENOENT)
        return arena_printf(a, "%s: %s", at->sun_path, strerror(errno));
    return NULL;
}

/* The mode is set before the file is made: bind takes it from the socket. */
static const char *
open_unix(struct http_server *s, const char *path, struct arena *a)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) == 0 || strlen(path) >= sizeof at.sun_path)
        return arena_printf(a, "%s is too long for a socket, or empty", path);
    memcpy(at.sun_path, path, strlen(path));
    const char *why = clear_stale(&at, a);
    if (why)
        return why;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        lstat(path, &st) < 0) {
        why =
            arena_printf(a, errno == EADDRINUSE ? "%s is in use" : "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return why;
    }
    memcpy(s->unix_path, path, strlen(path) + 1);
    s->unix_device = st.st_dev;
    s->unix_inode = st.st_ino;
    s->home.is_unix = true;
    uv_pipe_init(&s->home.loop->uv, &s->listener.pipe, 0);
    s->listener.handle.data = s;
    s->handles++;
    int bad = uv_pipe_open(&s->listener.pipe, fd);
    return bad ? arena_printf(a, "%s: %s", path, uv_strerror(bad)) : NULL;
}

void
listener_remove_file(const struct http_server *s)
{
    struct stat st;
    if (s->home.is_unix && lstat(s->unix_path, &st) == 0 && st.st_dev == s->unix_device &&
        st.st_ino == s->unix_inode)
        unlink(s->unix_path);
}

static bool
parse_address(const char *where, struct arena *a, struct sockaddr_storage *ret)
{
    const char *colon = strrchr(where, ':');
    int64_t port;
    if (!colon || !int_parse(colon + 1, &port) || port < 0 || port > 65535)
        return false;
    char *host = arena_strndup(a, where, (size_t)(colon - where));
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)ret) == 0;
    }
    if (strcmp(host, "localhost") == 0)
        host = arena_strdup(a, "127.0.0.1");
    return uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret) == 0;
}

/* TCP_NODELAY is inherited by what is accepted. */
static const char *
open_tcp(struct http_server *s, const char *where, struct arena *a)
{
    struct sockaddr_storage at = {0};
    if (!parse_address(where, a, &at))
        return arena_printf(a, "%s is no address to listen on; 127.0.0.1:8080 is one", where);
    uv_tcp_init_ex(&s->home.loop->uv, &s->listener.tcp, at.ss_family);
    s->listener.handle.data = s;
    s->handles++;
    int bad = uv_tcp_bind(&s->listener.tcp, (const struct sockaddr *)&at, 0);
    if (bad == UV_EADDRINUSE)
        return arena_printf(a, "%s is in use", where);
    if (bad)
        return arena_printf(a, "%s: %s", where, uv_strerror(bad));
    uv_tcp_nodelay(&s->listener.tcp, 1);
    int n = sizeof at;
    uv_tcp_getsockname(&s->listener.tcp, (struct sockaddr *)&at, &n);
    s->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                             : ((struct sockaddr_in *)&at)->sin_port);
    return NULL;
}
