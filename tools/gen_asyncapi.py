"""All protos → the events as AsyncAPI 3.0: a channel for each topic, CloudEvents 1.0 in JSON.

The payload's look is bus/message_json.c's: as in the public API, but an unset time and an absent message
are left out.
"""
import json

from gen_common import snake
from gen_openapi import Schemas, described, is_time, version

TEXT = {'type': 'string'}


class EventSchemas(Schemas):
    def __init__(self, protos):
        super().__init__(protos, [])
        for file in protos.asked:
            for m in file.events:
                self.reach(m.full, self.answered)
        self.names = self.short_names()

    def is_there(self, f, asked):
        return not is_time(f) and f.kind != 'message' and not f.options.get('optional')

    def nullable(self, f, schema):
        return schema


def asyncapi_json(protos):
    return json.dumps(document(protos), indent=2, ensure_ascii=False) + '\n'


def document(protos):
    schemas = EventSchemas(protos)
    events = sorted((f'{file.service}.{snake(m.name)}', file, m) for file in protos.asked for m in file.events)
    return {
        'asyncapi': '3.0.0',
        'info': {'title': 'Souk', 'version': version(protos.root),
                 'description': 'Domain events, at least once, in order for each publisher and subject.'},
        'defaultContentType': 'application/cloudevents+json',
        'channels': {topic: {'address': topic, **described(m.comment),
                             'messages': {m.name: {'$ref': f'#/components/messages/{m.c_name}'}}}
                     for topic, _, m in events},
        'operations': {f'{file.service}_publishes_{snake(m.name)}':
                       {'action': 'send', 'channel': {'$ref': f'#/channels/{topic}'}} for topic, file, m in events},
        'components': {'messages': {m.c_name: message(schemas, topic, file, m) for topic, file, m in events},
                       'schemas': {'CloudEvent': envelope(), **schemas.all()}},
    }


def message(schemas, topic, file, m):
    return {'name': m.name, **described(m.comment),
            'payload': {'allOf': [{'$ref': '#/components/schemas/CloudEvent'},
                                  {'properties': {'type': {'const': topic},
                                                  'source': {'const': f'/souk/{file.service}'},
                                                  'dataschema': {'const': m.full},
                                                  'subject': {'type': 'string', 'description':
                                                              f'The {m.options["subject"]}.'},
                                                  'data': schemas.ref(m.full)}}]}}


def envelope():
    return {'type': 'object', 'description': 'CloudEvents 1.0, structured mode.',
            'required': ['specversion', 'id', 'source', 'type', 'time', 'subject', 'sequence', 'data'],
            'properties': {
                'specversion': {'const': '1.0'}, 'id': TEXT, 'source': TEXT, 'type': TEXT,
                'time': {'type': 'string', 'format': 'date-time'}, 'subject': TEXT,
                'datacontenttype': {'const': 'application/json'}, 'dataschema': TEXT,
                'sequence': {'description': 'By publisher and subject, from 1, without gaps.',
                             'type': 'integer'},
                'correlationid': TEXT, 'causationid': TEXT, 'traceparent': TEXT, 'data': {'type': 'object'}}}
