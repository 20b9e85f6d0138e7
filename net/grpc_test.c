/* gRPC: our server against our client. */
#include "net/grpc_test.h"

TEST(a_unary_call_is_answered)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "hello", &out), OK);
    check_text(reply_text(&p, &out), "hello");
    check_int(ask(&p, "/t.T/Thread", "from a thread", &out), OK);
    check_text(reply_text(&p, &out), "from a thread");
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    check_int((int)out.n, 0);
    check_int((int)grpc_channel_figures(p.channel).calls, 3);
    check_int((int)grpc_channel_figures(p.channel).connections, 1);
    check_int((int)grpc_channel_figures(p.channel).under_way, 0);
    place_end(&p);
}
