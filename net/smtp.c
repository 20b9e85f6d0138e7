#include "net/smtp.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/curl_thread.h"

enum { REPLY_CHARS_MAX = 300 };

static const int64_t begin_most_us = 5 * SECOND_US;
static const long connect_most_ms = 10000;
static const long mail_most_ms = 45000; /* a server may look long at a mail before it takes it */

/* How far the talk about one mail has come: the last command that was sent for it. */
enum phase { PHASE_GREETING, PHASE_FROM, PHASE_TO, PHASE_DATA };

/* A mail that is on its way. */
struct passage {
    struct smtp_mail *mail;
    CURL *curl;
    struct curl_slist *to;
    const char *from;
    size_t read;
    enum phase phase;
    bool over; /* QUIT: what is said now does not concern the mail */
    int code;  /* of the server's answer to that command; 0 before it came */
    char reply[REPLY_CHARS_MAX], error[CURL_ERROR_SIZE];
};

struct sending {
    struct arena *arena;
    const struct smtp_server *server;
    struct smtp_mail *mails;
    size_t n;
};

static void run(void *arg);
static void send_all(void *arg);
static void begin(const struct sending *s, struct passage *p, CURLM *multi, struct smtp_mail *mail);
static void end(const struct sending *s, struct passage *p, CURLM *multi, CURLcode code);
static enum smtp_outcome meaning(const struct passage *p, CURLcode code);
static size_t on_read(char *bytes, size_t size, size_t n, void *arg);
static int on_talk(CURL *curl, curl_infotype type, char *bytes, size_t n, void *arg);

void
smtp_send(struct arena *a, const struct smtp_server *server, struct smtp_mail *mails, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mails[i].outcome = SMTP_UNTRIED;
        mails[i].code = 0;
        mails[i].why = "";
    }
    struct sending s = {.arena = a, .server = server, .mails = mails, .n = n};
    fiber_offload(run, &s);
}

static void
run(void *arg)
{
    curl_thread(send_all, arg);
}

static void
send_all(void *arg)
{
    const struct sending *s = arg;
    struct passage passages[SMTP_CONNECTIONS_MAX] = {0};
    CURLM *multi = curl_multi_init();
    if (!multi)
        abort();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)SMTP_CONNECTIONS_MAX);
    int64_t began_us = env.mono_us();
    bool down = false;
    size_t next = 0, flying = 0;
    do {
        for (size_t i = 0; i < SMTP_CONNECTIONS_MAX; i++)
            if (!passages[i].mail && next < s->n && !down &&
                env.mono_us() - began_us < begin_most_us) {
                begin(s, &passages[i], multi, &s->mails[next++]);
                flying++;
            }
        int running, left;
        curl_multi_perform(multi, &running);
        const CURLMsg *told;
        while ((told = curl_multi_info_read(multi, &left))) {
            struct passage *p;
            curl_easy_getinfo(told->easy_handle, CURLINFO_PRIVATE, &p);
            const struct smtp_mail *mail = p->mail;
            end(s, p, multi, told->data.result);
            down |= mail->outcome == SMTP_DOWN;
            flying--;
        }
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    } while (flying);
    curl_multi_cleanup(multi);
}

static void
begin(const struct sending *s, struct passage *p, CURLM *multi, struct smtp_mail *mail)
{
    *p = (struct passage){.mail = mail, .curl = curl_easy_init()};
    p->to = curl_slist_append(NULL, arena_printf(s->arena, "<%s>", mail->to));
    p->from = arena_printf(s->arena, "<%s>", mail->from);
    if (!p->curl || !p->to)
        abort();
    const struct smtp_server *server = s->server;
    curl_easy_setopt(p->curl, CURLOPT_PRIVATE, p);
    curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, p->error);
    curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(p->curl, CURLOPT_URL, server->url);
    curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(p->curl, CURLOPT_PROXY, ""); /* none, whatever the environment says */
    curl_easy_setopt(p->curl, CURLOPT_USE_SSL, server->tls ? CURLUSESSL_ALL : CURLUSESSL_TRY);
    if (!text_empty(server->authorities))
        curl_easy_setopt(p->curl, CURLOPT_CAINFO, server->authorities);
    if (!text_empty(server->user)) {
        curl_easy_setopt(p->curl, CURLOPT_USERNAME, server->user);
        curl_easy_setopt(p->curl, CURLOPT_PASSWORD, server->password);
    }
    curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT_MS, connect_most_ms);
    curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, mail_most_ms);
    curl_easy_setopt(p->curl, CURLOPT_MAIL_FROM, p->from);
    curl_easy_setopt(p->curl, CURLOPT_MAIL_RCPT, p->to);
    curl_easy_setopt(p->curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(p->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)mail->n);
    curl_easy_setopt(p->curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(p->curl, CURLOPT_READDATA, p);
    curl_easy_setopt(p->curl, CURLOPT_DEBUGFUNCTION, on_talk);
    curl_easy_setopt(p->curl, CURLOPT_DEBUGDATA, p);
    curl_easy_setopt(p->curl, CURLOPT_VERBOSE, 1L);
    curl_multi_add_handle(multi, p->curl);
}

static void
end(const struct sending *s, struct passage *p, CURLM *multi, CURLcode code)
{
    struct smtp_mail *mail = p->mail;
    mail->outcome = meaning(p, code);
    mail->code = p->code;
    if (mail->outcome != SMTP_SENT)
        mail->why = arena_strdup(s->arena, p->code >= 400 ? p->reply
                                           : p->error[0]  ? p->error
                                                          : curl_easy_strerror(code));
    curl_multi_remove_handle(multi, p->curl);
    curl_easy_cleanup(p->curl);
    curl_slist_free_all(p->to);
    *p = (struct passage){0};
}

/* What is said before a recipient is named concerns the server or our settings, not the mail; a
 * connection that breaks at its first command may be one that the server no longer wanted. */
static enum smtp_outcome
meaning(const struct passage *p, CURLcode code)
{
    if (code == CURLE_OK)
        return SMTP_SENT;
    if (p->phase == PHASE_GREETING || (p->phase == PHASE_FROM && p->code >= 400))
        return SMTP_DOWN;
    return p->phase != PHASE_FROM && p->code >= 500 ? SMTP_REFUSED : SMTP_LATER;
}

static size_t
on_read(char *bytes, size_t size, size_t n, void *arg)
{
    struct passage *p = arg;
    size_t left = p->mail->n - p->read;
    size_t take = left < size * n ? left : size * n;
    memcpy(bytes, p->mail->bytes + p->read, take);
    p->read += take;
    return take;
}

static enum phase
phase_of(const char *line, size_t n)
{
    static const struct {
        const char *verb;
        enum phase phase;
    } verbs[] = {{"MAIL ", PHASE_FROM}, {"RCPT ", PHASE_TO}, {"DATA", PHASE_DATA}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (n >= strlen(verbs[i].verb) && !strncasecmp(line, verbs[i].verb, strlen(verbs[i].verb)))
            return verbs[i].phase;
    return PHASE_GREETING;
}

/* Follows the talk: libcurl itself tells which command failed in words only. */
static int
on_talk(CURL *curl, curl_infotype type, char *bytes, size_t n, void *arg)
{
    (void)curl;
    struct passage *p = arg;
    if (type == CURLINFO_HEADER_OUT && n >= 4 && !strncasecmp(bytes, "QUIT", 4))
        p->over = true;
    if (p->over || (type != CURLINFO_HEADER_OUT && type != CURLINFO_HEADER_IN))
        return 0;
    if (type == CURLINFO_HEADER_OUT) {
        p->phase = phase_of(bytes, n);
        p->code = 0;
        return 0;
    }
    if (n >= 3 && bytes[0] >= '2' && bytes[0] <= '5')
        p->code = (bytes[0] - '0') * 100 + (bytes[1] - '0') * 10 + (bytes[2] - '0');
    size_t kept = 0;
    for (; kept < n && kept < sizeof p->reply - 1 && bytes[kept] != '\r' && bytes[kept] != '\n';
         kept++)
        p->reply[kept] = bytes[kept] < ' ' || bytes[kept] > '~' ? '?' : bytes[kept];
    p->reply[kept] = '\0';
    return 0;
}
