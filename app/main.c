/* souk: one binary, a command at a time. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "base/text.h"

static const struct command commands[] = {
    {"run", "[--data DIR] [--listen ADDR:PORT] [--demo] [--topology FILE --process NAME [--instance N]]",
     "serve the shop until SIGTERM or Ctrl-C: all of it, or one process of a topology",
     "souk run --data ./shop --listen 127.0.0.1:8080 --demo", "dlt", 0, 0, command_run},
    {"sandbox", "[--listen ADDR:PORT] [--data DIR] [--callback URL] [--secret S] [--latency-ms N] [--faults LIST]",
     "serve the sandbox payment provider as a gateway of its own",
     "souk sandbox --secret s3cret --callback http://127.0.0.1:8080/v1/webhooks/sandbox", "ls", 0, 0,
     command_sandbox},
    {"admin", "create EMAIL [--data DIR]",
     "make a superadmin; the password is asked for, or read from standard input",
     "echo 'correct horse' | souk admin create ada@example.org", "", 2, 2, command_admin},
    {"import", "shopify|woocommerce FILE [--data DIR]",
     "import a product CSV as Shopify or WooCommerce exports it",
     "souk import shopify products_export.csv", "", 2, 2, command_import},
    {"export", "shopify|woocommerce [FILE] [--data DIR]",
     "write all products as a CSV that Shopify or WooCommerce imports; to standard output without FILE",
     "souk export woocommerce products.csv", "", 1, 2, command_export},
    {"journal", "tail|verify|replay [-n N] [--follow] [--data DIR]",
     "print events, check their chain, or rebuild the projections beside the live ones",
     "souk journal tail -n 20 --follow", "fn", 1, 1, command_journal},
    {"deadletters", "list|show ID|redrive ID [--data DIR]",
     "events that a subscriber could not take", "souk deadletters list", "", 1, 2,
     command_deadletters},
    {"map", "[--json] [--data DIR]", "print who serves, calls, publishes and subscribes to what", "souk map", "j",
     0, 0, command_map},
    {"health", "[ADDR:PORT] [--data DIR]",
     "ask a Souk whether it is ready, at ADDR:PORT or at the setting listen; ends with 0 if it is",
     "souk health 127.0.0.1:8080", "", 0, 1, command_health},
    {"check-config", "[--data DIR]", "check souk.conf and the environment; print every setting",
     "SOUK_CURRENCY=USD souk check-config", "", 0, 0, command_check_config},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void
print_help(FILE *out)
{
    fputs("Souk sells goods and tickets on one exact stock ledger.\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  souk %s %s\n      %s\n", commands[i].name, commands[i].usage,
                commands[i].purpose);
    fputs("\nDIR is souk-data, or $SOUK_DATA, when --data is not given.\n"
          "Help on one command: souk COMMAND --help\n", out);
}

static void
print_command_help(const struct command *c)
{
    printf("usage: souk %s %s\n\n%s.\n", c->name, c->usage, c->purpose);
    bool sandbox = strchr(c->flags, 's');
    if (sandbox)
        puts("  --listen ADDR:PORT  where to serve; 127.0.0.1:8090 when left out\n"
             "  --callback URL      where outcomes are told, signed\n"
             "  --secret S          what callers and callbacks are known by; $SOUK_SANDBOX_SECRET when left out\n"
             "  --latency-ms N      wait as long before each answer\n"
             "  --faults LIST       in percent of the requests: drop_before=5,drop_after=5,error_before=5,\n"
             "                      error_after=5,delay=5,callback_lost=5,callback_twice=5,callback_late=5,\n"
             "                      callback_first=5; delay_ms=15000 and seed=1 are no percents");
    else if (strchr(c->flags, 'l'))
        puts("  --listen ADDR:PORT  where to serve; 127.0.0.1:8080 unless souk.conf says otherwise");
    if (strchr(c->flags, 'd'))
        puts("  --demo              sell the demo goods (made at the first start)");
    if (strchr(c->flags, 'n'))
        puts("  -n N                begin with the N newest events (20)");
    if (strchr(c->flags, 'f'))
        puts("  --follow            go on as events come");
    if (strchr(c->flags, 't'))
        puts("  --process NAME      which process of the topology; $SOUK_PROCESS when left out\n"
             "  --instance N        which of its addresses it listens at (1)");
    if (strstr(c->usage, "--data"))
        puts("  --topology FILE     which services run in which process; $SOUK_TOPOLOGY when left out");
    if (strchr(c->flags, 'j'))
        puts("  --json              for programs instead of people");
    if (strstr(c->usage, "--data"))
        puts("  --data DIR          the data folder; souk-data, or $SOUK_DATA, when left out");
    printf("\nexample: %s\n", c->example);
}

/* Takes a flag's value: the next argument. */
static bool
take_value(char **argv, int argc, int *i, const char **ret)
{
    if (*i + 1 >= argc) {
        complain("%s needs a value", argv[*i]);
        return false;
    }
    *ret = argv[++*i];
    return true;
}

static bool
read_sandbox_flag(struct options *o, char **argv, int argc, int *i)
{
    const char *number;
    if (strcmp(argv[*i], "--callback") == 0)
        return take_value(argv, argc, i, &o->callback);
    if (strcmp(argv[*i], "--secret") == 0)
        return take_value(argv, argc, i, &o->secret);
    if (strcmp(argv[*i], "--faults") == 0)
        return take_value(argv, argc, i, &o->faults);
    if (!take_value(argv, argc, i, &number))
        return false;
    if (int_parse(number, &o->latency_ms) && o->latency_ms >= 0 && o->latency_ms <= 600000)
        return true;
    complain("--latency-ms takes a number from 0 to 600000, not \"%s\"", number);
    return false;
}

static bool
read_flag(struct options *o, char **argv, int argc, int *i)
{
    const char *flag = argv[*i], *takes = o->command->flags, *number;
    if (strcmp(flag, "--data") == 0 && strstr(o->command->usage, "--data"))
        return take_value(argv, argc, i, &o->data_dir);
    if (strcmp(flag, "--listen") == 0 && strchr(takes, 'l'))
        return take_value(argv, argc, i, &o->listen);
    if (strcmp(flag, "--topology") == 0 && strstr(o->command->usage, "--data"))
        return take_value(argv, argc, i, &o->topology);
    if (strcmp(flag, "--process") == 0 && strchr(takes, 't'))
        return take_value(argv, argc, i, &o->process);
    if (strcmp(flag, "--instance") == 0 && strchr(takes, 't')) {
        if (!take_value(argv, argc, i, &number))
            return false;
        if (int_parse(number, &o->instance) && o->instance >= 1 && o->instance <= 100)
            return true;
        complain("--instance takes a number from 1 to 100, not \"%s\"", number);
        return false;
    }
    if (strcmp(flag, "--demo") == 0 && strchr(takes, 'd'))
        return o->demo = true;
    if (strcmp(flag, "--follow") == 0 && strchr(takes, 'f'))
        return o->follow = true;
    if (strcmp(flag, "--json") == 0 && strchr(takes, 'j'))
        return o->json = true;
    if (strchr(takes, 's') && (strcmp(flag, "--callback") == 0 || strcmp(flag, "--secret") == 0 ||
                               strcmp(flag, "--faults") == 0 || strcmp(flag, "--latency-ms") == 0))
        return read_sandbox_flag(o, argv, argc, i);
    if (strcmp(flag, "-n") == 0 && strchr(takes, 'n')) {
        if (!take_value(argv, argc, i, &number))
            return false;
        if (int_parse(number, &o->last) && o->last >= 1 && o->last <= 1000000)
            return true;
        complain("-n takes a number from 1 to 1000000, not \"%s\"", number);
        return false;
    }
    complain("souk %s does not take %s; try souk %s --help", o->command->name, flag,
             o->command->name);
    return false;
}

static bool
read_options(struct options *o, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            if (!read_flag(o, argv, argc, &i))
                return false;
        } else if (o->n_words == o->command->words_max) {
            complain("souk %s takes no \"%s\"; try souk %s --help", o->command->name, argv[i],
                     o->command->name);
            return false;
        } else {
            o->words[o->n_words++] = argv[i];
        }
    }
    if (o->n_words < o->command->words_min) {
        complain("usage: souk %s %s", o->command->name, o->command->usage);
        return false;
    }
    return true;
}

static const char *
or_null(const char *s)
{
    return s && *s ? s : NULL;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0 || strcmp(name, "-h") == 0) {
        print_help(argc > 1 ? stdout : stderr);
        return argc > 1 ? 0 : 2;
    }
    if (strcmp(name, "--version") == 0) {
        puts("souk " SOUK_VERSION);
        return 0;
    }
    const struct command *command = NULL;
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            command = &commands[i];
    if (!command) {
        complain("there is no command \"%s\"; try souk --help", name);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_command_help(command);
            return 0;
        }
    const char *data_dir = getenv("SOUK_DATA");
    struct options options = {.arena = arena_new(), .command = command,
                              .data_dir = data_dir && *data_dir ? data_dir : "souk-data",
                              .topology = or_null(getenv("SOUK_TOPOLOGY")),
                              .process = or_null(getenv("SOUK_PROCESS")),
                              .instance = 1};
    int code = read_options(&options, argc, argv) ? command->run(&options) : 2;
    arena_free(options.arena);
    return code;
}
