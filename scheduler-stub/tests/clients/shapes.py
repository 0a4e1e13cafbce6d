"""Holds raw answers of the front door to the models that clients have.

Purpose: a client's parser drops members that it does not know and takes numbers for texts; other clients do not. So what is
looked at is the JSON as it came. Every answer of a watched client is checked: required members are there, each has its type,
texts are among those that the model lists, nothing is there that the model does not have, and errors are those that the operation
names, or common ones. What is found is kept in `FAULTS`, and fails the run (`all.py`) as well as the test in which it was found.
"""

import json

# What any operation may answer, whatever its model names
# (docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html).
COMMON = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InternalFailure",
    "InvalidSignatureException",
    "MalformedHttpRequestException",
    "MissingAuthenticationTokenException",
    "OutcomeUnknown",
    "RequestEntityTooLargeException",
    "RequestTimeoutException",
    "SerializationException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
}

# 2020 and 2100: a time outside is one in milliseconds, or none.
SECONDS = (1_577_836_800, 4_102_444_800)

FAULTS = []
# What each operation has answered: `ok`, or names of errors.
COVERED = {}


def covered(operation, outcome):
    """Notes an outcome of an operation, spelt `api Name`."""
    COVERED.setdefault(operation, set()).add(outcome)


def faults_of(shape, value, place):
    """Yields in words how a JSON value differs from a botocore shape."""
    check = CHECKS.get(shape.type_name)
    if check is None:
        yield f"{place}: the model has a type that is not known here: {shape.type_name}"
    else:
        yield from check(shape, value, place)


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(shape, value, place):
    if not isinstance(value, str):
        yield f"{place}: {value!r} is no text"
    elif shape.enum and value not in shape.enum:
        yield f"{place}: {value!r} is none of {shape.enum}"


def _integer(_shape, value, place):
    if not _is_int(value):
        yield f"{place}: {value!r} is no whole number"


def _number(_shape, value, place):
    if not _is_number(value):
        yield f"{place}: {value!r} is no number"


def _boolean(_shape, value, place):
    if not isinstance(value, bool):
        yield f"{place}: {value!r} is neither true nor false"


def _time(_shape, value, place):
    if not _is_number(value) or not SECONDS[0] < value < SECONDS[1]:
        yield f"{place}: {value!r} is no time in seconds"


def _list(shape, value, place):
    if not isinstance(value, list):
        yield f"{place}: {value!r} is no list"
        return
    for at, item in enumerate(value):
        yield from faults_of(shape.member, item, f"{place}[{at}]")


def _map(shape, value, place):
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    for key, item in value.items():
        yield from faults_of(shape.value, item, f"{place}.{key}")


def _structure(shape, value, place):
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    for name in shape.required_members:
        if name not in value:
            yield f"{place}: {name} is missing"
    for name, item in value.items():
        if name in shape.members:
            yield from faults_of(shape.members[name], item, f"{place}.{name}")
        else:
            yield f"{place}: {name} is not in the model"


CHECKS = {
    "string": _text,
    "integer": _integer,
    "long": _integer,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
    "timestamp": _time,
    "list": _list,
    "map": _map,
    "structure": _structure,
}


def _faults_of_success(model, response, body):
    if response.status_code != 200:
        yield f"HTTP {response.status_code}"
    if model.output_shape is None:
        if body != {}:
            yield f"the model has no output, and {body!r} came"
    else:
        yield from faults_of(model.output_shape, body, model.name)
    if model.name == "GetExecutionHistory":
        yield from _faults_of_history(body)


def _faults_of_history(body):
    """An event has the details that its type says, and no others."""
    for event in body.get("events", []):
        details = [name for name in event if name.endswith("EventDetails")]
        kind = event.get("type", "")
        fits = kind[:1].lower() + kind[1:] + "EventDetails"
        if kind.endswith("StateEntered"):
            fits = "stateEnteredEventDetails"
        elif kind.endswith("StateExited"):
            fits = "stateExitedEventDetails"
        if details not in ([], [fits]):
            yield f"event {event.get('id')} of type {kind} has {details}"


def _faults_of_error(model, response, body):
    kind = str(body.get("__type", ""))
    name = kind.rpartition("#")[2]
    shapes = {shape.name: shape for shape in model.error_shapes}
    if name not in shapes and name not in COMMON:
        yield f"{name!r} is an error that neither the model nor the service as a whole has"
    rest = {member: value for member, value in body.items() if member != "__type"}
    if name in shapes:
        yield from faults_of(shapes[name], rest, name)
    if not str(body.get("message", "")).strip():
        yield f"{name} has no message"


def _after(http_response, model, **_):
    operation = f"sfn {model.name}"
    found = []
    try:
        body = json.loads(http_response.content)
        is_object = isinstance(body, dict)
    except ValueError:
        body, is_object = {}, False
    if not is_object:
        found.append(f"no JSON object: {http_response.content[:200]!r}")
    headers = http_response.headers
    if not headers.get("x-amzn-RequestId"):
        found.append("no x-amzn-RequestId")
    if headers.get("Content-Type") != "application/x-amz-json-1.0":
        found.append(f"Content-Type is {headers.get('Content-Type')!r}")
    if http_response.status_code < 300:
        covered(operation, "ok")
        found.extend(_faults_of_success(model, http_response, body))
    else:
        covered(operation, str(body.get("__type", "")).rpartition("#")[2])
        found.extend(_faults_of_error(model, http_response, body))
    FAULTS.extend(f"{model.name}: {fault}" for fault in found)


def watch(client):
    """Checks every answer that a boto3 client for Step Functions gets; gives the client back."""
    client.meta.events.register("after-call.sfn", _after)
    return client


def take_faults():
    """What was found since it was asked last."""
    found = list(FAULTS)
    FAULTS.clear()
    return found
