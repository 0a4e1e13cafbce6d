"""Definitions that the tests run."""

import json


def text(states, start=None):
    """A definition of these states; begins at the first one."""
    return json.dumps({"StartAt": start or next(iter(states)), "States": states})


# Adds an answer to its input.
PASS = text({"Answer": {"Type": "Pass", "Result": 42, "ResultPath": "$.answer", "End": True}})
# The same with another answer.
OTHER = text({"Answer": {"Type": "Pass", "Result": 43, "ResultPath": "$.answer", "End": True}})
# Fails at once.
FAIL = text({"No": {"Type": "Fail", "Error": "Tests.No", "Cause": "it was asked to"}})
# Is open for as long as a test takes.
WAIT = text({"Sleep": {"Type": "Wait", "Seconds": 600, "Next": "Done"}, "Done": {"Type": "Succeed"}})
# Several kinds of states, and variables.
SEVERAL = text(
    {
        "Remember": {"Type": "Pass", "Assign": {"order.$": "$.order"}, "Next": "Which"},
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.amount", "NumericGreaterThan": 100, "Next": "Both"}],
            "Default": "Done",
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Bill", "States": {"Bill": {"Type": "Pass", "Result": "billed", "End": True}}},
                {"StartAt": "Ship", "States": {"Ship": {"Type": "Pass", "Result": "shipped", "End": True}}},
            ],
            "ResultPath": "$.both",
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {"StartAt": "One", "States": {"One": {"Type": "Pass", "End": True}}},
            "ResultPath": "$.each",
            "Next": "Done",
        },
        "Done": {"Type": "Succeed"},
    }
)
# A distributed Map over items of its input.
DISTRIBUTED = text(
    {
        "Spread": {
            "Type": "Map",
            "Label": "Spread",
            "ItemsPath": "$.items",
            "MaxConcurrency": 2,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "One",
                "States": {"One": {"Type": "Pass", "End": True}},
            },
            "End": True,
        }
    }
)


def task(resource):
    """One Task that somebody has to do."""
    return text({"Work": {"Type": "Task", "Resource": resource, "TimeoutSeconds": 600, "HeartbeatSeconds": 300, "End": True}})
