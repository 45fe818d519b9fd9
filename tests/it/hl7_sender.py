#!/usr/bin/env python3
"""Sends observations as HL7 v2 by MLLP and checks the answers, with hl7apy: nothing of it is wardwatch's.

    hl7_sender.py HOST PORT PATIENT COUNT   prints the code of each acknowledgement
"""

import socket
import sys

from hl7apy.core import Message
from hl7apy.parser import parse_message


def observations(patient, number):
    """A monitor's message of two observations of one second."""
    message = Message("ORU_R01", version="2.5")
    message.msh.msh_3 = "MONITOR"
    message.msh.msh_4 = "ICU"
    message.msh.msh_5 = "WARDWATCH"
    message.msh.msh_7 = "20260101000000+0000"
    message.msh.msh_9 = "ORU^R01^ORU_R01"
    message.msh.msh_10 = f"{patient}-{number}"
    message.msh.msh_11 = "P"
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    person = result.add_group("ORU_R01_PATIENT").pid
    person.pid_3 = f"{patient}^^^HOSPITAL"
    person.pid_5 = "DOE^JANE"
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    order.obr.obr_4 = "VITALS"
    order.obr.obr_7 = f"202601010000{number:02}+0000"
    for code, value, unit in (("8867-4^Heart rate^LN", 70 + number, "/min"), ("59408-5^SpO2^LN", 97, "%")):
        observation = order.add_group("ORU_R01_OBSERVATION").obx
        observation.obx_2 = "NM"
        observation.obx_3 = code
        observation.obx_5 = str(value)
        observation.obx_6 = unit
        observation.obx_11 = "F"
    message.validate()
    return message


def answer(connection):
    received = b""
    while not received.endswith(b"\x1c\r"):
        more = connection.recv(4096)
        if not more:
            sys.exit(f"hung up after {received!r}")
        received += more
    if received[:1] != b"\x0b":
        sys.exit(f"no frame: {received!r}")
    return parse_message(received[1:-2].decode())


def main():
    host, port, patient, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with socket.create_connection((host, port), timeout=30) as connection:
        for number in range(count):
            message = observations(patient, number)
            connection.sendall(message.to_mllp().encode())
            acknowledged = answer(connection)
            acknowledged.validate()
            if acknowledged.msa.msa_2.value != message.msh.msh_10.value:
                sys.exit(f"an answer to another message: {acknowledged.to_er7()!r}")
            if acknowledged.msh.msh_5.value != "MONITOR" or acknowledged.msh.msh_3.value != "WARDWATCH":
                sys.exit(f"an answer to somebody else: {acknowledged.to_er7()!r}")
            print(acknowledged.msa.msa_1.value)


main()
