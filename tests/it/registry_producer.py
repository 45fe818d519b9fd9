#!/usr/bin/env python3
"""Produces vitals by confluent-kafka's serialisers, whose schemas a registry has: nothing of it is wardwatch's.

    registry_producer.py BROKERS REGISTRY TOPIC avro|protobuf|json VERSION PATIENT FIRST COUNT

Version 1 has a heart rate; version 2 has saturation too, a nested patient of a schema of its own, and its fields in another order.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def avro(registry, topic, version):
    time = {"type": "long", "logicalType": "timestamp-millis"}
    if version == 1:
        fields = [("patient_id", "string"), ("event_time", time), ("heart_rate", "double")]
        references = []
    else:
        patient = {"type": "record", "name": "Patient", "namespace": "ward",
                   "fields": [{"name": "id", "type": "string"}, {"name": "bed", "type": ["null", "string"], "default": None}]}
        registry.register_schema(f"{topic}-patient", Schema(json.dumps(patient), "AVRO"))
        fields = [("spo2", ["null", "double"]), ("heart_rate", "double"), ("patient", "ward.Patient"), ("event_time", time)]
        references = [SchemaReference("ward.Patient", f"{topic}-patient", 1)]
    schema = {"type": "record", "name": "Vitals", "namespace": "ward",
              "fields": [{"name": name, "type": kind} for name, kind in fields]}
    serializer = AvroSerializer(registry, Schema(json.dumps(schema), "AVRO", references))

    def reading(patient, at, number):
        if version == 1:
            return {"patient_id": patient, "event_time": at, "heart_rate": 70.0 + number}
        return {"patient": {"id": patient, "bed": None}, "event_time": at, "heart_rate": 70.0 + number, "spo2": 97.0}

    return serializer, reading


def protobuf(registry, topic, version):
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{topic}.proto", package="ward", syntax="proto3")
    message = file.message_type.add(name="Vitals")
    fields = [("patient_id", field.TYPE_STRING), ("event_time", field.TYPE_STRING), ("heart_rate", field.TYPE_DOUBLE)]
    if version == 2:
        fields.append(("spo2", field.TYPE_DOUBLE))
    for number, (name, kind) in enumerate(fields, 1):
        message.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    vitals = message_factory.GetMessageClass(pool.FindMessageTypeByName("ward.Vitals"))

    def reading(patient, at, number):
        more = {"spo2": 97.0} if version == 2 else {}
        return vitals(patient_id=patient, event_time=at.isoformat(), heart_rate=70.0 + number, **more)

    return ProtobufSerializer(vitals, registry, {"use.deprecated.format": False}), reading


def json_schema(registry, topic, version):
    number = {"type": "number"}
    properties = {"patient_id": {"type": "string"}, "event_time": {"type": "string"}, "heart_rate": number}
    if version == 2:
        properties["spo2"] = number
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Vitals", "type": "object", "properties": properties}

    def reading(patient, at, number):
        more = {"spo2": 97.0} if version == 2 else {}
        return {"patient_id": patient, "event_time": at.isoformat(), "heart_rate": 70.0 + number, **more}

    return JSONSerializer(json.dumps(schema), registry), reading


def main():
    brokers, url, topic, form, version, patient, first, count = sys.argv[1:]
    registry = SchemaRegistryClient({"url": url})
    make = {"avro": avro, "protobuf": protobuf, "json": json_schema}[form]
    serializer, reading = make(registry, topic, int(version))
    producer = Producer({"bootstrap.servers": brokers})
    for number in range(int(first), int(first) + int(count)):
        value = reading(patient, BEGIN + timedelta(seconds=number), number)
        data = serializer(value, SerializationContext(topic, MessageField.VALUE))
        producer.produce(topic, key=patient.encode(), value=data)
    if producer.flush(30):
        sys.exit("Kafka does not take the records")


main()
