#!/usr/bin/python3
"""Writes the C that stands between a service's files, and the API's description.

    gen.py service X.proto OUTDIR      X.pb-c.{c,h}, X.api.{c,h}, X.impl.{c,h} and X.sql.h
    gen.py tables OUT.c PROTO…         all rpc lists, topics, message rules and migrations
    gen.py services OUT.h PROTO…       a declaration of each service's table
    gen.py statements OUT.h PROTO…     every statement of every .sql
    gen.py openapi OUT.json PROTO…     the public API as OpenAPI 3.1
    gen.py asyncapi OUT.json PROTO…    the events as AsyncAPI 3.0
    gen.py descriptors OUT.pb PROTO…   a FileDescriptorSet, for gRPC's server reflection
    gen.py openapi-c OUT.c PROTO…      the same text as souk_openapi[]
"""
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import gen_api
import gen_common
import gen_sql


def service(proto, folder):
    protos = gen_common.Protos([proto])
    file = protos.asked[0]
    out = Path(folder)
    texts = {'api.h': gen_api.api_h(protos, file), 'api.c': gen_api.api_c(protos, file)}
    if file.service:
        texts['sql.h'] = gen_sql.sql_h(protos, file)
        texts['impl.h'] = gen_api.impl_h(protos, file)
        texts['impl.c'] = gen_api.impl_c(protos, file)
    gen_common.protoc(protos.root, f'--c_out={out}', Path(proto).name)
    for ending, text in texts.items():
        (out / f'{file.name}.{ending}').write_text(text)


def tables(out, *paths):
    import gen_tables
    Path(out).write_text(gen_tables.tables_c(gen_common.Protos(paths)))


def services(out, *paths):
    import gen_tables
    Path(out).write_text(gen_tables.services_h(gen_common.Protos(paths)))


def statements(out, *paths):
    Path(out).write_text(gen_sql.statements_h(gen_common.Protos(paths)))


def openapi(out, *paths):
    import gen_openapi
    Path(out).write_text(gen_openapi.openapi_json(gen_common.Protos(paths)))


def openapi_c(out, *paths):
    import gen_openapi
    Path(out).write_text(gen_openapi.openapi_c(gen_common.Protos(paths)))


def asyncapi(out, *paths):
    import gen_asyncapi
    Path(out).write_text(gen_asyncapi.asyncapi_json(gen_common.Protos(paths)))


def descriptors(out, *paths):
    root = gen_common.root_of(paths[0])
    gen_common.protoc(root, '--include_imports', f'--descriptor_set_out={out}', *[Path(p).name for p in paths])


COMMANDS = {f.__name__.replace('_', '-'): f for f in (
    service, tables, services, statements, openapi, openapi_c, asyncapi, descriptors)}

if __name__ == '__main__':
    if len(sys.argv) < 4 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except gen_common.Problems as problems:
        sys.exit(f'{problems}\n{len(problems.lines)} problem(s): nothing was written')
