"""Tencent's ASW by the stock client of its SDK: all actions, and what misuse gives, by code.

The SDK's models know less than the API answers (of `DescribeExecutions` nothing at all), so that what came is looked at as JSON as well.
"""

import json
import unittest

from tencentcloud.asw.v20200722 import asw_client, models
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

import door
import machines
import shapes

CLIENT = None

PUBLISHED = {
    "CreateFlowService",
    "DescribeExecution",
    "DescribeExecutionHistory",
    "DescribeExecutions",
    "DescribeFlowServiceDetail",
    "DescribeFlowServices",
    "ModifyFlowService",
    "StartExecution",
    "StopExecution",
}
# What Tencent's own tools call, and the SDK does not have.
UNPUBLISHED = {"DeleteFlowService"}

# The members of answers, with their types (asw models of the SDK; those of DescribeExecutions as older examples show them).
TEXT, NUMBER, TRUTH, NOTHING = str, int, bool, type(None)
EVENT = {
    "ExecutionResourceName": TEXT,
    "EventId": NUMBER,
    "EventCategory": TEXT,
    "StepName": TEXT,
    "ResourceName": TEXT,
    "Timestamp": TEXT,
    "Content": TEXT,
    "Exception": TEXT,
}
EXECUTION = {
    "ExecutionResourceName": TEXT,
    "Name": TEXT,
    "StartDate": TEXT,
    "StopDate": TEXT,
    "StateMachineResourceName": TEXT,
    "Status": TEXT,
}
SERVICE = {
    "FlowServiceResource": TEXT,
    "Type": TEXT,
    "FlowServiceName": TEXT,
    "FlowServiceChineseName": TEXT,
    "CreateDate": TEXT,
    "ModifyDate": TEXT,
    "Status": TEXT,
    "Creator": TEXT,
    "Modifier": TEXT,
    "FlowServiceId": TEXT,
    "TemplateId": TEXT,
    "Description": TEXT,
}
ANSWERS = {
    "CreateFlowService": {"FlowServiceResource": TEXT, "CreateDate": TEXT},
    "ModifyFlowService": {"FlowServiceResource": TEXT, "UpdateDate": TEXT},
    "DeleteFlowService": {},
    "DescribeFlowServices": {"FlowServiceSet": [SERVICE], "TotalCount": NUMBER},
    "DescribeFlowServiceDetail": {
        "FlowServiceName": TEXT,
        "Status": TEXT,
        "Definition": TEXT,
        "RoleResource": TEXT,
        "Type": TEXT,
        "CreateDate": TEXT,
        "Description": TEXT,
        "FlowServiceChineseName": TEXT,
        "EnableCLS": TRUTH,
        "CLSUrl": (TEXT, NOTHING),
        "FlowInput": (TEXT, NOTHING),
    },
    "StartExecution": {"ExecutionResourceName": TEXT, "StartDate": TEXT},
    "StopExecution": {},
    "DescribeExecution": {**EXECUTION, "Input": (TEXT, NOTHING), "Output": (TEXT, NOTHING), "ExecutionDefinition": TEXT},
    "DescribeExecutions": {"Executions": [EXECUTION], "PageSize": NUMBER, "PageIndex": NUMBER, "TotalCount": NUMBER},
    "DescribeExecutionHistory": {"Events": [EVENT]},
}


def setUpModule():
    global CLIENT
    CLIENT = client()


def faults_of(wanted, value, place):
    """Yields in words how an answer differs from its members above."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            yield f"{place} is no object"
            return
        if set(wanted) != set(value):
            yield f"{place} has {sorted(set(value) - set(wanted))} more and {sorted(set(wanted) - set(value))} not"
        for name in set(wanted) & set(value):
            yield from faults_of(wanted[name], value[name], f"{place}.{name}")
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{place} is no list"
            return
        for item in value:
            yield from faults_of(wanted[0], item, place)
    elif type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
        yield f"{place} is {value!r}"


class Watched(asw_client.AswClient):
    """The stock client; every answer is looked at as it comes, before its parser sees it."""

    def _check_error(self, answer):
        self.look(self.action, answer)
        super()._check_error(answer)

    def _call(self, action, params, options=None, headers=None):
        self.action = action
        return super()._call(action, params, options, headers)

    def look(self, action, answer):
        found = []
        if answer.headers.get("Content-Type") != "application/json":
            found.append(f"Content-Type is {answer.headers.get('Content-Type')!r}")
        body = json.loads(answer.content)
        if set(body) != {"Response"}:
            found.append(f"the envelope has {sorted(body)}")
        response = dict(body["Response"])
        if not response.pop("RequestId", ""):
            found.append("no RequestId")
        if "Error" in response:
            found.extend(faults_of({"Error": {"Code": TEXT, "Message": TEXT}}, response, action))
            shapes.covered(f"asw {action}", response["Error"].get("Code", ""))
        else:
            found.extend(faults_of(ANSWERS[action], response, action))
            shapes.covered(f"asw {action}", "ok")
        shapes.FAULTS.extend(f"{action}: {fault}" for fault in found)


def client(key=door.ADMIN, region="ap-guangzhou"):
    """As Tencent's documents make one, but for the endpoint."""
    host = door.url().removeprefix("http://")
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=host, protocol="http"))
    return Watched(credential.Credential(*key), region, profile)


def request(action, **members):
    """A request of the SDK's models."""
    made = getattr(models, f"{action}Request")()
    made.from_json_string(json.dumps(members))
    return made


def call(action, client=None, **members):
    """Makes an action by the SDK's method for it."""
    return getattr(client or CLIENT, action)(request(action, **members))


def raw(action, **members):
    """An action's answer without the SDK's models."""
    return CLIENT.call_json(action, members)["Response"]


class Asw(door.Case):
    def machine(self, definition=machines.PASS, kind="STANDARD", **more):
        """Makes a machine, which goes with the test; its QRN."""
        made = call(
            "CreateFlowService",
            Definition=definition,
            FlowServiceName=door.unique("asw"),
            IsNewRole=False,
            Type=kind,
            RoleResource="qcs::cam::uin/100000000001:roleName/tests",
            **more,
        )
        qrn = made.FlowServiceResource
        self.addCleanup(self.delete, qrn)
        return qrn

    def delete(self, qrn):
        """A test may have deleted it already."""
        try:
            CLIENT.call_json("DeleteFlowService", {"FlowServiceResource": qrn})
        except TencentCloudSDKException as error:
            self.assertEqual(error.get_code(), "ResourceNotFound", error)

    def ended(self, execution):
        def look():
            described = call("DescribeExecution", ExecutionResourceName=execution)
            return described if described.Status not in ("INIT", "RUNNING") else None

        return door.until(look, f"the end of {execution}")

    def refused(self, code, action, client=None, **members):
        """Makes an action, and demands this code."""
        with self.assertRaises(TencentCloudSDKException) as raised:
            (client or CLIENT).call_json(action, members)
        self.assertEqual(raised.exception.get_code(), code, raised.exception)
        self.assertTrue(raised.exception.get_request_id())
        return str(raised.exception)


class Machines(Asw):
    def test_a_machine_is_created_described_changed_listed_and_deleted(self):
        more = {"FlowServiceChineseName": "订单", "Description": "orders", "EnableCLS": True, "Input": '{"n":1}'}
        qrn = self.machine(**more)
        name = qrn.split(":")[8]
        self.assertRegex(qrn, r"^qrn:qcs:asw:[a-z0-9-]+:\d+:http:json:flowmachine:[^:]+:[a-z0-9]{8}$")
        detail = call("DescribeFlowServiceDetail", FlowServiceResource=qrn)
        self.assertEqual(json.loads(detail.Definition), json.loads(machines.PASS))
        self.assertEqual((detail.FlowServiceName, detail.Type, detail.Status), (name, "STANDARD", "Online"))
        self.assertEqual((detail.FlowServiceChineseName, detail.Description), ("订单", "orders"))
        self.assertEqual((detail.EnableCLS, json.loads(detail.FlowInput)), (True, {"n": 1}))
        changed = call(
            "ModifyFlowService",
            FlowServiceResource=qrn,
            Definition=machines.OTHER,
            FlowServiceName=name,
            FlowServiceChineseName="账单",
            IsNewRole=False,
            Type="STANDARD",
            RoleResource="qcs::cam::uin/100000000001:roleName/other",
        )
        self.assertEqual(changed.FlowServiceResource, qrn)
        self.assertGreaterEqual(int(changed.UpdateDate), int(detail.CreateDate))
        detail = call("DescribeFlowServiceDetail", FlowServiceResource=qrn)
        self.assertEqual(json.loads(detail.Definition), json.loads(machines.OTHER))
        self.assertEqual(detail.FlowServiceChineseName, "账单")
        filters = [{"Name": "FlowServiceName", "Values": [name]}]
        listed = call("DescribeFlowServices", Limit=10, Offset=0, Filters=filters)
        self.assertEqual([entry.FlowServiceResource for entry in listed.FlowServiceSet], [qrn])
        self.assertEqual((listed.TotalCount, listed.FlowServiceSet[0].Status), (1, "Online"))
        raw("DeleteFlowService", FlowServiceResource=qrn)
        self.refused("ResourceNotFound", "DescribeFlowServiceDetail", FlowServiceResource=qrn)

    def test_lists_have_pages(self):
        made = {self.machine() for _ in range(3)}
        found, offset = set(), 0
        while True:
            page = call("DescribeFlowServices", Offset=offset, Limit=2)
            found |= {entry.FlowServiceResource for entry in page.FlowServiceSet}
            offset += 2
            if offset >= page.TotalCount:
                break
            self.assertEqual(len(page.FlowServiceSet), 2)
        self.assertLessEqual(made, found)


class Executions(Asw):
    def test_an_execution_is_started_described_and_told_event_by_event(self):
        qrn = self.machine()
        name = door.unique("run")
        started = call("StartExecution", StateMachineResourceName=qrn, Input='{"n":1}', Name=name)
        execution = started.ExecutionResourceName
        self.assertTrue(execution.startswith("qrn:qcs:asw:") and execution.endswith(f":{name}"), execution)
        ended = self.ended(execution)
        self.assertEqual((ended.Status, ended.Name), ("SUCCEED", name))
        self.assertEqual(ended.StateMachineResourceName, qrn)
        self.assertEqual(json.loads(ended.Output), {"n": 1, "answer": 42})
        self.assertEqual(json.loads(ended.ExecutionDefinition), json.loads(machines.PASS))
        self.assertEqual(ended.StartDate, started.StartDate)
        self.assertEqual(len(ended.StartDate), 13, "milliseconds")
        self.assertGreaterEqual(int(ended.StopDate), int(ended.StartDate))
        events = call("DescribeExecutionHistory", ExecutionResourceName=execution).Events
        self.assertEqual([event.EventId for event in events], list(range(1, len(events) + 1)))
        self.assertEqual((events[0].EventCategory, events[0].StepName), ("ExecutionStart", "START"))
        entered = next(event for event in events if event.EventCategory == "PassNodeEnter")
        self.assertEqual(entered.StepName, "Answer")
        self.assertEqual(json.loads(json.loads(entered.Content)["input"]), {"n": 1})
        self.assertIn("PassNodeExit", [event.EventCategory for event in events])

    def test_a_start_without_input_takes_that_of_the_machine(self):
        qrn = self.machine(Input='{"n":7}')
        execution = call("StartExecution", StateMachineResourceName=qrn).ExecutionResourceName
        self.assertEqual(json.loads(self.ended(execution).Output), {"n": 7, "answer": 42})

    def test_executions_are_stopped_and_listed_by_page_and_status(self):
        qrn = self.machine(machines.WAIT)
        started = [call("StartExecution", StateMachineResourceName=qrn).ExecutionResourceName for _ in range(3)]
        open_one = call("DescribeExecution", ExecutionResourceName=started[1])
        self.assertEqual((open_one.Status, open_one.StopDate), ("RUNNING", "0"))
        call("StopExecution", ExecutionQrn=started[0])
        self.assertEqual(self.ended(started[0]).Status, "TERMINATED")
        call("DescribeExecutions", StateMachineResourceName=qrn, PageSize=2, PageIndex=1)
        listed = []
        for page in (1, 2):
            answer = raw("DescribeExecutions", StateMachineResourceName=qrn, PageSize=2, PageIndex=page)
            self.assertEqual((answer["PageIndex"], answer["PageSize"], answer["TotalCount"]), (page, 2, 3))
            listed.extend(entry["ExecutionResourceName"] for entry in answer["Executions"])
        self.assertEqual(listed, started[::-1])
        for status, wanted in (("TERMINATED", [started[0]]), ("RUNNING", started[:0:-1]), ("SUCCEED", [])):
            answer = raw(
                "DescribeExecutions",
                StateMachineResourceName=qrn,
                PageSize=10,
                PageIndex=1,
                FilterExecutionStatus=status,
            )
            self.assertEqual([entry["ExecutionResourceName"] for entry in answer["Executions"]], wanted, status)
        for execution in started[1:]:
            call("StopExecution", ExecutionQrn=execution)

    def test_express_executions_of_one_name_are_told_apart(self):
        qrn = self.machine(kind="EXPRESS")
        starts = [call("StartExecution", StateMachineResourceName=qrn, Name="same", Input=f'{{"n":{n}}}') for n in (1, 2)]
        executions = [started.ExecutionResourceName for started in starts]
        self.assertNotEqual(*executions)
        for n, execution in zip((1, 2), executions):
            ended = self.ended(execution)
            self.assertEqual((ended.Name, ended.ExecutionResourceName), ("same", execution))
            self.assertEqual(json.loads(ended.Output), {"n": n, "answer": 42})
            self.assertTrue(call("DescribeExecutionHistory", ExecutionResourceName=execution).Events)
        pages = {"StateMachineResourceName": qrn, "PageSize": 10, "PageIndex": 1}
        listed = [entry["ExecutionResourceName"] for entry in raw("DescribeExecutions", **pages)["Executions"]]
        self.assertEqual(listed, executions[::-1])

    def test_a_failure_is_told(self):
        execution = call("StartExecution", StateMachineResourceName=self.machine(machines.FAIL)).ExecutionResourceName
        self.assertEqual(self.ended(execution).Status, "FAILED")


class Misuse(Asw):
    def test_what_is_not_there(self):
        qrn = self.machine()
        parts = qrn.split(":")
        nobody = ":".join([*parts[:8], "nobody", "zzzzzzzz"])
        execution = ":".join([*parts[:5], "execution", parts[9], "nobody"])
        start = {"StateMachineResourceName": nobody, "Input": "{}"}
        self.refused("ResourceNotFound", "StartExecution", **start)
        self.refused("ResourceNotFound", "DescribeFlowServiceDetail", FlowServiceResource=nobody)
        self.refused("ResourceNotFound", "DeleteFlowService", FlowServiceResource=nobody)
        self.refused("ResourceNotFound", "DescribeExecution", ExecutionResourceName=execution)
        self.refused("ResourceNotFound", "DescribeExecutionHistory", ExecutionResourceName=execution)
        self.refused("ResourceNotFound", "StopExecution", ExecutionQrn=execution)

    def test_values_that_cannot_be(self):
        qrn = self.machine()
        new = {"FlowServiceName": door.unique("asw"), "IsNewRole": False, "Type": "STANDARD"}
        self.refused("InvalidParameterValue", "CreateFlowService", **{**new, "Definition": "{}"})
        self.refused("InvalidParameterValue", "CreateFlowService", **{**new, "Definition": "{}", "Type": "SOME"})
        self.refused("InvalidParameterValue", "StartExecution", StateMachineResourceName=qrn, Input="{")
        self.refused("InvalidParameterValue", "StartExecution", StateMachineResourceName="nobody", Input="{}")
        self.refused("InvalidParameterValue", "DescribeFlowServices", Limit=101)
        filters = [{"Name": "Colour", "Values": ["red"]}]
        self.refused("InvalidParameterValue", "DescribeFlowServices", Filters=filters)
        pages = {"StateMachineResourceName": qrn, "PageIndex": 1, "PageSize": 101}
        self.refused("InvalidParameterValue", "DescribeExecutions", **pages)

    def test_members_that_are_missing_unknown_or_of_another_type(self):
        told = self.refused("MissingParameter", "StartExecution", Input="{}")
        self.assertIn("StateMachineResourceName", told)
        told = self.refused("UnknownParameter", "DescribeExecution", ExecutionResourceName="x", Colour="red")
        self.assertIn("`Colour`", told)
        told = self.refused("UnknownParameter", "StopExecution", ExecutionResourceName="x")
        self.assertIn("ExecutionQrn", told)
        self.refused("InvalidParameter", "DescribeExecution", ExecutionResourceName=7)

    def test_a_name_that_is_taken(self):
        qrn = self.machine(machines.WAIT)
        name = qrn.split(":")[8]
        new = {"Definition": machines.OTHER, "IsNewRole": False, "Type": "STANDARD", "FlowServiceName": name}
        self.refused("ResourceInUse", "CreateFlowService", **new)
        start = {"StateMachineResourceName": qrn, "Name": "taken"}
        execution = CLIENT.call_json("StartExecution", {**start, "Input": "{}"})["Response"]["ExecutionResourceName"]
        self.refused("ResourceInUse", "StartExecution", **start, Input='{"n":1}')
        call("StopExecution", ExecutionQrn=execution)

    def test_who_calls_is_known_and_may(self):
        wrong = client((door.ADMIN[0], "another-secret"))
        told = self.refused("AuthFailure.SignatureFailure", "DescribeFlowServices", client=wrong)
        self.assertNotIn(door.ADMIN[1], told)
        unknown = client(("AKIDNOBODY", "secret"))
        self.refused("AuthFailure.SecretIdNotFound", "DescribeFlowServices", client=unknown)
        reader, qrn = client(door.READER), self.machine()
        reader.call_json("DescribeFlowServiceDetail", {"FlowServiceResource": qrn})
        self.refused("UnauthorizedOperation", "DeleteFlowService", client=reader, FlowServiceResource=qrn)

    def test_actions_and_versions_that_there_are_not(self):
        with self.assertRaises(TencentCloudSDKException) as raised:
            plain().call_json("StateTestRun", {})
        self.assertEqual(raised.exception.get_code(), "InvalidAction")
        with self.assertRaises(TencentCloudSDKException) as raised:
            plain("2019-01-01").call_json("DescribeFlowServices", {})
        self.assertEqual(raised.exception.get_code(), "NoSuchVersion")


def plain(version="2020-07-22"):
    """The stock client alone."""
    host = door.url().removeprefix("http://")
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=host, protocol="http"))
    made = asw_client.AswClient(credential.Credential(*door.ADMIN), "ap-guangzhou", profile)
    made._apiVersion = version
    return made


class Coverage(door.Case):
    """Runs last in this module."""

    def test_every_action_was_made(self):
        made = {name.split()[1] for name, outcomes in shapes.COVERED.items() if name.startswith("asw ") and "ok" in outcomes}
        self.assertEqual(made, PUBLISHED | UNPUBLISHED)
        stock = {name for name in vars(asw_client.AswClient) if name[0].isupper()}
        self.assertEqual(stock, PUBLISHED)


def load_tests(loader, _found, _pattern):
    """In the order of the story."""
    suite = unittest.TestSuite()
    for case in (Machines, Executions, Misuse, Coverage):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite
