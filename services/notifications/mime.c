#include "notifications/mime.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "base/time.h"

enum {
    ADDRESS_CHARS_MAX = 254,
    LINE_CHARS_MAX = 76,
    WORD_CHARS_MAX = 55, /* within =?UTF-8?Q? and ?=; with "Subject: " the line has 76 at most */
    PLAIN_CHARS_MAX = 60,
};

static const char hex[] = "0123456789ABCDEF";

static void add_words(struct text *t, const char *s);
static void add_part(struct text *t, const char *boundary, const char *type, const char *body);
static const char *date_line(struct arena *a, int64_t time_us);

const char *
mime_write(struct arena *a, const struct mime_mail *mail, size_t *ret_n)
{
    /* "=_" stands in no quoted-printable text. */
    const char *boundary = arena_printf(a, "=_%.*s", (int)strcspn(mail->id, "@"), mail->id);
    struct text t = text_in(a);
    text_printf(&t, "Date: %s\r\n", date_line(a, mail->date_us));
    text_add(&t, "From: ");
    if (!text_empty(mail->from_name)) {
        add_words(&t, mail->from_name);
        text_add(&t, "\r\n ");
    }
    text_printf(&t, "<%s>\r\nTo: <%s>\r\nSubject: ", mail->from, mail->to);
    add_words(&t, mail->subject);
    text_printf(&t,
                "\r\nMessage-ID: <%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                "Content-Type: multipart/alternative;\r\n boundary=\"%s\"\r\n\r\n",
                mail->id, boundary);
    add_part(&t, boundary, "text/plain", mail->text);
    add_part(&t, boundary, "text/html", mail->html);
    text_printf(&t, "--%s--\r\n", boundary);
    *ret_n = t.n;
    return t.bytes;
}

bool
mime_address(const char *s)
{
    size_t n = strlen(s);
    const char *at = strchr(s, '@');
    if (!at || at == s || !at[1] || strchr(at + 1, '@') || n > ADDRESS_CHARS_MAX || s[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || strchr("<>()[]\",;:\\", s[i]))
            return false;
    return true;
}

bool
mime_from(struct arena *a, const char *s, const char **ret_name, const char **ret_address)
{
    const char *open = strchr(s, '<'), *close = open ? strchr(open, '>') : NULL;
    if (open && (!close || close[1 + strspn(close + 1, " ")]))
        return false;
    const char *address =
        open ? arena_strndup(a, open + 1, (size_t)(close - open - 1)) : arena_strdup(a, s);
    if (!mime_address(address))
        return false;
    size_t n = open ? (size_t)(open - s) : 0;
    while (n && s[n - 1] == ' ')
        n--;
    *ret_name = arena_strndup(a, s, n);
    *ret_address = address;
    return true;
}

/* ASCII letters, digits, blanks and what no header field gives a meaning to. */
static bool
is_plain(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isascii(*p) || !(isalnum((unsigned char)*p) || strchr(" _-'!?/*+", *p)))
            return false;
    return strlen(s) <= PLAIN_CHARS_MAX && !strstr(s, "=?");
}

/* Bytes of the character at s, which ends within its string. */
static size_t
character(const char *s)
{
    size_t n = 1;
    while (n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static void
add_words(struct text *t, const char *s)
{
    if (is_plain(s)) {
        text_add(t, s);
        return;
    }
    size_t used = 0;
    text_add(t, "=?UTF-8?Q?");
    for (size_t n; *s; s += n) {
        n = character(s);
        unsigned char c = (unsigned char)*s;
        bool bare = n == 1 && isascii(c) && isalnum(c), blank = n == 1 && (c <= ' ' || c == 0x7f);
        size_t takes = bare || blank ? 1 : 3 * n;
        if (used + takes > WORD_CHARS_MAX) {
            text_add(t, "?=\r\n =?UTF-8?Q?");
            used = 0;
        }
        used += takes;
        if (bare || blank) {
            text_add_char(t, blank ? '_' : (char)c);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            text_printf(t, "=%02X", (unsigned char)s[i]);
    }
    text_add(t, "?=");
}

/* Quoted-printable; a line that grows too long is broken softly. */
static void
add_part(struct text *t, const char *boundary, const char *type, const char *body)
{
    text_printf(t,
                "--%s\r\nContent-Type: %s; charset=utf-8\r\n"
                "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
                boundary, type);
    size_t column = 0;
    for (const char *p = body; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n') {
            text_add(t, "\r\n");
            column = 0;
            continue;
        }
        bool at_end = p[1] == '\n' || p[1] == '\0';
        bool bare = (c > ' ' && c <= '~' && c != '=') || (c == ' ' && !at_end);
        size_t takes = bare ? 1 : 3;
        if (column + takes > LINE_CHARS_MAX - 1) {
            text_add(t, "=\r\n");
            column = 0;
        }
        column += takes;
        if (bare) {
            text_add_char(t, (char)c);
        } else {
            const char escaped[] = {'=', hex[c >> 4], hex[c & 15]};
            text_add_n(t, escaped, sizeof escaped);
        }
    }
    if (column)
        text_add(t, "\r\n");
}

static const char *
date_line(struct arena *a, int64_t time_us)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t at = (time_t)(time_us / SECOND_US);
    struct tm tm;
    gmtime_r(&at, &tm);
    return arena_printf(a, "%.3s, %d %.3s %d %02d:%02d:%02d +0000", days + 3 * tm.tm_wday,
                        tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour,
                        tm.tm_min, tm.tm_sec);
}
