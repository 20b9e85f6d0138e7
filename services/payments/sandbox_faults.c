/* The list of faults on the command line of `souk sandbox`. */
#include <string.h>

#include "base/text.h"
#include "services/sandbox_server.h"

bool
sandbox_faults_read(struct sandbox_faults *f, const char *text, struct arena *a, const char **why)
{
    const struct {
        const char *name;
        int *place, most;
    } names[] = {
        {"drop_before", &f->drop_before, 100},
        {"drop_after", &f->drop_after, 100},
        {"error_before", &f->error_before, 100},
        {"error_after", &f->error_after, 100},
        {"delay", &f->delay, 100},
        {"callback_lost", &f->callback_lost, 100},
        {"callback_twice", &f->callback_twice, 100},
        {"callback_late", &f->callback_late, 100},
        {"callback_first", &f->callback_first, 100},
        {"delay_ms", &f->delay_ms, 600000},
        {"seed", &f->seed, INT32_MAX},
    };
    while (*text) {
        size_t n = strcspn(text, ","), name_n = strcspn(text, "=,"), i = 0;
        const char *name = arena_strndup(a, text, name_n);
        const char *number = n > name_n ? arena_strndup(a, text + name_n + 1, n - name_n - 1) : "";
        while (i < sizeof names / sizeof names[0] && strcmp(names[i].name, name) != 0)
            i++;
        int64_t value;
        if (i == sizeof names / sizeof names[0]) {
            *why = arena_printf(a, "there is no fault \"%s\"", name);
            return false;
        }
        if (!int_parse(number, &value) || value < 0 || value > names[i].most) {
            *why = arena_printf(a, "%s is a number from 0 to %d", name, names[i].most);
            return false;
        }
        *names[i].place = (int)value;
        text += n + (text[n] == ',');
    }
    if (f->drop_before + f->drop_after + f->error_before + f->error_after + f->delay <= 100)
        return true;
    *why = "drops, errors and delays are more than 100 %";
    return false;
}
