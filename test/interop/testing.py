"""grpc.testing.TestService by a stack that is not ours (python3-grpcio): its messages, a server, and cases
as in gRPC's interop-test-descriptions.md."""
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
SERVICE = 'grpc.testing.TestService'
INITIAL, TRAILING = 'x-grpc-test-echo-initial', 'x-grpc-test-echo-trailing-bin'
REQUEST_SIZES, ANSWER_SIZES = [27182, 8, 1828, 45904], [31415, 9, 2653, 58979]
SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n'

# Message: field, number, type or message, repeated
MESSAGES = {
    'Empty': [],
    'Payload': [('type', 1, F.TYPE_INT32), ('body', 2, F.TYPE_BYTES)],
    'EchoStatus': [('code', 1, F.TYPE_INT32), ('message', 2, F.TYPE_STRING)],
    'SimpleRequest': [('response_size', 2, F.TYPE_INT32), ('payload', 3, 'Payload'),
                      ('response_status', 7, 'EchoStatus')],
    'SimpleResponse': [('payload', 1, 'Payload')],
    'StreamingInputCallRequest': [('payload', 1, 'Payload')],
    'StreamingInputCallResponse': [('aggregated_payload_size', 1, F.TYPE_INT32)],
    'ResponseParameters': [('size', 1, F.TYPE_INT32), ('interval_us', 2, F.TYPE_INT32)],
    'StreamingOutputCallRequest': [('response_parameters', 2, 'ResponseParameters', True), ('payload', 3, 'Payload'),
                                   ('response_status', 7, 'EchoStatus')],
    'StreamingOutputCallResponse': [('payload', 1, 'Payload')],
}
# Method: request, response, which of them are streams
METHODS = {
    'EmptyCall': ('Empty', 'Empty', False, False),
    'UnaryCall': ('SimpleRequest', 'SimpleResponse', False, False),
    'CacheableUnaryCall': ('SimpleRequest', 'SimpleResponse', False, False),
    'StreamingOutputCall': ('StreamingOutputCallRequest', 'StreamingOutputCallResponse', False, True),
    'StreamingInputCall': ('StreamingInputCallRequest', 'StreamingInputCallResponse', True, False),
    'FullDuplexCall': ('StreamingOutputCallRequest', 'StreamingOutputCallResponse', True, True),
    'UnimplementedCall': ('Empty', 'Empty', False, False),
}


def testing_file():
    file = descriptor_pb2.FileDescriptorProto(name='grpc/testing/test.proto', package='grpc.testing', syntax='proto3')
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, *repeated in fields:
            added = message.field.add(name=field, number=number,
                                      label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = F.TYPE_MESSAGE, f'.grpc.testing.{kind}'
            else:
                added.type = kind
    service = file.service.add(name='TestService')
    for name, (request, response, many_in, many_out) in METHODS.items():
        service.method.add(name=name, input_type=f'.grpc.testing.{request}', output_type=f'.grpc.testing.{response}',
                           client_streaming=many_in, server_streaming=many_out)
    return file


def classes(file):
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f'{file.package}.{name}'))
            for name in (m.name for m in file.message_type)}


T = classes(testing_file())


def payload(n):
    return T['Payload'](body=bytes(n))


# ---- the server ------------------------------------------------------------------------------------------------


class Handlers:
    """What the service does."""

    def __init__(self):
        self.cancelled = 0

    def echo(self, context):
        for name, value in context.invocation_metadata():
            if name == INITIAL:
                context.send_initial_metadata(((name, value),))
            elif name == TRAILING:
                context.set_trailing_metadata(((name, value),))

    def status(self, request, context):
        if request.response_status.code:
            context.set_code({c.value[0]: c for c in grpc.StatusCode}[request.response_status.code])
            context.set_details(request.response_status.message)
        return request.response_status.code

    def EmptyCall(self, request, context):
        return T['Empty']()

    def UnaryCall(self, request, context):
        self.echo(context)
        self.status(request, context)
        return T['SimpleResponse'](payload=payload(request.response_size))

    CacheableUnaryCall = UnaryCall

    def StreamingOutputCall(self, request, context):
        for wanted in request.response_parameters:
            time.sleep(wanted.interval_us / 1e6)
            yield T['StreamingOutputCallResponse'](payload=payload(wanted.size))

    def StreamingInputCall(self, requests, context):
        return T['StreamingInputCallResponse'](aggregated_payload_size=sum(len(r.payload.body) for r in requests))

    def FullDuplexCall(self, requests, context):
        self.echo(context)
        for request in requests:
            if self.status(request, context):
                return
            yield from self.StreamingOutputCall(request, context)


def serve(address, credentials=None):
    """A server with Handlers: it and its port."""
    handlers, rpcs = Handlers(), {}
    for name, (request, response, many_in, many_out) in METHODS.items():
        if not hasattr(handlers, name):
            continue
        kind = f'{"stream" if many_in else "unary"}_{"stream" if many_out else "unary"}_rpc_method_handler'
        rpcs[name] = getattr(grpc, kind)(getattr(handlers, name), T[request].FromString,
                                         T[response].SerializeToString)
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, rpcs),))
    port = server.add_insecure_port(address) if not credentials else server.add_secure_port(address, credentials)
    server.start()
    return server, port


# ---- the client ------------------------------------------------------------------------------------------------


class Stub:
    def __init__(self, channel, service=SERVICE):
        for name, (request, response, many_in, many_out) in METHODS.items():
            kind = f'{"stream" if many_in else "unary"}_{"stream" if many_out else "unary"}'
            setattr(self, name, getattr(channel, kind)(f'/{service}/{name}', T[request].SerializeToString,
                                                       T[response].FromString))
