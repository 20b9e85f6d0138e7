#!/usr/bin/python3
"""Tests of the generators and of check_ladder.py, in planted trees; ends with "N passed, N failed"."""
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

import check_ladder

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
STRICT = '''-std=gnu17 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wwrite-strings -Wcast-qual -Wvla -Wconversion -Wno-sign-conversion'''.split()

PROTO = '''// Shop sells.
syntax = "proto3";
package souk.shop.v1;

import "options.proto";
import "types.proto";
import "protobuf-c/protobuf-c.proto";

option (pb_c_file).const_strings = true;

service Shop {
  // Gets a thing.  It must be there.
  rpc GetThing(GetThingRequest) returns (Thing) {
    option (souk.route) = "GET /v1/things/{id}";
    option (souk.permission) = "shop.read";
    option (souk.granted_to) = "anonymous";
    option (souk.quick) = true;
  }
  rpc ChangeThing(ChangeThingRequest) returns (Thing) {
    option (souk.route) = "PATCH /v1/things/{id}";
    option (souk.permission) = "shop.write";
  }
  rpc MakeThing(MakeThingRequest) returns (souk.v1.Empty);
}
enum ThingState {
  THING_STATE_UNSPECIFIED = 0;
  NEW = 1;
  WORN_OUT = 2;
}
message Thing {
  string id = 1;
  ThingState state = 2;
  souk.v1.Money price = 3;
  int64 made_at_us = 5;
  string note = 4 [(souk.optional) = true];
  repeated string tags = 6;
  int64 version = 7;
}
message GetThingRequest {
  string id = 1;
}
message ChangeThingRequest {
  int64 size = 9 [(souk.min) = 0, (souk.max) = 5];
  string title = 2 [(souk.required) = true, (souk.max_length) = 7, (souk.pattern) = "a\\\\?b"];
  string id = 1;
  int64 until_us = 3;
  repeated string update_mask = 4;
  int64 expected_version = 5;
}
message MakeThingRequest {
  string id = 1;
  string note = 2;
}
// A thing is there.
message ThingMade {
  option (souk.event) = true;
  option (souk.subject) = "id";
  string id = 1;
  string maker = 2 [(souk.personal) = true];
}
enum Reason {
  REASON_UNSPECIFIED = 0;
  NO_SUCH_THING = 1 [(souk.fails_with) = NOT_FOUND];
  TOO_WORN = 2 [(souk.fails_with) = FAILED_PRECONDITION, (souk.http) = 409];
}
'''
SCHEMA = '''-- Things; a semicolon in a comment.
CREATE TABLE shop_thing (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL DEFAULT 'x;--y',
    note TEXT,
    made_at_us BIGINT NOT NULL
);
CREATE INDEX shop_thing_by_state ON shop_thing (state);
'''
SQL = '''-- What the shop asks its store.

-- add_thing(id text, state text, amount_minor int, note text?,
--           made_at_us int)
INSERT INTO shop_thing (id, state, amount_minor, currency, note, made_at_us)
VALUES (:id, :state, :amount_minor, 'E;:id''s -- no', :note, :made_at_us);

-- Prose (in brackets) may stand here.
-- get_thing(id text) -> Thing
SELECT id, state, amount_minor AS "price.amount", currency AS "price.currency" -- why;
FROM shop_thing WHERE id = :id;

-- list_things(state text)
--     -> Thing[]
SELECT id FROM shop_thing WHERE state = :state ORDER BY id;

-- count_things() -> int
SELECT COUNT(*) FROM shop_thing;

-- wear_thing(id text) -> count
UPDATE shop_thing SET state = 'WORN_OUT' WHERE id = :id;

-- drop_thing(id text) -> text
DELETE FROM shop_thing WHERE id = :id RETURNING state;

-- wear_all()
UPDATE shop_thing SET state = 'WORN_OUT';
'''
USE = '''#include "shop.impl.h"

enum status
shop_get_thing(struct request *rq, const GetThingRequest *in, Thing *out)
{
    struct tx *tx = tx_begin(rq);
    Thing *thing, **things;
    size_t n;
    int64_t count;
    const char *state;
    add_thing(tx, .id = in->id, .state = "NEW", .made_at_us = rq->now_us);
    wear_all(tx);
    if (wear_thing(tx, .id = in->id) == 0 || count_things(tx, &count) || get_thing(tx, &thing, .id = "a"))
        return fail(rq, &SHOP_NO_SUCH_THING, "no");
    publish_thing_made(rq, tx, .id = in->id);
    publish_thing_made(rq, tx);
    out->state = THING_STATE_WORN_OUT;
    if (list_things(tx, &things, &n, .state = "NEW") == OK)
        return drop_thing(tx, &state, .id = in->id);
    Empty *empty;
    Thing *other = new_thing(rq->arena);
    return call_shop_make_thing(rq, &empty, .id = other->id) || call_shop_make_thing(rq, &empty);
}

static enum status
on_thing_made(struct request *rq, struct tx *tx, const ThingMade *in)
{
    (void)tx, (void)in;
    return fail_status(rq, INTERNAL, "no");
}

extern const struct service shop_service;
const struct service shop_service = {
    .name = "shop",
    .serves = &shop_server,
    .calls = {&shop_rpcs},
    .publishes = {&thing_made},
    .subscribes = {{subscribe(thing_made, on_thing_made)}},
};
'''
# Prints what the tables say of ChangeThingRequest, and an event packed from NULL strings.
RUN = '''#include <stdio.h>
#include <stdlib.h>
#include "kit/rules.h"
#include "shop.api.h"

int
main(void)
{
    for (size_t i = 0; i < souk_n_message_rules; i++) {
        const ProtobufCMessageDescriptor *type = souk_message_rules[i].type;
        for (unsigned j = 0; type == DESCRIPTOR_OF_ChangeThingRequest && j < type->n_fields; j++) {
            const struct field_rule *r = &souk_message_rules[i].fields[j];
            printf("%s %d %d %d %s\\n", type->fields[j].name, r->required, r->has_min, (int)r->max,
                   r->pattern ? r->pattern : "-");
        }
    }
    ThingMade made = {.base = PROTOBUF_C_MESSAGE_INIT(DESCRIPTOR_OF_ThingMade), .id = "x"};
    uint8_t bytes[64];
    size_t n = protobuf_c_message_pack(&made.base, bytes);
    ThingMade *back = (ThingMade *)protobuf_c_message_unpack(DESCRIPTOR_OF_ThingMade, NULL, n, bytes);
    printf("%zu [%s] [%s]\\n", n, back->id, back->maker);
    protobuf_c_message_free_unpacked(&back->base, NULL);
    for (size_t i = 0; souk_topics[i]; i++)
        printf("%s %s\\n", souk_topics[i]->name, souk_topics[i]->subject);
    for (size_t i = 0; i < souk_rpc_lists[0]->n; i++) {
        const struct rpc *r = &souk_rpc_lists[0]->rpcs[i];
        printf("%s %s %s %u\\n", r->full, r->path ? r->path : "-",
               r->granted_to && r->granted_to[0] ? r->granted_to[0] : "-", r->flags);
    }
    printf("%zu %s %d %s", souk_n_migrations, souk_migrations[0].service, souk_migrations[0].number,
           souk_migrations[0].sql);
    printf("%d %s\\n", SHOP_TOO_WORN.http, SHOP_TOO_WORN.code);
    return 0;
}
'''


class Tree:
    """A small Souk with one service, shop."""

    def __init__(self, test):
        self.root = Path(tempfile.mkdtemp())
        test.addCleanup(shutil.rmtree, self.root)
        self.out = self.root / 'out'
        self.out.mkdir()
        for name in ('options', 'types'):
            self.put(f'services/common/{name}.proto',
                     (ROOT / f'services/common/{name}.proto').read_text())
        self.put('meson.build', "project('souk', 'c',\n  version: '1.2.3')\n")
        self.put('services/shop/shop.proto', PROTO)
        self.put('services/shop/shop.sql', SQL)
        self.put('services/shop/schema/001_init.sql', SCHEMA)

    def put(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def protos(self):
        return [str(p) for p in sorted(self.root.glob('services/*/*.proto')) if p.name != 'options.proto']

    def gen(self, *args):
        return subprocess.run([str(TOOLS / 'gen.py'), *map(str, args)], capture_output=True, text=True)

    def service(self, name='shop', out=None):
        folder = 'common' if name == 'types' else name
        return self.gen('service', self.root / f'services/{folder}/{name}.proto', out or self.out)

    def tables(self):
        return self.gen('tables', self.out / 'tables.c', *self.protos())

    def openapi(self):
        done = self.gen('openapi', self.out / 'openapi.json', *self.protos())
        return json.loads((self.out / 'openapi.json').read_text()) if done.returncode == 0 else done.stderr

    def gcc(self, *args):
        return subprocess.run(['gcc', *STRICT, f'-I{self.out}', f'-I{ROOT}', *map(str, args)],
                              capture_output=True, text=True, cwd=self.out)


class Generated(unittest.TestCase):
    def setUp(self):
        self.tree = Tree(self)
        for name in ('types', 'shop'):
            done = self.tree.service(name)
            self.assertEqual(done.returncode, 0, done.stderr)
        done = self.tree.tables()
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_is_generated_compiles_under_the_strict_flags(self):
        self.tree.put('out/use.c', USE)
        for source in ('types.api.c', 'shop.api.c', 'shop.impl.c', 'tables.c', 'use.c'):
            for level in ('-O0', '-O2'):
                done = self.tree.gcc(level, '-c', source, '-o', '/dev/null')
                self.assertEqual(done.stderr, '', source)

    def test_the_tables_say_what_the_protos_and_schemas_say(self):
        self.tree.put('out/run.c', RUN)
        done = self.tree.gcc('-w', 'run.c', 'shop.api.c', 'tables.c', 'shop.pb-c.c', 'types.pb-c.c',
                             '-lprotobuf-c', '-o', 'run')
        self.assertEqual(done.returncode, 0, done.stderr)
        told = subprocess.run([str(self.tree.out / 'run')], capture_output=True, text=True).stdout
        self.assertEqual(told, 'id 0 0 0 -\ntitle 1 0 0 a\\?b\nuntil_us 0 0 0 -\nupdate_mask 0 0 0 -\n'
                         'expected_version 0 0 0 -\nsize 0 1 5 -\n3 [x] []\nshop.thing_made id\n'
                         '/souk.shop.v1.Shop/GetThing /v1/things/{id} anonymous 1\n'
                         '/souk.shop.v1.Shop/ChangeThing /v1/things/{id} - 0\n'
                         '/souk.shop.v1.Shop/MakeThing - - 0\n'
                         f'1 shop 1 {SCHEMA}409 too_worn\n')

    def test_statements_are_numbered_and_literals_left_alone(self):
        text = (self.tree.out / 'shop.sql.h').read_text()
        self.assertIn('''VALUES (?1, ?2, ?3, 'E;:id''s -- no', ?4, ?5)",\n        true, 0};''', text)
        self.assertIn('AS \\"price.currency\\" FROM shop_thing WHERE id = ?1",\n        false, 0};', text)
        self.assertIn('value_text_or_null(in->note)', text)
        self.assertIn('#define count_things(tx, ret) count_things_((tx), (ret))', text)

    def test_equal_input_gives_equal_bytes_also_at_once(self):
        args = [str(TOOLS / 'gen.py'), 'service', str(self.tree.root / 'services/shop/shop.proto')]
        outs = [self.tree.root / f'again{i}' for i in range(3)]
        for out in outs:
            out.mkdir()
        for run in [subprocess.Popen([*args, str(out)]) for out in outs]:
            self.assertEqual(run.wait(), 0)
        for path in self.tree.out.glob('shop.*'):
            for out in outs:
                self.assertEqual(path.read_bytes(), (out / path.name).read_bytes(), path.name)
        self.assertEqual(len(list(outs[0].iterdir())), 7)

    def test_a_service_without_statements_gets_an_empty_header(self):
        (self.tree.root / 'services/shop/shop.sql').unlink()
        self.assertEqual(self.tree.service().returncode, 0)
        self.assertNotIn('struct statement', (self.tree.out / 'shop.sql.h').read_text())


class OpenApi(unittest.TestCase):
    def setUp(self):
        self.tree = Tree(self)
        self.api = self.tree.openapi()

    def test_an_operation_tells_who_may_and_how_it_ends(self):
        get = self.api['paths']['/v1/things/{id}']['get']
        self.assertEqual(self.api['info']['version'], '1.2.3')
        self.assertEqual(get['operationId'], 'shop_get_thing')
        self.assertEqual(get['summary'], 'Gets a thing')
        self.assertEqual(get['security'], [{}, {'bearerAuth': ['superadmin']}])
        self.assertEqual(get['responses']['404'], {'$ref': '#/components/responses/shop_404'})
        self.assertIn('no_such_thing', self.api['components']['responses']['shop_404']['description'])
        self.assertIn('ETag', get['responses']['200']['headers'])
        self.assertNotIn('/v1/shop', str(list(self.api['paths'])))

    def test_json_names_and_types_are_the_gateways(self):
        thing = self.api['components']['schemas']['Thing']
        self.assertEqual(list(thing['properties']),
                         ['id', 'state', 'price', 'note', 'made_at', 'tags', 'version'])
        self.assertEqual(thing['properties']['made_at'],
                         {'type': ['string', 'null'], 'format': 'date-time'})
        self.assertEqual(self.api['components']['schemas']['ThingState']['enum'], ['new', 'worn_out'])
        self.assertNotIn('note', thing['required'])
        change = self.api['components']['schemas']['ChangeThingRequest']
        self.assertEqual(list(change['properties']), ['title', 'until', 'size'])
        self.assertEqual(change['properties']['size'],
                         {'type': 'integer', 'format': 'int64', 'minimum': 0, 'maximum': 5})
        self.assertEqual(change['properties']['title'],
                         {'type': 'string', 'minLength': 1, 'maxLength': 7, 'pattern': '^(a\\?b)$'})
        self.assertEqual(change['required'], ['title'])
        self.assertFalse(change['additionalProperties'])

    def test_headers_stand_where_they_mean_something(self):
        patch = self.api['paths']['/v1/things/{id}']['patch']
        self.assertEqual([p['name'] for p in patch['parameters']], ['id', 'If-Match'])
        self.assertTrue(patch['requestBody']['required'])
        self.assertIn('412', patch['responses'])

    def test_what_is_followed_and_what_is_not_waited_for_are_told(self):
        tree = Tree(self)
        tree.put('services/shop/shop.proto', PROTO.replace(
            'rpc MakeThing(MakeThingRequest) returns (souk.v1.Empty);',
            '''rpc FollowThing(GetThingRequest) returns (Thing) {
                 option (souk.route) = "GET /v1/things/{id}/stream"; option (souk.stream) = true;
                 option (souk.permission) = "shop.follow";
               }
               rpc MakeThing(MakeThingRequest) returns (Thing) {
                 option (souk.route) = "POST /v1/things"; option (souk.permission) = "shop.write";
               }
               rpc MakeThingLater(MakeThingRequest) returns (souk.v1.Money) {
                 option (souk.route) = "POST /v1/things"; option (souk.permission) = "shop.write";
                 option (souk.respond_async) = true; option (souk.http_status) = 202;
               }'''))
        paths = tree.openapi()['paths']
        self.assertEqual(list(paths['/v1/things/{id}/stream']['get']['responses']['200']['content']),
                         ['text/event-stream'])
        make = paths['/v1/things']['post']
        self.assertEqual(make['operationId'], 'shop_make_thing')
        self.assertIn('Prefer', [p['name'] for p in make['parameters']])
        self.assertEqual(make['responses']['202']['content']['application/json']['schema'],
                         {'$ref': '#/components/schemas/Money'})
        self.assertIn('200', make['responses'])

    def test_every_reference_leads_somewhere(self):
        for ref in re.findall(r'"#/([^"]+)"', json.dumps(self.api)):
            place = self.api
            for part in ref.split('/'):
                place = place[part]

    def test_the_embedded_text_is_the_same(self):
        done = self.tree.gen('openapi-c', self.tree.out / 'openapi.c', *self.tree.protos())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.tree.put('out/main.c', '#include <stdio.h>\n#include <stddef.h>\nextern const char souk_openapi[];\n'
                      'extern const size_t souk_openapi_bytes;\n'
                      'int main(void) { return fwrite(souk_openapi, 1, souk_openapi_bytes, stdout) == 0; }\n')
        done = self.tree.gcc('main.c', 'openapi.c', '-o', 'main')
        self.assertEqual(done.stderr, '')
        told = subprocess.run([str(self.tree.out / 'main')], capture_output=True).stdout
        self.assertEqual(told, (self.tree.out / 'openapi.json').read_bytes())


# What is planted in shop.proto (text taken out, text put in), and what must be said of it.
BAD_PROTOS = [
    ('option (souk.permission) = "shop.read";', '', 'GetThing: a route needs a (souk.permission)'),
    ('option (souk.route) = "PATCH /v1/things/{id}";', '', 'ChangeThing: (permission) without a'),
    ('GET /v1/things/{id}', 'GET /v1/things/{key}', '{key} of its path is no string or integer field'),
    ('GET /v1/things/{id}', 'FETCH /v1/things', 'route must be like'),
    ('PATCH /v1/things/{id}', 'GET /v1/things/{id}', 'has this route too'),
    ('"anonymous"', '"everybody"', 'granted_to is one of'),
    ('"shop.write"', '"shop.read"', 'a permission has one list of roles'),
    ('option (souk.quick) = true;', 'option (souk.consumes) = "text/csv";', 'needs a bytes field "body"'),
    ('option (souk.permission) = "shop.write";',
     'option (souk.permission) = "shop.write"; option (souk.quick) = true;', 'only a GET may be quick'),
    ('option (souk.permission) = "shop.write";',
     'option (souk.permission) = "shop.write"; option (souk.stream) = true;', 'can be followed'),
    ('option (souk.permission) = "shop.write";',
     'option (souk.permission) = "shop.write"; option (souk.respond_async) = true;', 'only a POST is answered'),
    ('option (souk.subject) = "id";', 'option (souk.subject) = "key";', 'an event needs (souk.subject)'),
    ('(souk.personal) = true', '(souk.secret) = true', 'no secret is ever in an event'),
    ('[(souk.fails_with) = NOT_FOUND]', '', 'a reason needs (souk.fails_with)'),
    ('THING_STATE_UNSPECIFIED = 0', 'THING_STATE_NONE = 0', 'must be …_UNSPECIFIED = 0'),
    ('string note = 4 [(souk.optional) = true];', 'double weight = 4;', 'fields are string, int64'),
    ('string note = 4 [(souk.optional) = true];', 'map<string, string> m = 4;', 'no map'),
    ('string note = 4 [(souk.optional) = true];', 'int64 n_tags = 4;', 'is the count of tags'),
    ('string note = 4 [(souk.optional) = true];', 'string Note = 4;', 'a field is named in snake_case'),
    ('string note = 4 [(souk.optional) = true];', 'string note = 4 [(souk.min) = 1];', 'are for integers'),
    ('(souk.max) = 5', '(souk.max) = -5', 'min is above max'),
    ('message MakeThingRequest {', 'message Money {}\nmessage MakeThingRequest {', 'Money is also a name of'),
    ('service Shop {', 'service Stall {', 'must be named as its package'),
]
# The same for shop.sql.
BAD_SQL = [
    ('WHERE id = :id;\n\n-- list', 'WHERE id = :key;\n\n-- list', ':key is no parameter'),
    ('-- get_thing(id text)', '-- get_thing(id text, key text)', 'parameter key is not used'),
    ('-- get_thing(id text)', '-- get_thing(id string)', 'a parameter is "name type"'),
    ('-- get_thing(id text)', '-- add_thing(id text)', 'this name is taken at line 3'),
    ('-- get_thing(id text)', '-- note(id text)', 'note: this name is C'),
    ('-- get_thing(id text)', '-- while(id text)', 'while: this name is C'),
    ('-- get_thing(id text)', '-- thing_made(id text)', 'thing_made: this name is C'),
    ('-- get_thing(id text) -> Thing', '-- get_thing(id text) -> Thingy', 'Thingy is no message'),
    ('-- get_thing(id text) -> Thing', '-- get_thing(id text)', 'a SELECT gives something back'),
    ('-- get_thing(id text) -> Thing', '-- get_thing(id text) -> int', '-> int is of one column'),
    ('-- get_thing(id text) -> Thing', '-- get_thing(id text) Thing', 'not a signature'),
    ('-- get_thing(id text) -> Thing\n', '', 'a statement without a signature'),
    ('-- count_things() -> int\n', '-- count_things() -> int\n-- count_more() -> int\n',
     'no statement follows this signature'),
    ('-- wear_thing(id text) -> count', '-- wear_thing(id text) -> Thing', 'come together'),
    ('-- count_things() -> int', '-- count_things() -> count', 'for SELECT COUNT(*) write -> int'),
    ('INSERT INTO shop_thing', 'INSERT OR IGNORE INTO shop_thing', 'no INSERT OR'),
    ('WHERE id = :id;\n\n-- list', 'WHERE id = :id::text;\n\n-- list', 'no :: casts'),
    ('WHERE id = :id;\n\n-- list', 'WHERE id = ?1 OR id = :id;\n\n-- list', 'a parameter is written :name'),
    ("state = 'WORN_OUT';\n", "state = 'WORN_OUT'\n", 'without a ";"'),
    ('SELECT COUNT(*) FROM shop_thing;', 'SELECT COUNT(*) FROM shop_thing; SELECT 1;', 'two statements'),
    ('SELECT COUNT(*) FROM shop_thing', 'SELECT COUNT(*) FROM shop_thang', 'no such table: shop_thang'),
    ('SELECT COUNT(*) FROM shop_thing', 'SELECT COUNT(*) FROM sqlite_master', 'nothing of one database'),
    ('SELECT id FROM shop_thing', 'SELECT id AS key FROM shop_thing', 'column "key" has no plain field'),
    ('"price.amount"', '"price"', 'column "price" has no plain field'),
    ('"price.amount"', '"price.size"', 'column "price.size" has no plain field'),
    ('RETURNING state', 'RETURNING state, id', '-> text is of one column'),
]
BAD_SCHEMAS = [
    ('TABLE shop_thing', 'TABLE thing', 'start with shop_'),
    ('INDEX shop_thing_by', 'INDEX thing_by', 'start with shop_'),
    ('note TEXT', 'note TEXT REFERENCES users_user (id)', 'stays within its service'),
    ('note TEXT', 'note INTEGER AUTOINCREMENT', 'no AUTOINCREMENT'),
    ('made_at_us BIGINT NOT NULL\n)', 'made_at_us BIGINT\n) WITHOUT ROWID', 'no WITHOUT ROWID'),
    ('note TEXT', 'note TEXT REFERENCES shop_thing DEFERRABLE', 'never deferred'),
]


class Refused(unittest.TestCase):
    def refused(self, path, original, cases):
        for old, new, expected in cases:
            with self.subTest(new=new, expected=expected):
                self.assertIn(old, original)
                tree = Tree(self)
                tree.put(path, original.replace(old, new, 1))
                done = tree.service()
                if done.returncode == 0:
                    done = tree.tables()
                self.assertEqual(done.returncode, 1, 'nothing was said')
                self.assertIn(expected, done.stderr)
                self.assertRegex(done.stderr, rf'(?m)^{re.escape(path)}:\d+: ')
                self.assertNotIn('Traceback', done.stderr)

    def test_a_bad_proto_is_refused_with_its_line(self):
        self.refused('services/shop/shop.proto', PROTO, BAD_PROTOS)

    def test_a_bad_statement_is_refused_with_its_line(self):
        self.refused('services/shop/shop.sql', SQL, BAD_SQL)

    def test_a_bad_schema_is_refused_with_its_line(self):
        self.refused('services/shop/schema/001_init.sql', SCHEMA, BAD_SCHEMAS)

    def test_the_line_is_the_right_one(self):
        tree = Tree(self)
        tree.put('services/shop/shop.sql', SQL.replace(':state ORDER', ':estate ORDER'))
        line = SQL[:SQL.index('-- list_things')].count('\n') + 1
        self.assertIn(f'services/shop/shop.sql:{line}: list_things: :estate', tree.service().stderr)

    def test_migrations_count_without_gaps(self):
        tree = Tree(self)
        tree.put('services/shop/schema/003_more.sql', 'CREATE TABLE shop_b (id TEXT);\n')
        self.assertIn('this should be number 002', tree.tables().stderr)

    def test_two_services_share_neither_a_route_nor_an_events_name(self):
        tree = Tree(self)
        tree.put('services/stall/stall.proto', re.sub(r'Shop\b', 'Stall', PROTO.replace('souk.shop', 'souk.stall'))
                 .replace('"shop.', '"stall.'))
        told = tree.tables().stderr
        self.assertIn('GetThing: shop.GetThing has this route too', told)
        self.assertIn('ThingMade: shop.proto has an event of this name', told)

    def test_events_of_one_name_have_different_ones_in_c(self):
        tree = Tree(self)
        stall = PROTO.replace('"shop.', '"stall.').replace('souk.shop', 'souk.stall').replace('/v1/things', '/v1/x')
        tree.put('services/stall/stall.proto', re.sub(r'Shop\b', 'Stall', stall).replace(
            'option (souk.event) = true;', 'option (souk.event) = true; option (souk.c_name) = "StallThingMade";'))
        self.assertNotIn('event of this name', tree.tables().stderr)

    def test_one_request_message_is_not_shared_by_two_kinds_of_route(self):
        tree = Tree(self)
        tree.put('services/shop/shop.proto', PROTO.replace(
            'rpc MakeThing(MakeThingRequest) returns (souk.v1.Empty);',
            '''rpc MakeThing(ChangeThingRequest) returns (souk.v1.Empty) {
                 option (souk.route) = "POST /v1/things"; option (souk.permission) = "shop.write";
               }'''))
        self.assertIn('give each its own message', tree.openapi())


# A file planted beside a tree that is in order, and what must be said of it ('' is: nothing).
LADDER_CASES = [
    ('base/a.c', '#include "store/store.h"\n', 'base/a.c:1: "store/store.h" of store stands above base'),
    ('bus/a.c', '#include "kit/kit.h"\n', 'bus/a.c:1: "kit/kit.h" of kit stands above bus'),
    ('kit/a.c', '\n#include "shop.api.h"\n', 'kit/a.c:2: "shop.api.h" of services stands above kit'),
    ('kit/a.c', '#include "types.api.h"\n', ''),
    ('services/shop/b.c', '#include "gateway/json.h"\n', 'of gateway stands above services'),
    ('services/stall/a.c', '#include "shop.api.h"\n#include "kit/kit.h"\n', ''),
    ('services/stall/a.c', '#include "gateway.api.h"\n', ''),     # to hear what it publishes
    ('services/stall/a.c', '#include "gateway.impl.h"\n', '"gateway.impl.h" is private to gateway'),
    ('services/stall/a.c', '#include "shop.impl.h"\n', '"shop.impl.h" is private to shop'),
    ('services/stall/a.c', '#include "shop.sql.h"\n', '"shop.sql.h" is private to shop'),
    ('services/stall/a.c', '#include "shop/rules.h"\n', '"shop/rules.h" is private to shop'),
    ('services/shop/b_test.c', '#include "shop/rules.h"\n#include "test/test.h"\n', ''),
    ('gateway/a.c', '#include "shop/rules.h"\n', '"shop/rules.h" is private to shop'),
    ('gateway/a.c', '#include "shop.api.h"\n#include "gateway.impl.h"\n', ''),
    ('test/a.c', '#include "shop.sql.h"\n', '"shop.sql.h" is private to shop'),
    ('services/shop/b.c', 'pthread_mutex_t m;\n', 'services/shop/b.c:1: pthread_mutex_t: threads are for'),
    ('bus/a.c', '\nuv_mutex_t m;\n', 'bus/a.c:2: uv_mutex_t: threads are for'),
    ('bus/a.c', '/* pthread_mutex_t */ const char *s = "pthread_x";\n', ''),
    ('net/a.c', 'pthread_mutex_t m;\n', ''),
    ('services/stall/a.c', 'void f(void) { call_shop_get_thing(rq, &x); }\n'
     'const struct service stall_service = {\n    .name = "stall",\n};\n',
     'services/stall/a.c:1: call_shop_get_thing(…): shop_rpcs is not in the .calls of stall_service'),
    ('services/stall/a.c', 'void f(void) { publish_sold(rq, tx); }\n'
     'const struct service stall_service = {\n    .name = "stall",\n};\n', 'sold is not in the .publishes'),
    ('services/stall/a.c', 'void f(void) { publish_all(rq, tx); }\n'
     'const struct service stall_service = {\n    .name = "stall",\n};\n', ''),
    ('services/stall/a.c', 'const struct service stall_service = {\n    .calls = {&shop_rpcs},\n};\n',
     'calls go in a circle: shop → stall → shop'),
]


class Ladder(unittest.TestCase):
    def test_a_slip_is_told_with_its_line(self):
        for path, text, expected in LADDER_CASES:
            with self.subTest(path=path, expected=expected):
                tree = Tree(self)
                tree.put('services/shop/rules.h', '')
                tree.put('services/stall/stall.proto',
                         'message Sold {\n  option (souk.event) = true;\n}\n')
                tree.put('gateway/gateway.proto', '')
                tree.put('services/shop/shop.c', 'const struct service shop_service = {\n'
                         '    .calls = {&stall_rpcs}, /* &self_rpcs */\n};\n')
                tree.put(path, text)
                lines, _ = check_ladder.check(tree.root)
                if expected:
                    self.assertIn(expected, '\n'.join(lines))
                else:
                    self.assertEqual(lines, [])


if __name__ == '__main__':
    result = unittest.TextTestRunner(verbosity=1).run(
        unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__']))
    failed = len({str(test).split(' (')[0] for test, _ in result.failures + result.errors})
    print(f'{result.testsRun - failed} passed, {failed} failed')
    sys.exit(not result.wasSuccessful())
