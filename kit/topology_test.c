/* The topology file: what it says, and how it is told what is wrong. */
#include <stdlib.h>

#include "kit/topology.h"
#include "test/test.h"

static const char *const services[] = {"gateway", "orders", "payments", NULL};

static const char *
fault_of(const char *text)
{
    static struct arena *a;
    if (!a)
        a = arena_new();
    struct topology *t;
    const char *why = "";
    enum status st = topology_parse(text, "t", services, a, &t, &why);
    check_int(st, *why ? INVALID_ARGUMENT : OK);
    return why;
}

TEST(a_topology_says_which_services_run_where)
{
    struct arena *a = arena_new();
    struct topology *t = NULL;
    const char *why = "";
    setenv("TOPOLOGY_TEST_STORE", "postgresql://h/d#x", 1);
    static const char text[] =
        "# all of it\n"
        "store    ${TOPOLOGY_TEST_STORE}\n"
        "broker   ${TOPOLOGY_TEST_BROKER:-outbox}   # each follows the others\n"
        "tls      -\n"
        "process  front  gateway          127.0.0.1:1\n"
        "process  money  payments,orders  money:2      0.0.0.0:2\n";
    check_int(topology_parse(text, "t", services, a, &t, &why), OK);
    check_text(why, "");
    check_text(t->store, "postgresql://h/d#x");
    check_text(t->broker, "outbox");
    check(!t->tls && topology_spread(t));
    const struct process *money = topology_home(t, "orders");
    check(money && money == topology_process(t, "money") && money == topology_home(t, "payments"));
    check_text(money->address, "money:2");
    check_text(money->listen, "0.0.0.0:2");
    check_text(topology_home(t, "gateway")->listen, "127.0.0.1:1");
    check(!topology_process(t, "orders"));
    arena_free(a);
}

TEST(a_star_is_every_service_and_one_process_on_sqlite_is_not_spread)
{
    struct arena *a = arena_new();
    struct topology *t = NULL;
    const char *why = "";
    check_int(topology_parse("process souk * -\n", "t", services, a, &t, &why), OK);
    check(t->n_processes == 1 && t->processes[0].services[2] && !t->processes[0].services[3]);
    check(!topology_spread(t));
    check_text(t->store, "sqlite");
    arena_free(a);
}

TEST(what_is_wrong_is_told_with_its_line)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"stor sqlite\n", "t, line 1: \"stor\" is none of store, broker, tls, identity and process"},
        {"\nstore\n", "t, line 2: store takes one value"},
        {"process a\n", "t, line 1: a process has a name, services and an address"},
        {"process a nobody -\n", "t, line 1: there is no service \"nobody\""},
        {"process a * -\nprocess b orders -\n", "t, line 2: orders runs in a already"},
        {"process a * -\nprocess a * -\n", "t, line 2: there are two processes a"},
        {"process ../a * -\n", "t, line 1: \"../a\" is no name: a process has a folder of it"},
        {"process a gateway,orders -\n", "t: payments runs in no process"},
        {"broker outbox\nprocess a gateway a:1\nprocess b orders,payments -\n",
         "t: b needs an address: others call it"},
        {"process a gateway a:1\nprocess b orders,payments b:1\n",
         "t: several processes, or a store for each service, need broker outbox or a broker's URL"},
        {"broker outbox\nprocess a * -\n", "t: one process on SQLite needs no broker but its journal"},
        {"store -\nprocess a * -\n", "t: store needs a value"},
        {"store ${NOT_SET_ANYWHERE}\n", "t, line 1: NOT_SET_ANYWHERE is not set"},
        {"store a$b\n", "t, line 1: \"$b\" is no ${NAME}"},
        {"process a * b c d\n", "t, line 1: \"d\" is one word too many"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(fault_of(cases[i].text), cases[i].why);
}

TEST(each_instance_has_a_folder_of_its_own)
{
    struct arena *a = arena_new();
    const struct process p = {.name = "orders"};
    check_text(topology_folder(a, "data", &p, 1), "data/orders");
    check_text(topology_folder(a, "data", &p, 2), "data/orders.2");
    arena_free(a);
}

TEST(a_file_that_is_not_there_is_told)
{
    struct arena *a = arena_new();
    struct topology *t;
    const char *why = "";
    check_int(topology_read("/nowhere/at/all", services, a, &t, &why), INVALID_ARGUMENT);
    check_text(why, "/nowhere/at/all: No such file or directory");
    arena_free(a);
}
