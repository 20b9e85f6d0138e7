"""All protos → the public API as OpenAPI 3.1.

The JSON's look is bus/message_json.c's and kit/json.c's: snake_case names; int64 as numbers; an integer
x_us is the RFC 3339 time x, null while unset; enums in lower case; an absent message is null; fields
marked optional are left out while empty.
"""
import json
import re
from collections import defaultdict

from gen_common import METHODS, c_lines, pb_camel, snake

HTTP_OF = {'INVALID_ARGUMENT': 400, 'DEADLINE_EXCEEDED': 504, 'NOT_FOUND': 404, 'ALREADY_EXISTS': 409,
           'PERMISSION_DENIED': 403, 'RESOURCE_EXHAUSTED': 429, 'FAILED_PRECONDITION': 400,
           'ABORTED': 409, 'UNIMPLEMENTED': 501, 'INTERNAL': 500, 'UNAVAILABLE': 503,
           'UNAUTHENTICATED': 401}
TITLES = {400: 'The request is not valid', 401: 'Not authenticated', 402: 'Payment failed',
          403: 'Not allowed', 404: 'Not found', 409: 'In conflict with the state of things',
          412: 'The version is another one', 422: 'Cannot be done', 429: 'Too many requests',
          500: 'Our mistake', 501: 'Not there', 503: 'Busy or failing, try later',
          504: 'Took too long'}
TEXT_MAX, ITEMS_MAX, PAGE_DEFAULT = 1000, 100, 20   # kit/rules.h and base/limits.h say the same
FORMATS = {'email': {'format': 'email'}, 'url': {'format': 'uri'}, 'phone': {},
           'currency': {'pattern': '^[A-Z]{3}$'}}
NOT_IN_BODY = ('update_mask',)


def openapi_json(protos):
    return json.dumps(document(protos), indent=2, ensure_ascii=False) + '\n'


def openapi_c(protos):
    return ('/* GENERATED from all protos by tools/gen_openapi.py.  Do not edit. */\n'
            '#include <stddef.h>\n\n'
            'extern const char souk_openapi[];\nextern const size_t souk_openapi_bytes;\n\n'
            f'const char souk_openapi[] =\n    {c_lines(openapi_json(protos))};\n'
            'const size_t souk_openapi_bytes = sizeof souk_openapi - 1;\n')


def document(protos):
    served = [(file, r) for file in protos.asked for r in file.rpcs if r.path]
    schemas = Schemas(protos, served)
    routes, problems = defaultdict(dict), {}
    for file, r in served:
        if not r.options.get('respond_async'):
            routes[r.path][r.method.lower()] = operation(protos, schemas, problems, file, r)
    for _, r in served:
        if r.options.get('respond_async'):
            add_async(protos, schemas, routes[r.path][r.method.lower()], r)
    order = [m.lower() for m in METHODS]
    return {
        'openapi': '3.1.0',
        'info': {'title': 'Souk', 'version': version(protos.root),
                 'description': 'Commerce backend. Errors are RFC 9457 problem documents; money is an'
                                ' integer in the currency\'s smallest unit; time is RFC 3339 in UTC.'},
        'tags': [{'name': f.service, **described(f.comment)} for f in protos.asked
                 if any(r.path for r in f.rpcs)],
        'paths': {path: {m: routes[path][m] for m in order if m in routes[path]}
                  for path in sorted(routes)},
        'components': {
            'schemas': {**schemas.all(), 'Problem': problem_schema()},
            'responses': dict(sorted(problems.items())),
            'securitySchemes': {'bearerAuth': {'type': 'http', 'scheme': 'bearer',
                                               'bearerFormat': 'JWT'}},
        },
    }


def version(root):
    found = re.search(r"version:\s*'([^']+)'", (root / 'meson.build').read_text())
    return found[1]


def described(text):
    return {'description': text} if text else {}


# ---- one operation ----------------------------------------------------------------------------------

def operation(protos, schemas, problems, file, r):
    given = protos.messages[r.input]
    out = {'operationId': f'{file.service}_{r.c_name}', 'tags': [file.service], **told(r),
           'x-permission': r.options['permission'], 'security': security(r),
           'parameters': parameters(schemas, r, given)}
    body = request_body(schemas, r, given)
    if body:
        out['requestBody'] = body
    out['responses'] = {str(r.http_status): answer(protos, schemas, r),
                        **refusals(problems, protos, file, r, given)}
    if not out['parameters']:
        del out['parameters']
    return out


def add_async(protos, schemas, there, r):
    """What the route answers to Prefer: respond-async, beside what it answers otherwise."""
    there['parameters'] = [*there.get('parameters', []), {
        'name': 'Prefer', 'in': 'header', 'required': False, 'schema': {'type': 'string'},
        'description': f'respond-async (RFC 7240): {r.comment}'}]
    waits = answer(protos, schemas, r)
    waits['headers'] = {name: {'description': text, 'schema': {'type': 'string'}} for name, text in (
        ('Location', 'Where the end will be told.'), ('Preference-Applied', 'respond-async.'))}
    there['responses'] = dict(sorted({**there['responses'], str(r.http_status): waits}.items()))


def told(r):
    """summary and description, from the comment above the rpc."""
    first = re.match(r'(.*?[a-z)"])[.;:](\s|$)', r.comment)
    summary = first[1] if first and len(first[1]) <= 120 else \
        snake(r.name).replace('_', ' ').capitalize()
    return {'summary': summary, **described(r.comment if r.comment.rstrip('.') != summary else '')}


def security(r):
    roles = r.options.get('granted_to', [])
    bearer = {'bearerAuth': [role for role in roles if role != 'anonymous'] + ['superadmin']}
    return [{}, bearer] if 'anonymous' in roles else [bearer]


def takes_json(r):
    return r.method in ('POST', 'PUT', 'PATCH') and not r.options.get('consumes')


def parameters(schemas, r, given):
    out = []
    for f in given.fields:
        if f.name in r.path_params:
            schema = schemas.plain(f, True)
            if f.kind == 'string':
                schema['minLength'] = 1
            out.append({'name': f.name, 'in': 'path', 'required': True, **described(f.comment),
                        'schema': schema})
        elif f.options.get('header'):
            out.append({'name': f.options['header'], 'in': 'header', 'required': False,
                        **described(f.comment), 'schema': {'type': 'string'}})
        elif not takes_json(r) and f.name not in ('expected_version', 'body', *NOT_IN_BODY):
            out.append(query_parameter(schemas, f))
    if r.method == 'POST':
        out.append({'name': 'Idempotency-Key', 'in': 'header', 'required': False,
                    'description': 'The same key and body give the same answer.',
                    'schema': {'type': 'string', 'minLength': 1, 'maxLength': 255}})
    if given.field('expected_version'):
        out.append({'name': 'If-Match', 'in': 'header', 'required': False,
                    'description': 'The ETag of the version to change; 412 if it is another one.',
                    'schema': {'type': 'string'}})
    return out


def query_parameter(schemas, f):
    schema = schemas.field(f, True)
    if f.name == 'limit':
        schema['default'] = PAGE_DEFAULT
    return {'name': json_name(f), 'in': 'query', 'required': bool(f.options.get('required')),
            **described(f.comment), 'schema': schema}


def request_body(schemas, r, given):
    media = r.options.get('consumes')
    if media:
        return {'required': True, 'content': {media: {'schema': {'type': 'string'}}}}
    if not takes_json(r):
        return None
    fields = schemas.body_fields(given)
    if not fields:
        return None
    return {'required': any(f.options.get('required') for f in fields),
            'content': {'application/json': {'schema': schemas.ref(given.full)}}}


def answer(protos, schemas, r):
    message = protos.messages[r.output]
    out = {'description': message.comment or 'Done.' if message.fields else 'Done.'}
    if message.field('version') and not r.options.get('produces'):
        out['headers'] = {'ETag': {'description': 'The version, for If-Match.',
                                   'schema': {'type': 'string'}}}
    media = r.options.get('produces')
    if r.options.get('stream'):
        out['description'] = ('Server-sent events: the whole answer, now and at each change; id is its'
                              ' version.')
        out['content'] = {'text/event-stream': {'schema': {'type': 'string'}}}
    elif media:
        schema = {'type': 'object'} if media.endswith('json') else {'type': 'string'}
        out['content'] = {media: {'schema': schema}}
    elif r.http_status != 204:
        out['content'] = {'application/json': {'schema': schemas.ref(r.output)}}
    return out


def refusals(problems, protos, file, r, given):
    """Answers that are no success, by status; each is a shared response of the service."""
    codes = defaultdict(set)
    speakers = [file]
    if file.service == 'gateway':   # it hands on what the services say
        speakers += [protos.files[name] for name in file.imports]
    for f in speakers:
        for v in f.reasons:
            codes[v.options.get('http') or HTTP_OF[v.options['fails_with']]].add(v.name.lower())
    own = {400, 429, 500, 503, 504}
    own |= {401, 403} if 'anonymous' not in r.options.get('granted_to', []) else {401}
    own |= {404} if r.path_params else set()
    own |= {409, 422} if r.method == 'POST' else set()
    own |= {412} if given.field('expected_version') else set()
    out = {}
    for status in sorted(own | codes.keys()):
        name = f'{file.service}_{status}' if codes[status] else f'problem_{status}'
        problems[name] = problem_response(status, sorted(codes[status]))
        out[str(status)] = {'$ref': f'#/components/responses/{name}'}
    return out


# ---- problems ---------------------------------------------------------------------------------------

def problem_response(status, codes):
    text = TITLES.get(status, 'Refused')
    if codes:
        text += f'; code may be {", ".join(codes)}'
    schema = {'$ref': '#/components/schemas/Problem'}
    if codes:
        schema = {'allOf': [schema], 'properties': {'code': {'type': 'string', 'examples': codes}}}
    out = {'description': text + '.', 'content': {'application/problem+json': {'schema': schema}}}
    if status in (429, 503):
        out['headers'] = {'Retry-After': {'description': 'Seconds.', 'schema': {'type': 'integer'}}}
    return out


def problem_schema():
    text = {'type': 'string'}
    return {
        'type': 'object',
        'description': 'RFC 9457. Further members name what it is about, such as order_id.',
        'required': ['type', 'title', 'status', 'code'],
        'properties': {
            'type': text, 'title': text, 'status': {'type': 'integer'}, 'detail': text,
            'code': {'type': 'string', 'description': 'For programs: out_of_stock.'},
            'errors': {'type': 'array', 'items': {
                'type': 'object', 'required': ['detail'],
                'properties': {
                    'pointer': {'type': 'string', 'description': 'RFC 6901, into the body.'},
                    'detail': text, 'code': text,
                    'remaining': {'type': 'integer', 'description': 'What is left of it.'}}}},
            'trace_id': text,
        },
    }


# ---- schemas ----------------------------------------------------------------------------------------

def is_time(f):
    return f.kind == 'int' and f.name.endswith('_us')


def json_name(f):
    return f.name[:-3] if is_time(f) else f.name


class Schemas:
    """Component schemas of what the routes reach, by short name."""

    def __init__(self, protos, served):
        self.protos = protos
        self.asked, self.answered, self.left_out = set(), set(), {}
        for _, r in served:
            given = protos.messages[r.input]
            left_out = set(r.path_params)
            if r.method != 'PUT':   # a PUT's body may say which version it follows
                left_out.add('expected_version')
            if self.left_out.setdefault(given.full, left_out) != left_out:
                protos.problems.add(r.file.path, r.line, f'{r.name}: {given.name} is taken by another'
                                    ' route with other path parameters; give each its own message')
            if takes_json(r) and self.body_fields(given):
                self.reach(given.full, self.asked)
            if r.http_status != 204 and not r.options.get('produces'):
                self.reach(r.output, self.answered)
        protos.problems.check()
        self.names = self.short_names()

    def body_fields(self, m):
        left_out = self.left_out.get(m.full, set()).union(NOT_IN_BODY)
        return [f for f in m.fields if f.name not in left_out]

    def reach(self, full, found):
        if full in found:
            return
        found.add(full)
        if full in self.protos.messages:
            for f in self.body_fields(self.protos.messages[full]):
                if f.type:
                    self.reach(f.type, found)

    def short_names(self):
        """Orders' Payment is OrdersPayment if another service has a Payment too."""
        by_name = defaultdict(list)
        for full in sorted(self.asked | self.answered):
            by_name[full.rpartition('.')[2]].append(full)
        return {full: short if len(fulls) == 1 else pb_camel(full.split('.')[1]) + short
                for short, fulls in by_name.items() for full in fulls}

    def ref(self, full):
        return {'$ref': f'#/components/schemas/{self.names[full]}'}

    def all(self):
        return {name: self.component(full)
                for full, name in sorted(self.names.items(), key=lambda item: item[1])}

    def component(self, full):
        if full in self.protos.enums:
            enum = self.protos.enums[full]
            return {'type': 'string', **described(enum.comment), 'enum': enum_values(enum)}
        m, asked = self.protos.messages[full], full in self.asked
        fields = self.body_fields(m)
        out = {'type': 'object', **described(m.comment),
               'properties': {json_name(f): self.described_field(f, asked) for f in fields}}
        required = [json_name(f) for f in fields if self.is_there(f, asked)]
        if required:
            out['required'] = required
        if asked:
            out['additionalProperties'] = False
        return out

    def is_there(self, f, asked):
        """In a request what is required; in an answer what is told even when it is empty."""
        if asked:
            return bool(f.options.get('required'))
        return not f.options.get('optional')

    def described_field(self, f, asked):
        return {**self.nullable(f, self.field(f, asked)), **described(f.comment)}

    def nullable(self, f, schema):
        """An unset time or message is null, unless it is left out."""
        if f.repeated or f.options.get('optional') or f.options.get('required'):
            return schema
        if f.kind == 'message':
            return {'anyOf': [schema, {'type': 'null'}]}
        return {**schema, 'type': ['string', 'null']} if is_time(f) else schema

    def field(self, f, asked):
        if not f.repeated:
            return self.plain(f, asked)
        out = {'type': 'array', 'items': self.plain(f, asked, item=True)}
        if asked:
            out['maxItems'] = f.options.get('max_items') or ITEMS_MAX
        if asked and f.options.get('required'):
            out['minItems'] = 1
        return out

    def plain(self, f, asked, item=False):
        if f.type:
            return self.ref(f.type)
        o = f.options
        if is_time(f):
            out = {'type': 'string', 'format': 'date-time'}
        elif f.kind == 'string':
            out = self.text(o, asked, item)
        elif f.kind == 'int':
            out = {'type': 'integer', 'format': 'int64'}
            out |= {name: o[option] for option, name in (('min', 'minimum'), ('max', 'maximum'))
                    if option in o}
        elif f.kind == 'bool':
            out = {'type': 'boolean'}
        else:
            out = {'type': 'string', 'contentEncoding': 'base64url'}
        if 'example' in o:
            is_number = f.kind == 'int' and not is_time(f)
            out['examples'] = [int(o['example']) if is_number else o['example']]
        return out

    def text(self, o, asked, item):
        out = {'type': 'string', **FORMATS.get(o.get('format'), {})}
        if asked and o.get('required') and not item:
            out['minLength'] = 1
        if asked or o.get('max_length'):
            out['maxLength'] = o.get('max_length') or TEXT_MAX
        if o.get('pattern'):
            may_be_empty = '' if o.get('required') else '?'
            out['pattern'] = f'^({o["pattern"]}){may_be_empty}$'
        return out


def enum_values(enum):
    return [v.name.lower() for v in enum.values if v.number != 0]
