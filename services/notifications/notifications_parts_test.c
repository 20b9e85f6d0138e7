/* The pure parts of a mail: its bytes, and its templates. */
#include <stdio.h>

#include "notifications/mime.h"
#include "notifications/templates.h"
#include "test/test.h"

static const char *written(struct arena *a, const char *from_name, const char *subject,
                           const char *text);
static bool line_fits(const char *mail);
static const char *filled(struct arena *a, const char *template, bool html, const char **why);

TEST(addresses_are_those_that_no_command_and_no_header_can_be_hidden_in)
{
    static const struct {
        const char *address;
        bool fine;
    } cases[] = {
        {"ada@example.org", true},
        {"ada.l+shop@mail.example", true},
        {"o'neill@example.org", true},
        {"a@localhost", true},
        {"", false},
        {"ada", false},
        {"@example.org", false},
        {"ada@", false},
        {"a@b@c", false},
        {"-oX@example.org", false},
        {"ada @example.org", false},
        {"ada@example.org\r\nBcc: eve@example.org", false},
        {"ada@example.org\nRCPT TO:<eve@example.org>", false},
        {"ada@example.org,eve@example.org", false},
        {"<ada@example.org>", false},
        {"\"a b\"@example.org", false},
        {"grün@example.org", false},
        {"ada@example.org\x7f", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (mime_address(cases[i].address) != cases[i].fine) {
            fprintf(stderr, "%s\n", cases[i].address);
            check(false);
        }
    char huge[300];
    memset(huge, 'a', sizeof huge);
    memcpy(huge + sizeof huge - 6, "@b.de", 6);
    check(!mime_address(huge));
    check(mime_address(huge + 300 - 255));
    check(!mime_address(huge + 300 - 256));
}

TEST(a_sender_is_a_name_and_an_address_or_an_address_alone)
{
    struct arena *a = arena_new();
    const char *name = NULL, *address = NULL;
    check(mime_from(a, "My Shop  <shop@example.org>", &name, &address));
    check_text(name, "My Shop");
    check_text(address, "shop@example.org");
    check(mime_from(a, "shop@example.org", &name, &address));
    check_text(name, "");
    check(mime_from(a, "<shop@example.org>", &name, &address));
    check_text(name, "");
    check(!mime_from(a, "", &name, &address));
    check(!mime_from(a, "My Shop", &name, &address));
    check(!mime_from(a, "My Shop <shop@example.org", &name, &address));
    check(!mime_from(a, "My Shop <shop@example.org> x", &name, &address));
    check(!mime_from(a, "Shop <shop@example.org\r\nBcc: x@y>", &name, &address));
    arena_free(a);
}

TEST(a_mail_has_its_header_and_both_parts)
{
    struct arena *a = arena_new();
    const char *mail = written(a, "My Shop", "Your order", "Hi\n\nbye = 1\n");
    check(strstr(mail, "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n") == mail);
    check(strstr(mail, "From: My Shop\r\n <shop@example.org>\r\n") != NULL);
    check(strstr(mail, "To: <ada@example.org>\r\n") != NULL);
    check(strstr(mail, "Subject: Your order\r\n") != NULL);
    check(strstr(mail, "Message-ID: <ntf_1@example.org>\r\n") != NULL);
    check(strstr(mail, "boundary=\"=_ntf_1\"\r\n\r\n--=_ntf_1\r\nContent-Type: text/plain") !=
          NULL);
    check(strstr(mail, "\r\n\r\nHi\r\n\r\nbye =3D 1\r\n--=_ntf_1\r\n") != NULL);
    check(strstr(mail, "Content-Type: text/html; charset=utf-8\r\n") != NULL);
    check(strstr(mail, "<p>=C3=A9</p>\r\n--=_ntf_1--\r\n") != NULL);
    arena_free(a);
}

TEST(no_field_breaks_its_line)
{
    static const char *const texts[] = {
        "a\r\nBcc: eve@example.org",
        "a\nBcc: eve@example.org\n\n<script>",
        "a\rb\x01\x7f",
        "=?UTF-8?Q?already?= encoded",
        "a \"quoted\" name <eve@example.org>, and: more; (comment)",
        "Grüße aus Köln, 東京 and Αθήνα, and on and on and on and on and on and on and on and on",
        "a very long subject in plain letters that goes on and on until it does not fit any more "
        "at all",
        "\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f"
        "\x8e\x89"
        "\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f\x8e\x89\xf0\x9f"
        "\x8e\x89",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct arena *a = arena_new();
        const char *mail = written(a, texts[i], texts[i], "x");
        check(!strstr(mail, "\nBcc"));
        check(!strstr(mail, "eve@"));
        check(line_fits(mail));
        const char *end = strstr(mail, "\r\n\r\n");
        check(end && strstr(mail, "Content-Type: multipart/alternative") < end);
        arena_free(a);
    }
}

TEST(long_lines_and_odd_bytes_become_lines_that_fit)
{
    struct arena *a = arena_new();
    char text[3001];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 7 ? 'x' : i % 2 ? ' ' : '=';
    text[sizeof text - 1] = '\0';
    check(line_fits(written(a, "", "s", text)));
    check(strstr(written(a, "", "s", "blank at the end \nnext\t\n."),
                 "end=20\r\nnext=09\r\n.\r\n") != NULL);
    check(strstr(written(a, "", "s", "cr\rhere"), "cr=0Dhere") != NULL);
    arena_free(a);
}

TEST(templates_are_filled)
{
    static const struct {
        const char *template, *text, *html;
    } cases[] = {
        {"", "", ""},
        {"plain {text} }}", "plain {text} }}", "plain {text} }}"},
        {"{{name}}!", "A&B <c>!", "A&amp;B &lt;c&gt;!"},
        {"{{{name}}}", "A&B <c>", "A&B <c>"},
        {"a{{#name}} b{{/name}}", "a b", "a b"},
        {"a{{#empty}} b{{/empty}}", "a", "a"},
        {"a\n{{#name}}\nb\n{{/name}}\nc", "a\nb\nc", "a\nb\nc"},
        {"{{#lines}}[{{title}} {{empty}}{{#title}}{{name}}{{/title}}]{{/lines}}",
         "[one A&B <c>][two A&B <c>]", "[one A&amp;B &lt;c&gt;][two A&amp;B &lt;c&gt;]"},
        {"{{#name}}{{#name}}x{{/name}}y{{/name}}", "xy", "xy"},
        {"{{broken}}", "a  b", "a  b"},
        {"{{quotes}}", "\"'", "&quot;&#39;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena *a = arena_new();
        const char *why = "";
        check_text(filled(a, cases[i].template, false, &why), cases[i].text);
        check_text(filled(a, cases[i].template, true, &why), cases[i].html);
        check_text(why, "");
        arena_free(a);
    }
}

TEST(what_is_no_template_says_why)
{
    static const struct {
        const char *template, *why;
    } cases[] = {
        {"{{nobody}}", "there is no {{nobody}}"},
        {"{{#nobody}}{{/nobody}}", "there is no {{nobody}}"},
        {"{{#name}}", "{{#name}} is not closed"},
        {"{{/name}}", "{{/name}} closes nothing"},
        {"{{#name}}{{/empty}}{{/name}}", "{{/empty}} closes nothing"},
        {"{{name", "\"{{name\" is no tag"},
        {"{{}}", "\"{{}}\" is no tag"},
        {"{{{name}}", "\"{{{name}}\" is no tag"},
        {"{{Name}}", "\"{{Name}}\" is no tag"},
        {"{{#lines}}{{nobody}}{{/lines}}", "there is no {{nobody}}"},
        {"{{#name}}{{#name}}{{#name}}{{#name}}{{#name}}{{/name}}{{/name}}{{/name}}{{/name}}{{/"
         "name}}",
         "{{#name}} stands too deep"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena *a = arena_new();
        const char *why = "";
        check(!filled(a, cases[i].template, false, &why));
        check_text(why, cases[i].why);
        arena_free(a);
    }
}

TEST(every_template_comes_as_text_and_html)
{
    size_t texts = 0, htmls = 0;
    for (size_t i = 0; notifications_templates[i].name; i++) {
        const char *name = notifications_templates[i].name;
        bool html = strstr(name, ".html") != NULL;
        htmls += html;
        texts += !html;
        if (!html && strcmp(name, "layout.txt") != 0)
            check(strncmp(notifications_templates[i].text, "Subject: ", 9) == 0);
    }
    check_int((long long)texts, 11);
    check_int((long long)htmls, 11);
}

static const char *
written(struct arena *a, const char *from_name, const char *subject, const char *text)
{
    const struct mime_mail mail = {.from_name = from_name,
                                   .from = "shop@example.org",
                                   .to = "ada@example.org",
                                   .subject = subject,
                                   .id = "ntf_1@example.org",
                                   .date_us = INT64_C(1795348800000000),
                                   .text = text,
                                   .html = "<p>é</p>\n"};
    size_t n;
    const char *bytes = mime_write(a, &mail, &n);
    check_int((long long)strlen(bytes), (long long)n);
    return bytes;
}

/* ASCII lines of at most 78 characters, each ended by CRLF. */
static bool
line_fits(const char *mail)
{
    for (size_t n; *mail; mail += n + 2) {
        n = strcspn(mail, "\r\n");
        if (n > 78 || strncmp(mail + n, "\r\n", 2) != 0)
            return false;
        for (size_t i = 0; i < n; i++)
            if (mail[i] < ' ' || mail[i] > '~')
                return false;
    }
    return true;
}

static const char *
filled(struct arena *a, const char *template, bool html, const char **why)
{
    struct template_data lines[2] = {0}, data = {.lines = lines, .n_lines = 2};
    template_set(&lines[0], "title", "one");
    template_set(&lines[1], "title", "two");
    template_set(&data, "name", "A&B <c>");
    template_set(&data, "empty", "");
    template_set(&data, "broken", "a\r\nb");
    template_set(&data, "quotes", "\"'");
    struct text t = text_in(a);
    text_add(&t, "");
    return template_fill(&t, template, html, &data, why) ? t.bytes : NULL;
}
