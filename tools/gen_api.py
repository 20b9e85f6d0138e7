"""X.proto → X.api.{c,h} for whoever calls it, X.impl.{c,h} for the service itself."""
from gen_common import c_string, c_text, pb_symbol, pb_type, snake

NOTE = '/* GENERATED from {name}.proto by tools/gen_api.py.  {what} */\n'


def descriptor(full):
    return f'&{pb_symbol(full)}__descriptor'


# ---- X.api.h ----------------------------------------------------------------------------------------

def api_h(protos, file):
    kit = 'kit/kit.h' if file.service else 'base/arena.h'
    out = [NOTE.format(name=file.name, what='For anyone who calls or hears it.'), '#pragma once\n',
           f'#include "{kit}"\n', f'#include "{file.name}.pb-c.h"\n']
    out += [f'#include "{name}.api.h"\n' for name in file.imports]
    out.append('\n')
    for e in file.enums:
        if e.name != 'Reason':
            out.append(enum_names(e))
    for m in file.messages:
        out.append(message_names(m))
    if file.reasons:
        out.append('\n/* Ways to say no. */\n')
    for v in file.reasons:
        out.append(f'extern const struct reason {reason_name(file, v)};'
                   f' /* {v.options["fails_with"]} */\n')
    if file.events:
        out.append('\n/* Events. */\n')
    for m in file.events:
        topic = snake(m.c_name)
        out.append(f'extern const struct topic {topic};\n'
                   f'typedef enum status {topic}_handler(struct request *, struct tx *,'
                   f' const {m.c_name} *);\n')
    if file.service_name:
        out.append(f'\n/* Calls. */\nextern const struct rpc_list {file.service}_rpcs;\n')
    for i, r in enumerate(file.rpcs):
        out.append(call(protos, file, i, r))
    return ''.join(out)


def enum_names(e):
    out = [f'typedef {pb_type(e.full)} {e.name};\n',
           f'#define DESCRIPTOR_OF_{e.name} ({descriptor(e.full)})\n']
    for v in e.values:
        prefix = '__'.join(snake(p).upper() if p == e.name else p.upper() for p in e.full.split('.'))
        out.append(f'#define {e.c_name(v)} {prefix}__{v.name}\n')
    return ''.join(out) + '\n'


def message_names(m):
    symbol = pb_symbol(m.full)
    return (f'typedef {pb_type(m.full)} {m.c_name};\n'
            f'#define DESCRIPTOR_OF_{m.c_name} (&{symbol}__descriptor)\n'
            f'static inline {m.c_name} *\nnew_{snake(m.c_name)}(struct arena *a)\n'
            '{\n'
            f'    {m.c_name} *m = arena_alloc(a, sizeof *m);\n'
            f'    {symbol}__init(m);\n'
            '    return m;\n'
            '}\n')


def reason_name(file, v):
    return f'{file.service.upper()}_{v.name}'


def literal(m):
    """A message on the caller's stack; a string that is not given is NULL, which packs like ""."""
    return f'&({m.c_name}){{.base = PROTOBUF_C_MESSAGE_INIT({descriptor(m.full)}), __VA_ARGS__}}'


def call(protos, file, i, r):
    given, answer = protos.messages[r.input], protos.messages[r.output]
    name = f'call_{file.service}_{r.c_name}'
    return (f'static inline enum status\n{name}_(struct request *rq, {answer.name} **ret,'
            f' const {given.name} *in)\n'
            '{\n'
            '    ProtobufCMessage *answer = NULL;\n'
            f'    enum status st = rpc_call(rq, &{file.service}_rpcs.rpcs[{i}], &in->base, &answer);\n'
            '    if (st == OK)\n'
            f'        *ret = ({answer.name} *)answer;\n'
            '    return st;\n'
            '}\n'
            f'#define {name}(rq, ret, ...) {name}_((rq), (ret), {literal(given)})\n')


# ---- X.api.c ----------------------------------------------------------------------------------------

def api_c(protos, file):
    out = [NOTE.format(name=file.name, what='Do not edit.'), f'#include "{file.name}.api.h"\n']
    for v in file.reasons:
        out.append(f'const struct reason {reason_name(file, v)} = {{{c_string(file.service)},'
                   f' {c_string(v.name)}, {v.options["fails_with"]}, {v.options.get("http", 0)},'
                   f' {c_string(v.name.lower())}}};\n')
    for m in file.events:
        topic = snake(m.c_name)
        out.append(f'const struct topic {topic} = {{{c_string(f"{file.service}.{snake(m.name)}")},'
                   f' {c_string(file.service)}, {c_string(m.options["subject"])},'
                   f' {descriptor(m.full)}, {"true" if m.options.get("erases") else "false"}}};\n')
    if file.service_name:
        out.append(rpc_list(protos, file))
    return ''.join(out)


def rpc_list(protos, file):
    out = []
    for r in file.rpcs:
        given, answer = protos.messages[r.input], protos.messages[r.output]
        out.append(f'typedef enum status {r.c_name}_fn(struct request *, const {given.name} *,'
                   f' {answer.name} *);\n'
                   f'static enum status\ninvoke_{r.c_name}(any_fn *fn, struct request *rq,'
                   ' const void *in, void *out)\n'
                   '{\n'
                   f'    return (({r.c_name}_fn *)fn)(rq, in, out);\n'
                   '}\n')
        if r.options.get('permission'):
            roles = ''.join(c_string(x) + ', ' for x in r.options.get('granted_to', []))
            out.append(f'static const char *const {r.c_name}_roles[] = {{{roles}NULL}};\n')
    if file.rpcs:
        out.append('static const struct rpc rpcs[] = {\n')
        out += [rpc_row(file, r) for r in file.rpcs]
        out.append('};\n')
    out.append(f'const struct rpc_list {file.service}_rpcs = {{{c_string(file.service)},'
               f' {"rpcs" if file.rpcs else "NULL"}, {len(file.rpcs)}}};\n')
    return ''.join(out)


FLAGS = (('quick', 'RPC_QUICK'), ('unkept', 'RPC_UNKEPT'), ('stream', 'RPC_STREAM'),
         ('respond_async', 'RPC_ASYNC'))


def rpc_row(file, r):
    o = r.options
    flags = ' | '.join(flag for name, flag in FLAGS if o.get(name)) or '0'
    full = f'/{file.package}.{file.service_name}/{r.name}'
    return (f'    {{.service = {c_string(file.service)}, .name = {c_string(r.name)},\n'
            f'     .full = {c_string(full)},\n'
            f'     .resource = {c_string(file.service + "." + r.name)},\n'
            f'     .in = {descriptor(r.input)},\n'
            f'     .out = {descriptor(r.output)},\n'
            f'     .method = {c_text(r.method)}, .path = {c_text(r.path)},\n'
            f'     .http_status = {r.http_status}, .permission = {c_text(o.get("permission"))},\n'
            f'     .granted_to = {r.c_name + "_roles" if o.get("permission") else "NULL"},\n'
            f'     .consumes = {c_text(o.get("consumes"))}, .produces = {c_text(o.get("produces"))},\n'
            f'     .body_max = {o.get("body_max", 0)}, .flags = {flags},\n'
            f'     .invoke = invoke_{r.c_name}}},\n')


# ---- X.impl.{h,c} -----------------------------------------------------------------------------------

def impl_h(protos, file):
    out = [NOTE.format(name=file.name, what='For the service alone.'), '#pragma once\n',
           f'#include "{file.name}.api.h"\n#include "{file.name}.sql.h"\n\n']
    if file.service_name:
        out.append(f'extern const struct server {file.service}_server;\n')
    for r in file.rpcs:
        given, answer = protos.messages[r.input], protos.messages[r.output]
        out.append(f'enum status {file.service}_{r.c_name}(struct request *rq, const {given.name} *in,'
                   f' {answer.name} *out);\n')
    for m in file.events:
        topic = snake(m.c_name)
        out.append(f'#define publish_{topic}(rq, tx, ...) \\\n'
                   f'    publish((rq), (tx), &{topic}, &({literal(m)})->base)\n')
    return ''.join(out)


def impl_c(protos, file):
    out = [NOTE.format(name=file.name, what='Do not edit.'), f'#include "{file.name}.impl.h"\n']
    if file.rpcs:
        handlers = ''.join(f'    (any_fn *){file.service}_{r.c_name},\n' for r in file.rpcs)
        out.append(f'static any_fn *const handlers[] = {{\n{handlers}}};\n')
    if file.service_name:
        out.append(f'const struct server {file.service}_server = {{&{file.service}_rpcs,'
                   f' {"handlers" if file.rpcs else "NULL"}}};\n')
    return ''.join(out)
