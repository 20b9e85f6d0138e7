"""X.sql → X.sql.h: one typed C function per statement; the comment above it is its signature.

The statements are also prepared against the service's schema, so that a name that is wrong is an
error of the build.
"""
import re
import sqlite3

from gen_common import C_KEYWORDS, c_string, pb_symbol, snake

RULES = '''How a .sql file is written:
    -- name(order_id text, quantity int, body blob, note text?) -> Message
    INSERT …;
  Each statement has one signature right above it, begun at the line's start with "-- name(", which
  may span lines that begin with "--" too; other comments may stand around it.  Types are text, int,
  blob and text? (stores "" as NULL).  Results: nothing, count, int, text, Message or Message[].  A
  statement uses each parameter as :name, and ends with a ";" at a line's end.'''

C_TYPE = {'text': 'const char *', 'text?': 'const char *', 'int': 'int64_t ',
          'blob': 'ProtobufCBinaryData '}
BIND = {'text': 'value_text', 'text?': 'value_text_or_null', 'int': 'value_int', 'blob': 'value_blob'}
SIGNATURE = re.compile(r'(\w+)\s*\(([^()]*)\)\s*(?:->\s*(\w+)(\[\])?)?\s*')
TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.S)
FORBIDDEN = ((r'\bAUTOINCREMENT\b', 'no AUTOINCREMENT: ids are made by id_make'),
             (r'\b(INSERT|UPDATE)\s+OR\b', 'no INSERT OR …: write ON CONFLICT … DO'),
             (r'^\s*REPLACE\b', 'no REPLACE: write ON CONFLICT … DO UPDATE'),
             (r'\bWITHOUT\s+ROWID\b', 'no WITHOUT ROWID'),
             (r'\b(DEFERRABLE|DEFERRED)\b', 'constraints are never deferred'),
             (r'\bIFNULL\s*\(', 'no IFNULL: PostgreSQL has COALESCE alone'),
             (r'\bFOR\s+UPDATE\b', 'no FOR UPDATE: SQLite does not know it'),
             (r'\b(datetime|strftime|unixepoch|now)\s*\(', 'no clock in SQL: time is a parameter'),
             (r'\b(sqlite|pg)_\w+', 'nothing of one database alone'),
             (r'`', 'no backquotes: a name is quoted "so"'),
             (r'::', 'no :: casts: write CAST(x AS type)'))
LIBC = set('''abort accept access atoi bind bsearch calloc close connect exit fail free index kill link
    listen log main malloc memcpy note open poll printf publish qsort rand read realloc recv remove rename
    select send signal sleep socket stat subscribe system time unlink wait write'''.split())


class Statement:
    def __init__(self, name, params, result, many, line):
        self.name, self.params, self.result, self.many, self.line = name, params, result, many, line
        self.sql = ''
        self.sql_line = line


# ---- reading ----------------------------------------------------------------------------------------

def mask(sql):
    """sql with literals and comments blanked, same length: what is left are words and signs."""
    return TOKEN.sub(lambda m: re.sub(r'[^\n]', ' ', m[0]), sql)


def parse(bad, path, text):
    """The file's statements, in order."""
    out, signature, lines = [], None, text.split('\n')
    i = 0
    while i < len(lines):
        line = lines[i]
        if re.match(r'-- *[a-z_]\w*\(', line):
            if signature:
                bad.add(path, signature.line, f'{signature.name}: no statement follows this signature')
            signature, i = read_signature(bad, path, lines, i)
        elif not line.strip() or line.startswith('--'):
            i += 1
        else:
            start = i
            sql, i = read_sql(bad, path, lines, i)
            if not signature:
                bad.add(path, start + 1, 'a statement without a signature above it')
                continue
            signature.sql, signature.sql_line = sql, start + 1
            out.append(signature)
            signature = None
    if signature:
        bad.add(path, signature.line, f'{signature.name}: no statement follows this signature')
    return out


def read_signature(bad, path, lines, i):
    """The signature that begins at line i, and the line behind it."""
    first = i + 1
    text = lines[i][2:]
    i += 1
    while i < len(lines) and lines[i].startswith('--') and (
            text.count('(') > text.count(')') or lines[i][2:].lstrip().startswith('->')):
        text += ' ' + lines[i][2:]
        i += 1
    match = SIGNATURE.fullmatch(text.strip())
    if not match:
        bad.add(path, first, f'not a signature: "{" ".join(text.split())}"')
        return Statement(re.match(r'\s*(\w+)', text)[1], [], None, False, first), i
    name, params, result, many = match.groups()
    found = []
    for param in filter(None, (p.strip() for p in params.split(','))):
        words = param.split()
        if len(words) != 2 or words[1] not in C_TYPE or not re.fullmatch(r'[a-z]\w*', words[0]):
            bad.add(path, first, f'{name}: a parameter is "name type" with type text, text?, int or'
                    f' blob, not "{param}"')
        elif words[0] in C_KEYWORDS or words[0] in [p for p, _ in found]:
            bad.add(path, first, f'{name}: parameter {words[0]} is a keyword of C, or there twice')
        else:
            found.append(tuple(words))
    return Statement(name, found, result, bool(many), first), i


def read_sql(bad, path, lines, i):
    """The statement that begins at line i, without its ";", and the line behind it."""
    first = i
    rest = mask('\n'.join(lines[i:]))
    match = re.search(r';[ \t]*$', rest, re.M)
    if not match:
        bad.add(path, first + 1, 'a statement without a ";" at the end of a line')
        return '', len(lines)
    return '\n'.join(lines[i:])[:match.start()], i + rest.count('\n', 0, match.start()) + 1


def flat(sql):
    """sql on one line, without comments; literals as they are."""
    def shorten(m):
        return m[0] if m[0][0] in '\'"' else ' '
    parts, at = [], 0
    bare = TOKEN.sub(shorten, sql)
    for m in TOKEN.finditer(bare):
        parts += [re.sub(r'\s+', ' ', bare[at:m.start()]), m[0]]
        at = m.end()
    return ''.join(parts + [re.sub(r'\s+', ' ', bare[at:])]).strip()


def numbered(bad, path, s):
    """The statement's text with ?1, ?2, … for its parameters."""
    names = [p for p, _ in s.params]
    sql, used, out, at = flat(s.sql), set(), [], 0
    masked = mask(sql)
    for m in re.finditer(r'(?<!:):(\w+)', masked):
        if m[1] not in names:
            bad.add(path, s.line, f'{s.name}: :{m[1]} is no parameter of its signature')
            continue
        used.add(m[1])
        out += [sql[at:m.start()], f'?{names.index(m[1]) + 1}']
        at = m.end()
    for name in names:
        if name not in used:
            bad.add(path, s.line, f'{s.name}: parameter {name} is not used')
    if re.search(r'\?|\$\d|@\w', masked):
        bad.add(path, s.line, f'{s.name}: a parameter is written :name')
    return ''.join(out + [sql[at:]])


# ---- what SQL must keep to --------------------------------------------------------------------------

def lint_forbidden(bad, path, line, who, sql):
    masked = mask(sql)
    for pattern, text in FORBIDDEN:
        if match := re.search(pattern, masked, re.I):
            bad.add(path, line + masked.count('\n', 0, match.start()), who + text)


def lint_schema(bad, path, service, text):
    """A migration: portable, and of its service's tables alone."""
    lint_forbidden(bad, path, 1, '', text)
    masked = mask(text)
    for m in re.finditer(r'\b(?:CREATE\s+(?:TABLE|UNIQUE\s+INDEX|INDEX|VIEW)|ALTER\s+TABLE'
                         r'|ON(?=\s+\w+\s*\())\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)', masked, re.I):
        if not m[1].startswith(service + '_') and m[1].upper() not in ('CONFLICT', 'DELETE', 'UPDATE'):
            bad.add(path, masked.count('\n', 0, m.start()) + 1,
                    f'{m[1]}: names in this schema start with {service}_')
    for m in re.finditer(r'\bREFERENCES\s+(\w+)', masked, re.I):
        if not m[1].startswith(service + '_'):
            bad.add(path, masked.count('\n', 0, m.start()) + 1,
                    f'REFERENCES {m[1]}: a foreign key stays within its service')


def writes(sql):
    masked = mask(sql)
    return bool(re.match(r'\s*(INSERT|UPDATE|DELETE)\b', masked, re.I)
                or re.match(r'\s*WITH\b', masked, re.I)
                and re.search(r'\b(INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM)\b', masked, re.I))


def lint_statement(bad, path, s, messages):
    def say(text):
        bad.add(path, s.line, f'{s.name}: {text}')

    lint_forbidden(bad, path, s.sql_line, f'{s.name}: ', s.sql)
    masked = mask(s.sql)
    if ';' in masked:
        say('two statements; each ends with a ";" at a line\'s end')
    if not re.match(r'\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b', masked, re.I):
        say('a statement begins with SELECT, INSERT, UPDATE, DELETE or WITH')
    returning = bool(re.search(r'\bRETURNING\b', masked, re.I))
    gives_rows = s.result not in (None, 'count')
    if s.result == 'count' and (not writes(s.sql) or returning):
        say('count is of rows that an INSERT, UPDATE or DELETE without RETURNING changed;'
            ' for SELECT COUNT(*) write -> int')
    if writes(s.sql) and gives_rows != returning:
        say('RETURNING and a result ("-> Message") come together')
    if not writes(s.sql) and s.result is None:
        say('a SELECT gives something back: write "-> Message", "-> Message[]", "-> int" or "-> text"')
    if s.result in ('count', 'int', 'text') and s.many:
        say(f'{s.result}[] is not there; take a Message[]')
    if gives_rows and s.result not in ('int', 'text') and s.result not in messages:
        say(f'{s.result} is no message of the proto or of what it imports')


def lint_names(bad, path, file, statements):
    taken = {f'{file.service}_{r.c_name}' for r in file.rpcs} | {snake(m.c_name) for m in file.events}
    seen = {}
    for s in statements:
        if s.name in seen:
            bad.add(path, s.line, f'{s.name}: this name is taken at line {seen[s.name]}')
        seen[s.name] = s.line
        if s.name in C_KEYWORDS | LIBC | taken or s.name.startswith(('tx_', 'sql_', 'call_', 'publish_',
                                                                     'new_', 'fail_', 'note_')):
            bad.add(path, s.line, f'{s.name}: this name is C\'s, the kit\'s or generated otherwise')
        if s.name != s.name.lower() or s.name.endswith('_'):
            bad.add(path, s.line, f'{s.name}: a statement is named in snake_case')


# ---- against the schema -----------------------------------------------------------------------------

def check_schema(bad, path, file, statements, messages):
    """Prepares each statement in a database with the service's schema, and looks at its columns."""
    schema = sorted((path.parent / 'schema').glob('*.sql'))
    if not schema:
        return
    db = sqlite3.connect(':memory:')
    for part in schema:
        lint_schema(bad, part, file.service, part.read_text())
        if bad.lines:
            return
        try:
            db.executescript(part.read_text())
        except sqlite3.Error as e:
            bad.add(part, 1, f'SQLite says: {e}')
            return
    for s in statements:
        try:
            db.execute('EXPLAIN ' + s.numbered, [0] * len(s.params)).fetchall()
            columns = columns_of(db, s)
        except sqlite3.Error as e:
            bad.add(path, s.line, f'{s.name}: SQLite says: {e}')
            continue
        check_columns(bad, path, s, columns, messages)
    db.close()


def columns_of(db, s):
    """The names of the columns it gives; RETURNING's are asked of its table."""
    if s.result in (None, 'count'):
        return []
    if not writes(s.sql):
        return [c[0] for c in db.execute(s.numbered, [0] * len(s.params)).description]
    sql = re.sub(r'\?\d+', '0', s.numbered)
    masked = mask(sql)
    behind = [m.end() for m in re.finditer(r'\bRETURNING\b', masked, re.I)][-1]
    table = re.search(r'\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(\w+(?:\s+AS\s+\w+)?)', masked, re.I)
    return [c[0] for c in db.execute(f'SELECT {sql[behind:]} FROM {table[1]} LIMIT 0').description]


def check_columns(bad, path, s, columns, messages):
    if s.result in ('int', 'text'):
        if len(columns) != 1:
            bad.add(path, s.line, f'{s.name}: -> {s.result} is of one column, not {len(columns)}')
        return
    for column in columns:
        message, parts = messages.get(s.result), column.split('.')
        for n, part in enumerate(parts):
            f = message.field(part) if message else None
            last = n + 1 == len(parts)
            if not f or f.repeated or last == (f.kind == 'message'):
                bad.add(path, s.line, f'{s.name}: column "{column}" has no plain field in {s.result}')
                break
            message = messages.get(f.type.rpartition('.')[2]) if not last else None
    if len(set(columns)) != len(columns):
        bad.add(path, s.line, f'{s.name}: two columns of one name')


# ---- writing ----------------------------------------------------------------------------------------

def sql_h(protos, file):
    path = file.path.with_suffix('.sql')
    out = [f'/* GENERATED from {file.name}.sql by tools/gen_sql.py.  For the service alone. */\n',
           '#pragma once\n', '#include "kit/kit.h"\n', f'#include "{file.name}.api.h"\n']
    if path.exists():
        out += [emit(file, s) for s in checked(protos, file, path)]
    return ''.join(out)


def checked(protos, file, path):
    bad = protos.problems
    messages = {m.name: m for f in protos.visible(file) for m in f.messages}
    statements = parse(bad, path, path.read_text())
    for s in statements:
        s.numbered = numbered(bad, path, s)
        lint_statement(bad, path, s, messages)
    lint_names(bad, path, file, statements)
    if not bad.lines:
        check_schema(bad, path, file, statements, messages)
    if any('.sql:' in line and '/schema/' not in line for line in bad.lines):
        bad.rules = RULES
    bad.check()
    return statements


def emit(file, s):
    ret_type, outs, passed, sql_fn, extra = shape(s)
    struct = values = ''
    args = f'tx, &s, {"in_values" if s.params else "NULL"}, {len(s.params)}{extra}'
    body = f'    static struct statement s = {{{c_string(file.service)}, {c_string(s.name)},\n' \
           f'        {c_string(s.numbered)},\n        {"true" if writes(s.sql) else "false"}, 0}};\n'
    taken = ''
    if s.params:
        members = ''.join(f'    {C_TYPE[t]}{p};\n' for p, t in s.params)
        struct = f'struct {s.name}_in {{\n{members}}};\n'
        values = '    const struct value in_values[] = {' \
            + ', '.join(f'{BIND[t]}(in->{p})' for p, t in s.params) + '};\n'
        taken = f', const struct {s.name}_in *in'
    call = '' if ret_type == 'void' else 'return '
    names = 'tx' + ''.join(f', {p}' for p in passed)
    given = ''.join(f', ({p})' for p in passed)
    literal = f', &(struct {s.name}_in){{__VA_ARGS__}}' if s.params else ''
    return (f'\n{struct}static inline {ret_type}\n{s.name}_(struct tx *tx{outs}{taken})\n'
            f'{{\n{body}{values}'
            f'    {call}{sql_fn}({args});\n}}\n'
            f'#define {s.name}({names}{", ..." if s.params else ""}) {s.name}_((tx){given}{literal})\n')


KINDS = {'text': 't', 'text?': 'n', 'int': 'i', 'blob': 'b'}
LIMITS = ('limit', 'rows', 'rows_max', 'most', 'viewers')


def kind(name, param_type):
    """A letter for what a parameter takes: times and limits apart from other numbers."""
    if param_type == 'int' and name in LIMITS:
        return 'l'
    return 'u' if param_type == 'int' and name.endswith('_us') else KINDS[param_type]


def statements_h(protos):
    """All statements of all services as one table, for the test that runs each on both databases."""
    files = [f for f in protos.asked if f.service_name and f.path.with_suffix('.sql').exists()]
    out = ['/* GENERATED from every .sql by tools/gen_sql.py, for statements_test.c alone. */\n',
           '#pragma once\n#include "store/store.h"\n']
    out += [f'#include "{f.name}.pb-c.h"\n' for f in protos.files.values()]
    out += ['\n/* kinds: of its parameters, (t)ext, (n)ullable text, (b)lob, (i)nt, of\n * them times (u) and (l)imits.  type: of its rows. */\n',
            'static struct {\n    struct statement statement;\n    const char *kinds;\n',
            '    const ProtobufCMessageDescriptor *type;\n} souk_statements[] = {\n']
    for file in files:
        messages = {m.name: m for f in protos.visible(file) for m in f.messages}
        for s in checked(protos, file, file.path.with_suffix('.sql')):
            kinds = ''.join(kind(p, t) for p, t in s.params)
            row = messages.get(s.result)
            out.append(f'    {{{{{c_string(file.service)}, {c_string(s.name)},\n'
                       f'      {c_string(s.numbered)},\n      {"true" if writes(s.sql) else "false"}, 0}},\n'
                       f'     {c_string(kinds)}, {f"&{pb_symbol(row.full)}__descriptor" if row else "NULL"}}},\n')
    return ''.join(out + ['};\n'])


def shape(s):
    """What its C function gives: its type, its outputs' declarations and names, the store's function
    and what that takes besides."""
    if s.result is None:
        return 'void', '', [], 'sql_exec', ''
    if s.result == 'count':
        return 'int64_t', '', [], 'sql_count', ''
    if s.result == 'int':
        return 'enum status', ', int64_t *ret', ['ret'], 'sql_int', ', ret'
    if s.result == 'text':
        return 'enum status', ', const char **ret', ['ret'], 'sql_text', ', ret'
    if s.many:
        return ('enum status', f', {s.result} ***ret, size_t *ret_n', ['ret', 'ret_n'], 'sql_many',
                f', DESCRIPTOR_OF_{s.result}, ret, ret_n')
    return 'enum status', f', {s.result} **ret', ['ret'], 'sql_one', f', DESCRIPTOR_OF_{s.result}, ret'
