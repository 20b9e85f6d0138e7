"""All protos and schemas → tables.c: rpc lists, topics, message rules, migrations; and services.gen.h."""
import re

from gen_api import reason_name
from gen_common import c_lines, c_string, c_text, pb_symbol, snake
from gen_sql import lint_schema

SCHEMA_NAME = re.compile(r'(\d{3})_[a-z0-9_]+\.sql')


def tables_c(protos):
    lint_across(protos)
    migrations = find_migrations(protos)
    protos.problems.check()
    files = protos.asked
    out = ['/* GENERATED from all protos and schemas by tools/gen_tables.py.  Do not edit. */\n',
           '#include "kit/kit.h"\n#include "kit/rules.h"\n\n']
    out += [f'#include "{f.name}.pb-c.h"\n' for f in files]
    out += ['\n', *rpc_lists(files), '\n', *reasons(files), '\n', *topics(files), '\n', *message_rules(files), '\n',
            migration_table(migrations)]
    return ''.join(out)


def services_h(protos):
    protos.problems.check()
    return ('/* GENERATED from all protos by tools/gen_tables.py.  Do not edit. */\n#pragma once\n'
            '#include "kit/kit.h"\n\n' +
            ''.join(f'extern const struct service {f.service}_service;\n' for f in protos.asked if f.service_name))


def rpc_lists(files):
    services = [f.service for f in files if f.service_name]
    yield from (f'extern const struct rpc_list {s}_rpcs;\n' for s in services)
    yield 'const struct rpc_list *const souk_rpc_lists[] = {\n'
    yield from (f'    &{s}_rpcs,\n' for s in services)
    yield '    NULL,\n};\n'


def reasons(files):
    names = [reason_name(f, v) for f in files for v in f.reasons]
    yield from (f'extern const struct reason {name};\n' for name in names)
    yield 'const struct reason *const souk_reasons[] = {\n'
    yield from (f'    &{name},\n' for name in names)
    yield '    NULL,\n};\n'


def topics(files):
    events = sorted((f'{f.service}.{snake(m.name)}', snake(m.c_name)) for f in files for m in f.events)
    yield from (f'extern const struct topic {name};\n' for _, name in events)
    yield 'const struct topic *const souk_topics[] = {\n'
    yield from (f'    &{name}, /* {topic} */\n' for topic, name in events)
    yield '    NULL,\n};\n'


def message_rules(files):
    ruled = [m for f in files for m in f.messages if any(rule(x) for x in m.fields)]
    for m in ruled:
        rows = ''.join(f'    {{{", ".join(rule(f)) or "0"}}}, /* {f.name} */\n' for f in m.fields)
        yield f'static const struct field_rule {pb_symbol(m.full)}[] = {{\n{rows}}};\n'
    yield 'const struct message_rules souk_message_rules[] = {\n'
    for m in ruled:
        yield f'    {{&{pb_symbol(m.full)}__descriptor, {pb_symbol(m.full)}}},\n'
    yield '    {NULL, NULL},\n};\n'
    yield f'const size_t souk_n_message_rules = {len(ruled)};\n'


def rule(f):
    """The members of a field's struct field_rule that are not zero."""
    o = f.options
    out = [f'.{flag} = true' for flag in ('required', 'optional', 'personal', 'secret') if o.get(flag)]
    for name in ('min', 'max'):
        if name in o:
            out += [f'.has_{name} = true', f'.{name} = {c_int(o[name])}']
    out += [f'.{name} = {o[name]}' for name in ('max_length', 'max_items') if o.get(name)]
    out += [f'.{name} = {c_text(o[name])}' for name in ('pattern', 'format', 'header') if o.get(name)]
    return out


def c_int(n):
    return 'INT64_MIN' if n == -2**63 else f'INT64_C({n})'


# ---- migrations -------------------------------------------------------------------------------------

def find_migrations(protos):
    """(service, number, name, sql) of every schema file beside the protos."""
    bad, out = protos.problems, []
    for file in protos.asked:
        numbers = []
        for path in sorted((file.path.parent / 'schema').glob('*.sql')) if file.service_name else []:
            match = SCHEMA_NAME.fullmatch(path.name)
            if not match:
                bad.add(path, 1, 'a schema file is named like 001_init.sql')
                continue
            numbers.append(int(match[1]))
            if numbers[-1] != len(numbers):
                bad.add(path, 1, f'schema files count from 001 without gaps: this should be number'
                        f' {len(numbers):03d}')
            text = path.read_text()
            lint_schema(bad, path, file.service, text)
            out.append((file.service, numbers[-1], path.stem, text))
    return out


def migration_table(migrations):
    rows = ''.join(f'    {{{c_string(service)}, {number}, {c_string(name)},\n    {c_lines(sql)}}},\n'
                   for service, number, name, sql in migrations)
    return ('const struct migration souk_migrations[] = {\n' + rows + '    {NULL, 0, NULL, NULL},\n};\n'
            f'const size_t souk_n_migrations = {len(migrations)};\n')


# ---- what all protos together must keep to ----------------------------------------------------------

def lint_across(protos):
    bad = protos.problems
    routes, granted, symbols = {}, {}, {}
    for file in protos.asked:
        for r in file.rpcs:
            lint_route(bad, file, r, routes, granted)
        for m in file.events:
            other = symbols.setdefault(snake(m.c_name), file)
            if other is not file:
                bad.add(file.path, m.line, f'{m.name}: {other.name}.proto has an event of this name,'
                        ' and both would be one C name')


def lint_route(bad, file, r, routes, granted):
    if not r.path:
        return
    route = r.method + ' ' + re.sub(r'\{[^}]*\}', '{}', r.path)
    if r.options.get('respond_async'):
        route += ' with Prefer: respond-async'
    other = routes.setdefault(route, (file, r))
    if other[1] is not r:
        bad.add(file.path, r.line, f'{r.name}: {other[0].name}.{other[1].name} has this route too:'
                f' {r.options["route"]}')
    roles = sorted(r.options.get('granted_to', []))
    permission = r.options['permission']
    first = granted.setdefault(permission, (roles, file, r))
    if first[0] != roles:
        here, there = (', '.join(x) or 'nobody' for x in (roles, first[0]))
        bad.add(file.path, r.line, f'{r.name}: {permission} is granted to {here} here and to {there}'
                f' at {first[1].name}.{first[2].name}; a permission has one list of roles')
