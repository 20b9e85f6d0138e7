"""What the generators share: protos read into a small model, errors as file:line, and C's spelling.

Every proto is compiled by protoc into a descriptor set; our options (services/common/options.proto)
come out of it by name, and comments from its source info.
"""
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

FIELD = descriptor_pb2.FieldDescriptorProto
KINDS = {FIELD.TYPE_STRING: 'string', FIELD.TYPE_INT64: 'int', FIELD.TYPE_INT32: 'int',
         FIELD.TYPE_BOOL: 'bool', FIELD.TYPE_BYTES: 'bytes', FIELD.TYPE_ENUM: 'enum',
         FIELD.TYPE_MESSAGE: 'message'}
ROLES = ('anonymous', 'customer', 'admin')
METHODS = ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')
FORMATS = ('email', 'currency', 'url', 'phone')
C_KEYWORDS = set('''auto break case char const continue default do double else enum extern float for
    goto if inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while bool true false'''.split())


class Problems(Exception):
    """What is wrong with the input: a list of "file:line: text"."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.rules = ''     # told once, below them

    def add(self, path, line, text):
        self.lines.append(f'{shown(path)}:{line}: {text}')

    def check(self):
        if self.lines:
            raise self

    def __str__(self):
        return '\n'.join(self.lines + [self.rules] * bool(self.rules))


def shown(path):
    """A path as a reader of a build log wants it: below the tree's root."""
    parts = Path(path).parts
    for top in ('services', 'gateway'):
        if top in parts[:-1]:
            return '/'.join(parts[len(parts) - 1 - parts[::-1].index(top):])
    return str(path)


# ---- spelling ---------------------------------------------------------------------------------------

def snake(name):
    """PlaceOrder → place_order, GetPDFLink → get_pdf_link."""
    name = re.sub(r'([A-Z]+)([A-Z][a-z])', r'\1_\2', name)
    return re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name).lower()


def pb_lower(name):
    """protoc-c's own way to snake_case: a '_' only where a capital follows what is none."""
    return re.sub(r'(?<=[^A-Z])([A-Z])', r'_\1', name).lower()


def pb_camel(name):
    return ''.join(part[:1].upper() + part[1:] for part in name.split('_'))


def pb_type(full):
    return '__'.join(pb_camel(p) for p in full.split('.'))


def pb_symbol(full):
    return '__'.join(pb_lower(p) for p in full.split('.'))


def c_string(text):
    """text as one C string literal; never a trigraph, never a hex escape that eats what follows."""
    out = []
    for byte in text.encode():
        ch = chr(byte)
        if ch in '"\\':
            out.append('\\' + ch)
        elif ch == '\n':
            out.append('\\n')
        elif ch == '?' and out and out[-1].endswith('?'):
            out.append('\\?')
        elif 32 <= byte < 127:
            out.append(ch)
        else:
            out.append(f'\\{byte:03o}')
    return '"' + ''.join(out) + '"'


def c_lines(text):
    """text as C string literals, one for each of its lines."""
    return '\n    '.join(c_string(line) for line in text.splitlines(keepends=True)) or '""'


def c_text(text):
    return c_string(text) if text else 'NULL'


# ---- the model --------------------------------------------------------------------------------------

@dataclass
class Field:
    name: str
    number: int
    kind: str        # one of KINDS' values
    type: str        # full name of a message or an enum, or ''
    repeated: bool
    options: dict
    comment: str
    line: int


@dataclass
class Message:
    name: str
    full: str
    fields: list     # by number, as protobuf-c's descriptors have them
    options: dict
    comment: str
    line: int
    file: object = None

    @property
    def c_name(self):
        return self.options.get('c_name', self.name)

    def field(self, name):
        return next((f for f in self.fields if f.name == name), None)


@dataclass
class Value:
    name: str
    number: int
    options: dict
    comment: str
    line: int


@dataclass
class Enum:
    name: str
    full: str
    values: list
    comment: str
    line: int
    file: object = None

    def c_name(self, value):
        """AWAITING_PAYMENT of OrderStatus → ORDER_STATUS_AWAITING_PAYMENT."""
        prefix = snake(self.name).upper() + '_'
        return value.name if value.name.startswith(prefix) else prefix + value.name


@dataclass
class Rpc:
    name: str
    input: str
    output: str
    options: dict
    comment: str
    line: int
    file: object = None

    @property
    def c_name(self):
        return snake(self.name)

    @property
    def method(self):
        return self.options.get('route', '').partition(' ')[0]

    @property
    def path(self):
        return self.options.get('route', '').partition(' ')[2]

    @property
    def path_params(self):
        return re.findall(r'\{([^}]*)\}', self.path)

    @property
    def http_status(self):
        return self.options.get('http_status', 200)


@dataclass
class File:
    path: Path
    name: str        # "orders", of orders.proto
    package: str
    service: str     # "orders", of souk.orders.v1; "" for words that services share
    service_name: str = ''      # "Orders"; "" where it serves nothing
    service_comment: str = ''
    comment: str = ''
    imports: list = field(default_factory=list)    # names of ours, without options
    messages: list = field(default_factory=list)
    enums: list = field(default_factory=list)
    rpcs: list = field(default_factory=list)

    @property
    def events(self):
        return [m for m in self.messages if m.options.get('event')]

    @property
    def reasons(self):
        for enum in self.enums:
            if enum.name == 'Reason':
                return [v for v in enum.values if v.number != 0]
        return []


class Protos:
    """The protos asked for, and all that they import."""

    def __init__(self, paths):
        self.problems = Problems()
        self.root = root_of(paths[0])
        self.files = {}     # by name, imports first
        for proto in compile_protos(self.root, paths):
            if proto.name.startswith(('google/', 'protobuf-c/')) or proto.name == 'options.proto':
                continue
            read_file(self, proto)
        self.asked = [self.files[Path(p).stem] for p in paths if Path(p).stem != 'options']
        self.messages = {m.full: m for f in self.files.values() for m in f.messages}
        self.enums = {e.full: e for f in self.files.values() for e in f.enums}
        self.problems.check()
        for file in self.asked:
            lint_file(self, file)
        self.problems.check()

    def visible(self, file):
        """file and whatever it imports, once each, imports first."""
        seen = {}

        def visit(name):
            if name not in seen:
                for other in self.files[name].imports:
                    visit(other)
                seen[name] = self.files[name]
        visit(file.name)
        return list(seen.values())


def root_of(path):
    for folder in Path(path).resolve().parents:
        if (folder / 'services/common/options.proto').exists():
            return folder
    raise SystemExit(f'{path}: no services/common/options.proto in any folder above it')


def include_flags(root):
    folders = [root / 'services/common']
    folders += sorted(p for p in (root / 'services').iterdir() if p.is_dir() and p.name != 'common')
    folders += [root / 'gateway', root / 'kit', Path('/usr/include')]
    return [f'-I{p}' for p in folders if p.exists()]


def protoc(root, *args):
    done = subprocess.run(['protoc', *include_flags(root), *args], stderr=subprocess.PIPE, text=True)
    noise = re.compile(r'.*warning: (Import .* is unused|.*has no exported C)')
    told = [line for line in done.stderr.splitlines() if not noise.match(line)]
    if told:
        print('\n'.join(told), file=sys.stderr)
    if done.returncode:
        raise SystemExit(done.returncode)


def compile_protos(root, paths):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'set.pb'
        protoc(root, '--include_imports', '--include_source_info', f'--descriptor_set_out={out}',
               *[Path(p).name for p in paths])
        data = out.read_bytes()
    register_options(descriptor_pb2.FileDescriptorSet.FromString(data))
    return descriptor_pb2.FileDescriptorSet.FromString(data).file


def register_options(found):
    """Teaches Python's own option messages our extensions, so that a second parse sees them."""
    pool = descriptor_pool.Default()
    for proto in found.file:
        if proto.name in ('protobuf-c/protobuf-c.proto', 'options.proto'):
            try:
                pool.FindFileByName(proto.name)
            except KeyError:
                pool.Add(proto)


def options_of(proto):
    """Our options that are set, by short name; enums as names."""
    out = {}
    for extension, value in proto.options.ListFields():
        if extension.is_extension and extension.full_name.startswith('souk.'):
            if extension.enum_type:
                value = extension.enum_type.values_by_number[value].name
            elif extension.label == extension.LABEL_REPEATED:
                value = list(value)
            out[extension.name] = value
    return out


# ---- reading ----------------------------------------------------------------------------------------

class Places:
    """Lines and comments of a file's elements, by path in its descriptor."""

    def __init__(self, proto):
        self.at = {tuple(p.path): p for p in proto.source_code_info.location}

    def line(self, *path):
        return self.at[path].span[0] + 1 if path in self.at else 1

    def comment(self, *path):
        if path not in self.at:
            return ''
        place = self.at[path]
        text = place.leading_comments or place.trailing_comments
        return ' '.join(text.split())


def read_file(protos, proto):
    places = Places(proto)
    path = next((p for p in protos.root.glob(f'services/*/{proto.name}')),
                protos.root / 'gateway' / proto.name)
    name = Path(proto.name).stem
    words = proto.package.split('.')
    file = File(path, name, proto.package, words[1] if len(words) == 3 else '')
    file.comment = places.comment(12)   # what stands above syntax
    file.imports = [Path(d).stem for d in proto.dependency
                    if '/' not in d and d != 'options.proto']
    protos.files[name] = file
    bad = protos.problems
    if words[0] != 'souk' or len(words) not in (2, 3):
        bad.add(path, places.line(2), f'package must be souk.<service>.v1, not {proto.package}')
    for i, m in enumerate(proto.message_type):
        file.messages.append(read_message(protos, file, places, m, i))
    for i, e in enumerate(proto.enum_type):
        values = [Value(v.name, v.number, options_of(v), places.comment(5, i, 2, j),
                        places.line(5, i, 2, j)) for j, v in enumerate(e.value)]
        file.enums.append(Enum(e.name, f'{proto.package}.{e.name}', values, places.comment(5, i),
                               places.line(5, i), file))
    if len(proto.service) > 1:
        bad.add(path, places.line(6, 1), 'one service a file')
    for i, s in enumerate(proto.service[:1]):
        file.service_name = s.name
        file.service_comment = places.comment(6, i)
        for j, m in enumerate(s.method):
            if m.client_streaming or m.server_streaming:
                bad.add(path, places.line(6, i, 2, j), f'{m.name}: streams are not generated')
            file.rpcs.append(Rpc(m.name, m.input_type[1:], m.output_type[1:], options_of(m),
                                 places.comment(6, i, 2, j), places.line(6, i, 2, j), file))


def read_message(protos, file, places, m, i):
    bad = protos.problems
    if m.nested_type or m.enum_type or m.oneof_decl:
        bad.add(file.path, places.line(4, i),
                f'{m.name}: no nested message or enum, no map, no oneof, no proto3 optional')
    fields = []
    for j, f in enumerate(m.field):
        line = places.line(4, i, 2, j)
        kind = KINDS.get(f.type)
        if not kind:
            bad.add(file.path, line, f'{m.name}.{f.name}: fields are string, int64, int32, bool, bytes,'
                    ' an enum or a message')
            kind = 'int'
        fields.append(Field(f.name, f.number, kind, f.type_name[1:], f.label == FIELD.LABEL_REPEATED,
                            options_of(f), places.comment(4, i, 2, j), line))
    fields.sort(key=lambda f: f.number)
    return Message(m.name, f'{file.package}.{m.name}', fields, options_of(m), places.comment(4, i),
                   places.line(4, i), file)


# ---- what a single file must keep to ----------------------------------------------------------------

def lint_file(protos, file):
    bad = protos.problems

    def say(thing, text):
        bad.add(file.path, thing.line, f'{thing.name}: {text}')

    for m in file.messages:
        lint_message(m, say)
    for e in file.enums:
        if not e.values[0].name.endswith('_UNSPECIFIED') or e.values[0].number != 0:
            say(e, 'its first value must be …_UNSPECIFIED = 0')
        if e.name == 'Reason':
            for v in e.values[1:]:
                if v.options.get('fails_with', 'OK') == 'OK':
                    say(v, 'a reason needs (souk.fails_with), and not OK')
    for r in file.rpcs:
        lint_rpc(protos, r, say)
    if file.service_name and snake(file.service_name) != file.service:
        bad.add(file.path, 1, f'service {file.service_name} must be named as its package'
                f' {file.package}')
    lint_names(protos, file)


def lint_names(protos, file):
    """Short names of messages and enum constants must be clear within one .c."""
    owners = {}
    for f in protos.visible(file):
        names = [(m.c_name, m.line) for m in f.messages]
        names += [(e.name, e.line) for e in f.enums if e.name != 'Reason']
        names += [(e.c_name(v), v.line) for e in f.enums if e.name != 'Reason' for v in e.values]
        for name, line in names:
            if name in owners and owners[name] != f.package:
                protos.problems.add(f.path, line, f'{name} is also a name of {owners[name]},'
                                    f' and {file.name}.proto sees both')
            owners[name] = f.package


def lint_message(m, say):
    names = {f.name for f in m.fields}
    for f in m.fields:
        if f.repeated and 'n_' + f.name in names:
            say(f, f'the C field n_{f.name} is the count of {f.name}')
        if f.name != snake(f.name) or f.name.endswith('_'):
            say(f, 'a field is named in snake_case')
        if f.name == 'base':
            say(f, 'protobuf-c keeps the name base for itself')
        o = f.options
        if ('min' in o or 'max' in o) and f.kind != 'int':
            say(f, 'min and max are for integers')
        if o.get('min', -2**63) > o.get('max', 2**63):
            say(f, 'min is above max')
        if f.kind != 'string' and ({'pattern', 'format', 'max_length'} & o.keys()):
            say(f, 'pattern, format and max_length are for strings')
        if 'max_items' in o and not f.repeated:
            say(f, 'max_items is for lists')
        if 'header' in o and (f.kind != 'string' or f.repeated
                              or not re.fullmatch(r'[a-z][a-z0-9-]*', o['header'])):
            say(f, 'header is a lower case name, of a string')
        if o.get('format', 'email') not in FORMATS:
            say(f, f'format is one of {", ".join(FORMATS)}')
    if m.options.get('event'):
        subject = m.field(m.options.get('subject', ''))
        if not subject or subject.kind != 'string' or subject.repeated:
            say(m, 'an event needs (souk.subject), one of its string fields')
        for f in m.fields:
            if f.options.get('secret'):
                say(f, 'no secret is ever in an event')


def lint_rpc(protos, r, say):
    o = r.options
    in_message, out_message = protos.messages[r.input], protos.messages[r.output]
    if 'route' not in o:
        for name in ('permission', 'granted_to', 'http_status', 'consumes', 'produces', 'body_max', 'stream',
                     'respond_async'):
            if name in o:
                say(r, f'({name}) without a (souk.route)')
        return
    if r.method not in METHODS or not re.fullmatch(r'(/([\w.:-]+|\{[a-z_]\w*\}))+', r.path):
        say(r, f'route must be like "POST /v1/orders/{{id}}/cancel", not "{o["route"]}"')
    if not o.get('permission'):
        say(r, 'a route needs a (souk.permission)')
    elif not re.fullmatch(r'[a-z_]+\.[a-z_]+', o['permission']):
        say(r, f'permission must be like "orders.cancel", not "{o["permission"]}"')
    for role in o.get('granted_to', []):
        if role not in ROLES:
            say(r, f'granted_to is one of {", ".join(ROLES)}, not "{role}"')
    for name in r.path_params:
        f = in_message.field(name)
        if not f or f.repeated or f.kind not in ('string', 'int'):
            say(r, f'{{{name}}} of its path is no string or integer field of {in_message.name}')
    if len(set(r.path_params)) != len(r.path_params):
        say(r, 'a path parameter stands twice')
    for option, message in (('consumes', in_message), ('produces', out_message)):
        f = message.field('body')
        if option in o and (not f or f.kind != 'bytes' or f.repeated):
            say(r, f'(souk.{option}) needs a bytes field "body" in {message.name}')
    if o.get('quick') and r.method != 'GET':
        say(r, 'only a GET may be quick: it must not write')
    if o.get('stream') and (r.method != 'GET' or not out_message.field('version')):
        say(r, 'only a GET whose answer has a version can be followed')
    if o.get('respond_async') and r.method != 'POST':
        say(r, 'only a POST is answered before its work is done')
    if not 200 <= r.http_status <= 299:
        say(r, f'http_status {r.http_status} is no success')
