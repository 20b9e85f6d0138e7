/* What watches over a process without the gateway asks: /livez, /readyz, /metrics. */
#include <string.h>

#include "app/app.h"
#include "gateway/pages.h"
#include "net/net.h"

static enum page
page_at(const char *path)
{
    static const struct {
        const char *path;
        enum page page;
    } pages[] = {{"/livez", PAGE_LIVEZ}, {"/readyz", PAGE_READYZ}, {"/metrics", PAGE_METRICS}};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (strcmp(pages[i].path, path) == 0)
            return pages[i].page;
    return PAGE_NONE;
}

void
monitor_handle(void *arg, struct http_exchange *x, const struct http_request *in)
{
    struct answer answer = {.status = 404, .content_type = "text/plain; charset=utf-8",
                            .body = "there is /livez, /readyz and /metrics\n"};
    answer.body_n = strlen(answer.body);
    enum page page = page_at(in->path);
    if (page != PAGE_NONE)
        page_answer(&answer, arg, page, in->arena);
    const struct http_header type = {"content-type", answer.content_type};
    http_respond(x, &(struct http_response){.status = answer.status, .headers = &type, .n_headers = 1,
                                            .body = answer.body, .body_n = answer.body_n});
}
