/* The commands that ask a running Souk, or open the folder themselves. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "app/operator.h"
#include "audit.api.h"
#include "base/env.h"
#include "catalog.api.h"
#include "fiber/fiber.h"
#include "users.api.h"

enum { PASSWORD_CHARS_MAX = 200, TAIL_DEFAULT = 20, POLL_US = 500000 };

static char *read_password(struct arena *a);
static char *read_file(const char *path, struct arena *a, size_t *ret_n);
static int write_file(const char *path, const ProtobufCBinaryData *body);
static int journal_tail(struct operator_link *link, const struct options *options);
static int journal_verify(struct operator_link *link, struct arena *a);
static int journal_replay(struct operator_link *link, struct arena *a);

/* One call, whose failure is told; *ret is the answer. */
static int
ask(struct operator_link *link, struct arena *a, const char *service, const char *name,
    const ProtobufCMessage *in, void *ret)
{
    const char *why = NULL;
    ProtobufCMessage *out = NULL;
    if (operator_call(link, a, service, name, in, &out, &why))
        return complain("%s", why);
    *(ProtobufCMessage **)ret = out;
    return 0;
}

int
command_admin(const struct options *options)
{
    struct arena *a = options->arena;
    if (strcmp(options->words[0], "create") != 0)
        return complain("souk admin knows create only, not \"%s\"", options->words[0]), 2;
    char *password = read_password(a);
    if (!password)
        return complain("no password was given");
    CreateStaffRequest *in = new_create_staff_request(a);
    in->email = options->words[1];
    in->password = password;
    in->role = "superadmin";
    struct operator_link *link = operator_open(options);
    if (!link)
        return 1;
    User *user = NULL;
    int code = ask(link, a, "users", "CreateStaff", &in->base, &user);
    if (code == 0)
        printf("%s can log in as superadmin (%s)\n", user->email, user->id);
    operator_close(link);
    return code;
}

/* What of two names is meant by the first word: 0 Shopify's, 1 WooCommerce's, -1 after a complaint. */
static int
read_format(const struct options *options)
{
    const char *format = options->words[0];
    if (strcmp(format, "shopify") == 0)
        return 0;
    if (strcmp(format, "woocommerce") == 0)
        return 1;
    complain("souk %s knows shopify and woocommerce, not \"%s\"", options->command->name, format);
    return -1;
}

int
command_import(const struct options *options)
{
    static const char *const rpcs[] = {"ImportShopify", "ImportWoocommerce"};
    struct arena *a = options->arena;
    int format = read_format(options);
    if (format < 0)
        return 2;
    size_t n;
    char *body = read_file(options->words[1], a, &n);
    if (!body)
        return 1;
    struct operator_link *link = operator_open(options);
    if (!link)
        return 1;
    ImportRequest *in = new_import_request(a);
    in->body = (ProtobufCBinaryData){n, (uint8_t *)body};
    ImportResponse *out = NULL;
    int code = ask(link, a, "catalog", rpcs[format], &in->base, &out);
    if (code == 0) {
        for (size_t i = 0; i < out->n_skipped; i++)
            printf("line %lld skipped: %s\n", (long long)out->skipped[i]->line,
                   out->skipped[i]->reason);
        printf("%lld products, %lld variants; %lld new, %lld changed, %zu rows skipped\n",
               (long long)out->products, (long long)out->variants, (long long)out->created,
               (long long)out->updated, out->n_skipped);
    }
    operator_close(link);
    return code;
}

int
command_export(const struct options *options)
{
    static const char *const rpcs[] = {"ExportShopify", "ExportWoocommerce"};
    struct arena *a = options->arena;
    int format = read_format(options);
    if (format < 0)
        return 2;
    struct operator_link *link = operator_open(options);
    if (!link)
        return 1;
    Empty *in = new_empty(a);
    ExportResponse *out = NULL;
    int code = ask(link, a, "catalog", rpcs[format], &in->base, &out);
    if (code == 0)
        code = write_file(options->n_words > 1 ? options->words[1] : NULL, &out->body);
    operator_close(link);
    return code;
}

int
command_journal(const struct options *options)
{
    const char *what = options->words[0];
    bool tail = strcmp(what, "tail") == 0, verify = strcmp(what, "verify") == 0;
    if (!tail && !verify && strcmp(what, "replay") != 0)
        return complain("souk journal knows tail, verify and replay, not \"%s\"", what), 2;
    struct operator_link *link = operator_open(options);
    if (!link)
        return 1;
    int code = tail     ? journal_tail(link, options)
               : verify ? journal_verify(link, options->arena)
                        : journal_replay(link, options->arena);
    operator_close(link);
    return code;
}

/* Prints a page of CloudEvents, one a line; *after moves to the newest. */
static int
print_events(struct operator_link *link, int64_t *after, int64_t limit, bool *ret_more)
{
    struct arena *a = arena_new();
    ListEventsRequest *in = new_list_events_request(a);
    in->after = *after;
    in->limit = limit;
    ListEventsResponse *out = NULL;
    int code = ask(link, a, "audit", "ListEvents", &in->base, &out);
    if (code == 0) {
        json_t *page = json_loadb((const char *)out->body.data, out->body.len, 0, NULL);
        json_t *event;
        size_t i;
        json_array_foreach(json_object_get(page, "data"), i, event)
        {
            char *line = json_dumps(event, JSON_COMPACT);
            puts(line);
            free(line);
            *after = json_integer_value(json_object_get(event, "position"));
        }
        *ret_more = json_is_true(json_object_get(page, "has_more"));
        json_decref(page);
        fflush(stdout);
    }
    arena_free(a);
    return code;
}

static int
journal_tail(struct operator_link *link, const struct options *options)
{
    struct arena *a = options->arena;
    GetHeadRequest *in = new_get_head_request(a);
    GetHeadResponse *head = NULL;
    int code = ask(link, a, "audit", "GetHead", &in->base, &head);
    if (code)
        return code;
    int64_t last = options->last ? options->last : TAIL_DEFAULT;
    int64_t after = head->position > last ? head->position - last : 0;
    bool more = true;
    while (code == 0 && (more || options->follow)) {
        if (!more)
            fiber_sleep_us(POLL_US);
        code = print_events(link, &after, PAGE_ITEMS_MAX, &more);
    }
    return code;
}

static int
journal_verify(struct operator_link *link, struct arena *a)
{
    VerifyChainRequest *in = new_verify_chain_request(a);
    VerifyChainResponse *out = NULL;
    int code = ask(link, a, "audit", "VerifyChain", &in->base, &out);
    if (code)
        return code;
    if (!out->intact)
        return complain("the chain is broken at event %lld", (long long)out->broken_at);
    printf("%lld events, the chain is whole, head %s\n", (long long)out->events, out->head);
    return 0;
}

static int
journal_replay(struct operator_link *link, struct arena *a)
{
    ReplayProjectionsRequest *in = new_replay_projections_request(a);
    ReplayProjectionsResponse *out = NULL;
    int code = ask(link, a, "audit", "ReplayProjections", &in->base, &out);
    if (code)
        return code;
    for (size_t i = 0; i < out->n_services; i++)
        printf("%s: %lld events replayed, %lld bytes, %s\n", out->services[i]->service,
               (long long)out->services[i]->events, (long long)out->services[i]->bytes,
               out->services[i]->equal ? "equal to the live projection" : "DIFFERS");
    for (size_t i = 0; i < out->n_services; i++)
        if (!out->services[i]->equal)
            return complain("%s's live projection is not what its events say",
                            out->services[i]->service);
    return 0;
}

static int
list_dead_letters(struct operator_link *link, struct arena *a)
{
    ListDeadLettersRequest *in = new_list_dead_letters_request(a);
    in->limit = PAGE_ITEMS_MAX;
    ListDeadLettersResponse *out = NULL;
    do {
        int code = ask(link, a, "audit", "ListDeadLetters", &in->base, &out);
        if (code)
            return code;
        for (size_t i = 0; i < out->n_data; i++) {
            const DeadLetter *d = out->data[i];
            printf("%s  %s  %s %s  %lld attempts, %lld waiting: %s\n", d->id, d->state, d->topic,
                   d->subject, (long long)d->attempts, (long long)d->waiting, d->error);
            in->starting_after = d->id;
        }
    } while (out->has_more);
    return 0;
}

static void
print_dead_letter(const DeadLetter *d, struct arena *a)
{
    printf("id          %s\nsubscriber  %s\nevent       %s\ntopic       %s\nsubject     %s\n"
           "state       %s\nattempts    %lld\nwaiting     %lld\nparked at   %s\nerror       %s\n",
           d->id, d->subscriber, d->event_id, d->topic, d->subject, d->state,
           (long long)d->attempts, (long long)d->waiting, time_format(a, d->parked_at_us),
           d->error);
}

int
command_deadletters(const struct options *options)
{
    struct arena *a = options->arena;
    const char *what = options->words[0];
    bool list = strcmp(what, "list") == 0, redrive = strcmp(what, "redrive") == 0;
    if (!list && !redrive && strcmp(what, "show") != 0)
        return complain("souk deadletters knows list, show and redrive, not \"%s\"", what), 2;
    if (list != (options->n_words == 1))
        return complain("usage: souk deadletters %s", options->command->usage), 2;
    struct operator_link *link = operator_open(options);
    if (!link)
        return 1;
    RedriveDeadLetterRequest *in = new_redrive_dead_letter_request(a);
    in->id = list ? "" : options->words[1];
    DeadLetter *letter = NULL;
    int code = list      ? list_dead_letters(link, a)
               : redrive ? ask(link, a, "audit", "RedriveDeadLetter", &in->base, &letter)
                         : ask(link, a, "audit", "GetDeadLetter", &in->base, &letter);
    if (letter)
        print_dead_letter(letter, a);
    operator_close(link);
    return code;
}

int
command_check_config(const struct options *options)
{
    struct conf *conf = conf_new();
    bool good = load_conf(options, conf);
    if (good)
        fputs(conf_text(conf, options->arena), stdout);
    conf_free(conf);
    return good ? 0 : 1;
}

/* From a terminal unseen, asked for once; else the first line of standard input. */
static char *
read_password(struct arena *a)
{
    bool terminal = isatty(STDIN_FILENO);
    struct termios shown, hidden;
    if (terminal && tcgetattr(STDIN_FILENO, &shown) == 0) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        fputs("password: ", stderr);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    char line[PASSWORD_CHARS_MAX * 4 + 2];
    bool got = fgets(line, sizeof line, stdin) != NULL;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    if (!got)
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    char *password = *line ? arena_strdup(a, line) : NULL;
    explicit_bzero(line, sizeof line);
    return password;
}

static char *
read_file(const char *path, struct arena *a, size_t *ret_n)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return complain("%s: %s", path, strerror(errno)), NULL;
    char *bytes = arena_alloc(a, IMPORT_BYTES_MAX + 1);
    *ret_n = fread(bytes, 1, IMPORT_BYTES_MAX + 1, file);
    bool failed = ferror(file);
    int error = errno;
    fclose(file);
    if (failed)
        return complain("%s: %s", path, strerror(error)), NULL;
    if (*ret_n > IMPORT_BYTES_MAX)
        return complain("%s is larger than %d MiB", path, IMPORT_BYTES_MAX >> 20), NULL;
    return bytes;
}

/* To standard output if path is NULL.  A file that could not be written whole is told of. */
static int
write_file(const char *path, const ProtobufCBinaryData *body)
{
    FILE *file = path ? fopen(path, "we") : stdout;
    if (!file)
        return complain("%s: %s", path, strerror(errno));
    bool whole = fwrite(body->data, 1, body->len, file) == body->len;
    whole = (path ? fclose(file) : fflush(file)) == 0 && whole;
    return whole ? 0 : complain("%s: %s", path ? path : "standard output", strerror(errno));
}
