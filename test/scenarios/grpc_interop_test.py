#!/usr/bin/python3
"""gRPC with a stack that is not ours (grpcio, h2load), by gRPC's published interoperability cases:
its client against our server, our client against its server; health, reflection, TLS."""
import queue
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'test'))
sys.path.insert(0, str(ROOT / 'test/interop'))
from souk import BINARY, main  # noqa: E402
from testing import (ANSWER_SIZES, F, INITIAL, REQUEST_SIZES, SPECIAL, TRAILING, Stub, T, classes,  # noqa: E402
                     payload, serve, testing_file)

FOLDER = Path(BINARY).parent / 'test'
TIMEOUT_S = 30


class Server:
    """interop_server, ours."""

    def __init__(self, listen='127.0.0.1:0', descriptors='/dev/null', tls=()):
        self.process = subprocess.Popen([FOLDER / 'interop_server', listen, descriptors, *tls],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def say(self, word):
        self.process.stdin.write(word + '\n')
        self.process.stdin.flush()
        assert self.process.stdout.readline() == 'done\n'

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=TIMEOUT_S)
        self.process.stdout.close()
        return code


def health_file():
    file = descriptor_pb2.FileDescriptorProto(name='h.proto', package='grpc.health.v1', syntax='proto3')
    file.message_type.add(name='HealthCheckRequest').field.add(name='service', number=1, type=F.TYPE_STRING)
    file.message_type.add(name='HealthCheckResponse').field.add(name='status', number=1, type=F.TYPE_INT32)
    return file


def reflection_file(package):
    file = descriptor_pb2.FileDescriptorProto(name='r.proto', package=package, syntax='proto3')

    def add(name, *fields):
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            many = field.endswith('s')
            added = message.field.add(name=field, number=number, label=F.LABEL_REPEATED if many else F.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = F.TYPE_MESSAGE, f'.{package}.{kind}'
            else:
                added.type = kind
    add('Extension', ('containing_type', 1, F.TYPE_STRING), ('extension_number', 2, F.TYPE_INT32))
    add('Request', ('host', 1, F.TYPE_STRING), ('file_by_filename', 3, F.TYPE_STRING),
        ('file_containing_symbol', 4, F.TYPE_STRING), ('file_containing_extension', 5, 'Extension'),
        ('all_extension_numbers_of_type', 6, F.TYPE_STRING), ('list', 7, F.TYPE_STRING))
    add('Files', ('file_descriptor_protos', 1, F.TYPE_BYTES))
    add('Numbers', ('base_type_name', 1, F.TYPE_STRING), ('extension_numbers', 2, F.TYPE_INT32))
    add('Service', ('name', 1, F.TYPE_STRING))
    add('Services', ('services', 1, 'Service'))
    add('Error', ('error_code', 1, F.TYPE_INT32), ('error_message', 2, F.TYPE_STRING))
    add('Response', ('valid_host', 1, F.TYPE_STRING), ('original_request', 2, 'Request'),
        ('file', 4, 'Files'), ('number', 5, 'Numbers'), ('list', 6, 'Services'), ('error', 7, 'Error'))
    return file


def descriptor_set():
    """The service's own file, and one with an extension."""
    extra = descriptor_pb2.FileDescriptorProto(name='extra.proto', package='extra', syntax='proto2')
    outer = extra.message_type.add(name='Outer')
    outer.extension_range.add(start=100, end=200)
    outer.nested_type.add(name='Inner')
    extra.enum_type.add(name='Colour').value.add(name='RED', number=0)
    extra.extension.add(name='more', number=123, label=F.LABEL_OPTIONAL, type=F.TYPE_INT32, extendee='.extra.Outer')
    return descriptor_pb2.FileDescriptorSet(file=[testing_file(), extra])


class StockClient(unittest.TestCase):
    """grpcio's client against our server."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = Path(cls.folder.name) / 'descriptors'
        path.write_bytes(descriptor_set().SerializeToString())
        cls.server = Server(descriptors=path)
        cls.channel = grpc.insecure_channel(f'127.0.0.1:{cls.server.port}')
        cls.stub = Stub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        assert cls.server.close() == 0
        cls.folder.cleanup()

    def fails(self, code, call, *arguments, **more):
        with self.assertRaises(grpc.RpcError) as caught:
            done = call(*arguments, timeout=TIMEOUT_S, **more)
            list(done)
        self.assertEqual(caught.exception.code(), code)
        return caught.exception

    def test_empty_unary(self):
        self.assertEqual(self.stub.EmptyCall(T['Empty'](), timeout=TIMEOUT_S), T['Empty']())

    def test_large_unary(self):
        ask = T['SimpleRequest'](response_size=314159, payload=payload(271828))
        self.assertEqual(len(self.stub.UnaryCall(ask, timeout=TIMEOUT_S).payload.body), 314159)

    def test_largest_unary(self):
        size = (4 << 20) - 20
        ask = T['SimpleRequest'](response_size=size, payload=payload(size - 20))
        channel = grpc.insecure_channel(f'127.0.0.1:{self.server.port}',
                                        [('grpc.max_receive_message_length', 4 << 20)])
        with channel:
            self.assertEqual(len(Stub(channel).UnaryCall(ask, timeout=TIMEOUT_S).payload.body), size)

    def test_cacheable_unary(self):
        ask = T['SimpleRequest'](response_size=10)
        answer = self.stub.CacheableUnaryCall(ask, timeout=TIMEOUT_S, metadata=(('x-user-ip', '1.2.3.4'),))
        self.assertEqual(len(answer.payload.body), 10)

    def test_too_large_unary(self):
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, self.stub.UnaryCall,
                   T['SimpleRequest'](payload=payload(5 << 20)))

    def test_client_streaming(self):
        asks = (T['StreamingInputCallRequest'](payload=payload(n)) for n in REQUEST_SIZES)
        self.assertEqual(self.stub.StreamingInputCall(asks, timeout=TIMEOUT_S).aggregated_payload_size, 74922)

    def test_server_streaming(self):
        ask = T['StreamingOutputCallRequest'](response_parameters=[{'size': n} for n in ANSWER_SIZES])
        sizes = [len(a.payload.body) for a in self.stub.StreamingOutputCall(ask, timeout=TIMEOUT_S)]
        self.assertEqual(sizes, ANSWER_SIZES)

    def duplex(self):
        asks = queue.Queue()
        return asks, self.stub.FullDuplexCall(iter(asks.get, None), timeout=TIMEOUT_S)

    def test_ping_pong(self):
        asks, answers = self.duplex()
        for ask, answer in zip(REQUEST_SIZES, ANSWER_SIZES):
            asks.put(T['StreamingOutputCallRequest'](response_parameters=[{'size': answer}], payload=payload(ask)))
            self.assertEqual(len(next(answers).payload.body), answer)
        asks.put(None)
        self.assertEqual(list(answers), [])

    def test_empty_stream(self):
        self.assertEqual(list(self.stub.FullDuplexCall(iter(()), timeout=TIMEOUT_S)), [])

    def test_custom_metadata(self):
        metadata = ((INITIAL, 'test_initial_metadata_value'), (TRAILING, b'\xab\xab\xab'))
        ask = T['SimpleRequest'](response_size=314159, payload=payload(271828))
        _, call = self.stub.UnaryCall.with_call(ask, timeout=TIMEOUT_S, metadata=metadata)
        self.assertIn(metadata[0], call.initial_metadata())
        self.assertIn(metadata[1], call.trailing_metadata())
        ask = T['StreamingOutputCallRequest'](response_parameters=[{'size': 314159}], payload=payload(271828))
        call = self.stub.FullDuplexCall(iter((ask,)), timeout=TIMEOUT_S, metadata=metadata)
        self.assertEqual(len(list(call)), 1)
        self.assertIn(metadata[0], call.initial_metadata())
        self.assertIn(metadata[1], call.trailing_metadata())

    def test_status_code_and_message(self):
        for why in ('test status message', SPECIAL):
            status = {'code': 2, 'message': why}
            error = self.fails(grpc.StatusCode.UNKNOWN, self.stub.UnaryCall, T['SimpleRequest'](response_status=status))
            self.assertEqual(error.details(), why)
            ask = T['StreamingOutputCallRequest'](response_status=status)
            error = self.fails(grpc.StatusCode.UNKNOWN, self.stub.FullDuplexCall, iter((ask,)))
            self.assertEqual(error.details(), why)

    def test_unimplemented(self):
        self.fails(grpc.StatusCode.UNIMPLEMENTED, self.stub.UnimplementedCall, T['Empty']())
        other = Stub(self.channel, 'grpc.testing.UnimplementedService')
        self.fails(grpc.StatusCode.UNIMPLEMENTED, other.UnimplementedCall, T['Empty']())

    def test_compressed_requests_are_unimplemented(self):
        error = self.fails(grpc.StatusCode.UNIMPLEMENTED, self.stub.UnaryCall,
                           T['SimpleRequest'](payload=payload(10000)), compression=grpc.Compression.Gzip)
        self.assertIn('identity', error.details())

    def test_timeout_on_sleeping_server(self):
        asks = queue.Queue()
        asks.put(T['StreamingOutputCallRequest'](payload=payload(27182)))
        call = self.stub.FullDuplexCall(iter(asks.get, None), timeout=0.001)
        with self.assertRaises(grpc.RpcError) as caught:
            list(call)
        asks.put(None)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)

    def test_cancel_after_begin(self):
        asks = queue.Queue()
        call = self.stub.StreamingInputCall.future(iter(asks.get, None), timeout=TIMEOUT_S)
        call.cancel()
        asks.put(None)
        self.assertTrue(call.cancelled())
        self.assertEqual(call.code(), grpc.StatusCode.CANCELLED)

    def test_cancel_after_first_response(self):
        asks, answers = self.duplex()
        asks.put(T['StreamingOutputCallRequest'](response_parameters=[{'size': 31415}], payload=payload(27182)))
        next(answers)
        answers.cancel()
        asks.put(None)
        self.assertEqual(answers.code(), grpc.StatusCode.CANCELLED)

    def test_health(self):
        kinds = classes(health_file())
        ask = kinds['HealthCheckRequest']
        check = self.channel.unary_unary('/grpc.health.v1.Health/Check', ask.SerializeToString,
                                         kinds['HealthCheckResponse'].FromString)
        watch = self.channel.unary_stream('/grpc.health.v1.Health/Watch', ask.SerializeToString,
                                          kinds['HealthCheckResponse'].FromString)
        for service in ('', 'grpc.testing.TestService'):
            self.assertEqual(check(ask(service=service), timeout=TIMEOUT_S).status, 1)
        self.fails(grpc.StatusCode.NOT_FOUND, check, ask(service='nobody'))
        unknown = watch(ask(service='nobody'), timeout=TIMEOUT_S)
        self.assertEqual(next(unknown).status, 3)
        unknown.cancel()
        seen = watch(ask(), timeout=TIMEOUT_S)
        self.assertEqual(next(seen).status, 1)
        self.server.say('unhealthy')
        self.assertEqual(next(seen).status, 2)
        self.assertEqual(check(ask(), timeout=TIMEOUT_S).status, 2)
        self.server.say('healthy')
        self.assertEqual(next(seen).status, 1)
        seen.cancel()

    def test_reflection(self):
        wanted = {f.name: f for f in descriptor_set().file}
        for package in ('grpc.reflection.v1', 'grpc.reflection.v1alpha'):
            kinds = classes(reflection_file(package))
            rpc = self.channel.stream_stream(f'/{package}.ServerReflection/ServerReflectionInfo',
                                             kinds['Request'].SerializeToString, kinds['Response'].FromString)

            def found(answer):
                return descriptor_pb2.FileDescriptorProto.FromString(answer.file.file_descriptor_protos[0])
            asks = [{'list': '*'}, {'file_by_filename': 'extra.proto'},
                    {'file_containing_symbol': 'grpc.testing.TestService'},
                    {'file_containing_symbol': 'grpc.testing.TestService.UnaryCall'},
                    {'file_containing_symbol': 'extra.Outer.Inner'}, {'file_containing_symbol': 'extra.Colour'},
                    {'file_containing_extension': {'containing_type': 'extra.Outer', 'extension_number': 123}},
                    {'all_extension_numbers_of_type': 'extra.Outer'}, {'file_containing_symbol': 'extra.Nothing'},
                    {'file_by_filename': 'nothing.proto'}, {}]
            answers = list(rpc(iter([kinds['Request'](host='h', **a) for a in asks]), timeout=TIMEOUT_S))
            self.assertEqual([s.name for s in answers[0].list.services], ['grpc.testing.TestService'])
            for i, name in enumerate(['extra.proto', 'grpc/testing/test.proto', 'grpc/testing/test.proto',
                                      'extra.proto', 'extra.proto', 'extra.proto'], 1):
                self.assertEqual(found(answers[i]), wanted[name], asks[i])
            self.assertEqual(list(answers[7].number.extension_numbers), [123])
            self.assertEqual([a.error.error_code for a in answers[8:]], [5, 5, 12])
            self.assertTrue(all(a.valid_host == 'h' for a in answers))

    def test_many_calls_at_once(self):
        calls = [self.stub.UnaryCall.future(T['SimpleRequest'](response_size=n), timeout=TIMEOUT_S)
                 for n in range(2000)]
        self.assertEqual([len(c.result().payload.body) for c in calls], list(range(2000)))

    def test_h2load_sees_no_error(self):
        with tempfile.NamedTemporaryFile() as body:
            body.write(b'\0\0\0\0\0')
            body.flush()
            done = subprocess.run(['h2load', '-n', '20000', '-c', '4', '-m', '100', '-d', body.name, '-H',
                                   'content-type: application/grpc', '-H', 'te: trailers',
                                   f'http://127.0.0.1:{self.server.port}/grpc.testing.TestService/EmptyCall'],
                                  capture_output=True, text=True, timeout=120)
        self.assertIn('20000 succeeded, 0 failed, 0 errored, 0 timeout', done.stdout)
        self.assertTrue(re.search(r'status codes: 20000 2xx', done.stdout), done.stdout)


class MutualTls(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.at = Path(folder.name)
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                     '-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem')
        for name in ('server', 'client'):
            self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}',
                         '-keyout', f'{name}.key', '-out', f'{name}.csr')
            (self.at / 'names').write_text(f'subjectAltName=DNS:{name},DNS:localhost')
            self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
                         '-days', '2', '-extfile', 'names', '-out', f'{name}.pem')

    def openssl(self, *arguments):
        subprocess.run(['openssl', *arguments], cwd=self.at, check=True, capture_output=True)

    def papers(self, name):
        return [self.at / 'ca.pem', self.at / f'{name}.pem', self.at / f'{name}.key']

    def test_a_stock_client(self):
        server = Server(tls=self.papers('server'))
        ca, certificate, key = (p.read_bytes() for p in self.papers('client'))
        with grpc.secure_channel(f'localhost:{server.port}',
                                 grpc.ssl_channel_credentials(ca, key, certificate)) as channel:
            self.assertEqual(Stub(channel).EmptyCall(T['Empty'](), timeout=TIMEOUT_S), T['Empty']())
        with grpc.secure_channel(f'localhost:{server.port}', grpc.ssl_channel_credentials(ca)) as channel:
            with self.assertRaises(grpc.RpcError) as caught:
                Stub(channel).EmptyCall(T['Empty'](), timeout=TIMEOUT_S)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(server.close(), 0)

    def test_a_stock_server(self):
        ca, certificate, key = (p.read_bytes() for p in self.papers('server'))
        server, port = serve('localhost:0', grpc.ssl_server_credentials([(key, certificate)], ca, True))
        StockServer.check(self, f'localhost:{port}', self.papers('client'))
        server.stop(0).wait()


class StockClientElsewhere(unittest.TestCase):
    def test_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(f'unix:{folder}/s')
            with grpc.insecure_channel(f'unix:{folder}/s') as channel:
                self.assertEqual(Stub(channel).EmptyCall(T['Empty'](), timeout=TIMEOUT_S), T['Empty']())
            self.assertEqual(server.close(), 0)

    def test_a_drain_lets_calls_end(self):
        server = Server()
        with grpc.insecure_channel(f'127.0.0.1:{server.port}') as channel:
            ask = T['StreamingOutputCallRequest'](
                response_parameters=[{'size': 1}, {'size': 2, 'interval_us': 300000}])
            answers = Stub(channel).StreamingOutputCall(ask, timeout=TIMEOUT_S)
            next(answers)
            server.say('drain')
            self.assertEqual(len(list(answers)), 1)
        self.assertEqual(server.close(), 0)


class StockServer(unittest.TestCase):
    """Our client against grpcio's server: interop_client runs all cases and names them."""

    def check(self, target, tls=()):
        done = subprocess.run([FOLDER / 'interop_client', target, *tls], capture_output=True, text=True, timeout=120)
        cases = dict(line.split(': ', 1) for line in done.stdout.splitlines())
        self.assertEqual({c: w for c, w in cases.items() if w != 'ok'}, {}, done.stderr)
        self.assertEqual((len(cases), done.returncode), (14, 0), done.stderr)

    def test_cases_over_tcp(self):
        server, port = serve('127.0.0.1:0')
        self.check(f'127.0.0.1:{port}')
        server.stop(0).wait()

    def test_cases_over_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            server, _ = serve(f'unix:{folder}/s')
            self.check(f'unix:{folder}/s')
            server.stop(0).wait()


main()
