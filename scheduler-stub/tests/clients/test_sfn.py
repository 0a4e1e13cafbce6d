"""Every operation of Step Functions by boto3, as a story: the client's defaults, its validation, its parsers; the answers are held
to its models by `shapes`."""

import datetime
import json
import unittest

import door
import machines
import shapes

CLIENT = None


def setUpModule():
    global CLIENT
    CLIENT = door.sfn()


class Story(door.Case):
    """What tests share."""

    def machine(self, definition=machines.PASS, name="sfn", **more):
        """Makes a machine, which goes with the test; its ARN."""
        made = CLIENT.create_state_machine(name=door.unique(name), definition=definition, roleArn=door.ROLE, **more)
        arn = made["stateMachineArn"]
        self.addCleanup(CLIENT.delete_state_machine, stateMachineArn=arn)
        return arn

    def start(self, arn, value=None, **more):
        """Starts an execution; its ARN."""
        return CLIENT.start_execution(stateMachineArn=arn, input=json.dumps(value or {}), **more)["executionArn"]

    def ended(self, execution):
        """The description of an execution once it has ended."""

        def look():
            described = CLIENT.describe_execution(executionArn=execution)
            return described if described["status"] != "RUNNING" else None

        return door.until(look, f"the end of {execution}")

    def is_now(self, moment):
        """Holds a time to our clock: seconds, with their fraction, of this zone's now."""
        distance = abs((datetime.datetime.now(datetime.timezone.utc) - moment).total_seconds())
        self.assertLess(distance, 300, moment)


class Machines(Story):
    def test_a_machine_is_created_described_changed_listed_and_deleted(self):
        name = door.unique("sfn")
        created = CLIENT.create_state_machine(
            name=name,
            definition=machines.PASS,
            roleArn=door.ROLE,
            type="EXPRESS",
            loggingConfiguration={"level": "ALL", "includeExecutionData": True},
            tracingConfiguration={"enabled": True},
            tags=[{"key": "team", "value": "orders"}],
        )
        arn = created["stateMachineArn"]
        self.assertRegex(arn, rf"^arn:aws:states:[a-z0-9-]+:\d{{12}}:stateMachine:{name}$")
        self.is_now(created["creationDate"])
        described = CLIENT.describe_state_machine(stateMachineArn=arn)
        self.assertEqual(json.loads(described["definition"]), json.loads(machines.PASS))
        self.assertEqual((described["name"], described["type"], described["status"]), (name, "EXPRESS", "ACTIVE"))
        self.assertEqual(described["roleArn"], door.ROLE)
        self.assertEqual(described["loggingConfiguration"]["level"], "ALL")
        self.assertTrue(described["loggingConfiguration"]["includeExecutionData"])
        self.assertTrue(described["tracingConfiguration"]["enabled"])
        self.assertEqual(described["creationDate"], created["creationDate"])

        other = "arn:aws:iam::000000000000:role/other"
        updated = CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER, roleArn=other)
        self.assertGreaterEqual(updated["updateDate"], created["creationDate"])
        described = CLIENT.describe_state_machine(stateMachineArn=arn)
        self.assertEqual(json.loads(described["definition"]), json.loads(machines.OTHER))
        self.assertEqual((described["roleArn"], described["revisionId"]), (other, updated["revisionId"]))

        listed = CLIENT.get_paginator("list_state_machines").paginate(PaginationConfig={"PageSize": 2})
        found = [machine for page in listed for machine in page["stateMachines"] if machine["stateMachineArn"] == arn]
        self.assertEqual([(machine["name"], machine["type"]) for machine in found], [(name, "EXPRESS")])

        CLIENT.delete_state_machine(stateMachineArn=arn)
        with self.assertRaises(CLIENT.exceptions.StateMachineDoesNotExist):
            CLIENT.describe_state_machine(stateMachineArn=arn)
        CLIENT.delete_state_machine(stateMachineArn=arn)

    def test_creating_the_same_machine_again_gives_the_one_that_there_is(self):
        arguments = {"name": door.unique("sfn"), "definition": machines.PASS, "roleArn": door.ROLE}
        first = CLIENT.create_state_machine(**arguments)
        self.addCleanup(CLIENT.delete_state_machine, stateMachineArn=first["stateMachineArn"])
        second = CLIENT.create_state_machine(**arguments)
        self.assertEqual(first["stateMachineArn"], second["stateMachineArn"])
        self.assertEqual(first["creationDate"], second["creationDate"])

    def test_versions_are_published_listed_and_deleted_and_their_numbers_never_come_back(self):
        arn = self.machine()
        one = CLIENT.publish_state_machine_version(stateMachineArn=arn, description="the first")
        self.assertEqual(one["stateMachineVersionArn"], f"{arn}:1")
        again = CLIENT.publish_state_machine_version(stateMachineArn=arn)
        self.assertEqual(again["stateMachineVersionArn"], f"{arn}:1")
        updated = CLIENT.update_state_machine(
            stateMachineArn=arn, definition=machines.OTHER, publish=True, versionDescription="the second"
        )
        self.assertEqual(updated["stateMachineVersionArn"], f"{arn}:2")

        described = CLIENT.describe_state_machine(stateMachineArn=f"{arn}:1")
        self.assertEqual(json.loads(described["definition"]), json.loads(machines.PASS))
        self.assertEqual((described["stateMachineArn"], described["description"]), (f"{arn}:1", "the first"))
        self.assertEqual(self.versions(arn), [f"{arn}:2", f"{arn}:1"])
        CLIENT.delete_state_machine_version(stateMachineVersionArn=f"{arn}:2")
        self.assertEqual(self.versions(arn), [f"{arn}:1"])
        three = CLIENT.publish_state_machine_version(stateMachineArn=arn)
        self.assertEqual(three["stateMachineVersionArn"], f"{arn}:3")

    def versions(self, arn):
        found, token = [], {}
        while True:
            page = CLIENT.list_state_machine_versions(stateMachineArn=arn, maxResults=1, **token)
            found.extend(version["stateMachineVersionArn"] for version in page["stateMachineVersions"])
            if "nextToken" not in page:
                return found
            token = {"nextToken": page["nextToken"]}

    def test_an_alias_routes_starts_to_its_versions(self):
        arn = self.machine(publish=True)
        CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER, publish=True)
        one, two = f"{arn}:1", f"{arn}:2"
        routes = [{"stateMachineVersionArn": one, "weight": 100}]
        made = CLIENT.create_state_machine_alias(name="PROD", description="what runs", routingConfiguration=routes)
        alias = made["stateMachineAliasArn"]
        self.assertEqual(alias, f"{arn}:PROD")
        self.addCleanup(CLIENT.delete_state_machine_version, stateMachineVersionArn=two)

        ended = self.ended(self.start(alias))
        self.assertEqual(json.loads(ended["output"]), {"answer": 42})
        self.assertEqual((ended["stateMachineArn"], ended["stateMachineVersionArn"]), (arn, one))
        self.assertEqual(ended["stateMachineAliasArn"], alias)

        halves = [{"stateMachineVersionArn": version, "weight": 50} for version in (one, two)]
        updated = CLIENT.update_state_machine_alias(stateMachineAliasArn=alias, routingConfiguration=halves)
        self.is_now(updated["updateDate"])
        described = CLIENT.describe_state_machine_alias(stateMachineAliasArn=alias)
        self.assertEqual(described["routingConfiguration"], halves)
        self.assertEqual((described["name"], described["description"]), ("PROD", "what runs"))
        # With halves, 40 starts that all take one way are as good as impossible.
        answers = {json.loads(self.ended(self.start(alias))["output"])["answer"] for _ in range(40)}
        self.assertEqual(answers, {42, 43})

        listed = CLIENT.list_state_machine_aliases(stateMachineArn=arn)["stateMachineAliases"]
        self.assertEqual([entry["stateMachineAliasArn"] for entry in listed], [alias])
        CLIENT.delete_state_machine_alias(stateMachineAliasArn=alias)
        self.assertEqual(CLIENT.list_state_machine_aliases(stateMachineArn=arn)["stateMachineAliases"], [])

    def test_a_version_is_started_and_told_and_lists_its_own_executions(self):
        arn = self.machine(publish=True)
        CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER)
        execution = self.start(f"{arn}:1")
        ended = self.ended(execution)
        self.assertEqual(json.loads(ended["output"]), {"answer": 42})
        self.assertEqual(ended["stateMachineVersionArn"], f"{arn}:1")
        self.ended(self.start(arn))
        listed = CLIENT.list_executions(stateMachineArn=f"{arn}:1")["executions"]
        self.assertEqual([entry["executionArn"] for entry in listed], [execution])
        of = CLIENT.describe_state_machine_for_execution(executionArn=execution)
        self.assertEqual(json.loads(of["definition"]), json.loads(machines.PASS))

    def test_tags_of_machines_and_activities_are_kept_changed_and_taken_away(self):
        machine = self.machine(tags=[{"key": "team", "value": "orders"}])
        activity = CLIENT.create_activity(name=door.unique("sfn"))["activityArn"]
        self.addCleanup(CLIENT.delete_activity, activityArn=activity)
        CLIENT.tag_resource(resourceArn=activity, tags=[{"key": "team", "value": "orders"}])
        for resource in (machine, activity):
            CLIENT.tag_resource(resourceArn=resource, tags=[{"key": "team", "value": "bills"}, {"key": "tier", "value": ""}])
            tags = CLIENT.list_tags_for_resource(resourceArn=resource)["tags"]
            self.assertEqual({tag["key"]: tag["value"] for tag in tags}, {"team": "bills", "tier": ""})
            CLIENT.untag_resource(resourceArn=resource, tagKeys=["team", "nothing"])
            tags = CLIENT.list_tags_for_resource(resourceArn=resource)["tags"]
            self.assertEqual(tags, [{"key": "tier", "value": ""}])

    def test_what_is_encrypted_with_keys_of_the_service_says_so_wherever_it_is_described(self):
        owned = {"type": "AWS_OWNED_KEY"}
        arn = self.machine(encryptionConfiguration=owned)
        activity = CLIENT.create_activity(name=door.unique("sfn"), encryptionConfiguration=owned)["activityArn"]
        self.addCleanup(CLIENT.delete_activity, activityArn=activity)
        execution = self.start(arn)
        for described in (
            CLIENT.describe_state_machine(stateMachineArn=arn),
            CLIENT.describe_state_machine_for_execution(executionArn=execution),
            CLIENT.describe_activity(activityArn=activity),
        ):
            self.assertEqual(described["encryptionConfiguration"], owned)

    def test_a_definition_is_validated_without_a_machine(self):
        good = CLIENT.validate_state_machine_definition(definition=machines.PASS)
        self.assertEqual((good["result"], good["diagnostics"]), ("OK", []))
        bad = machines.text({"A": {"Type": "Pass", "Next": "Nowhere"}})
        found = CLIENT.validate_state_machine_definition(definition=bad, severity="WARNING", maxResults=10)
        self.assertEqual((found["result"], found["truncated"]), ("FAIL", False))
        told = [entry["message"] for entry in found["diagnostics"] if entry["severity"] == "ERROR"]
        self.assertTrue(any("Nowhere" in message for message in told), told)

    def test_one_state_is_tested_without_a_machine(self):
        state = json.dumps({"Type": "Pass", "Parameters": {"sum.$": "States.MathAdd($.a, $.b)"}, "Next": "Then"})
        tested = CLIENT.test_state(definition=state, roleArn=door.ROLE, input='{"a":1,"b":2}', inspectionLevel="DEBUG")
        self.assertEqual((tested["status"], tested["nextState"]), ("SUCCEEDED", "Then"))
        self.assertEqual(json.loads(tested["output"]), {"sum": 3})
        self.assertEqual(json.loads(tested["inspectionData"]["input"]), {"a": 1, "b": 2})
        failing = json.dumps({"Type": "Fail", "Error": "Tests.No", "Cause": "no"})
        tested = CLIENT.test_state(definition=failing, roleArn=door.ROLE, input="{}")
        self.assertEqual((tested["status"], tested["error"], tested["cause"]), ("FAILED", "Tests.No", "no"))


class Executions(Story):
    def test_an_execution_is_started_and_described_to_its_end(self):
        arn = self.machine()
        name = door.unique("run")
        started = CLIENT.start_execution(stateMachineArn=arn, name=name, input='{"n": 1.50}')
        self.is_now(started["startDate"])
        execution = started["executionArn"]
        self.assertEqual(execution, arn.replace(":stateMachine:", ":execution:") + f":{name}")
        ended = self.ended(execution)
        self.assertEqual((ended["status"], ended["name"], ended["stateMachineArn"]), ("SUCCEEDED", name, arn))
        self.assertEqual(ended["input"], '{"n": 1.50}')
        self.assertEqual(json.loads(ended["output"]), {"n": 1.5, "answer": 42})
        self.assertEqual(ended["startDate"], started["startDate"])
        self.assertGreaterEqual(ended["stopDate"], ended["startDate"])
        self.assertEqual((ended["redriveCount"], ended["redriveStatus"]), (0, "NOT_REDRIVABLE"))

        again = CLIENT.start_execution(stateMachineArn=self.machine(machines.WAIT), name=name, input="{}")
        self.assertEqual(CLIENT.describe_execution(executionArn=again["executionArn"])["status"], "RUNNING")

    def test_starting_the_same_again_while_it_runs_gives_the_one_that_runs(self):
        arn = self.machine(machines.WAIT)
        arguments = {"stateMachineArn": arn, "name": door.unique("run"), "input": '{"a":1}'}
        first, second = CLIENT.start_execution(**arguments), CLIENT.start_execution(**arguments)
        self.assertEqual(first["executionArn"], second["executionArn"])
        self.assertEqual(first["startDate"], second["startDate"])

    def test_starts_without_a_name_or_an_input_get_one(self):
        arn = self.machine()
        one, two = (CLIENT.start_execution(stateMachineArn=arn)["executionArn"] for _ in range(2))
        self.assertNotEqual(one, two)
        self.assertEqual(self.ended(one)["input"], "{}")

    def test_numbers_and_texts_pass_unchanged(self):
        arn = self.machine(machines.text({"Done": {"Type": "Succeed"}}))
        for text in ('{"n":12345678901234567890.0123456789}', '{"t":"Zürich 東京 🚀 \\u0000"}', '{"b":1,"a":[1e300]}'):
            with self.subTest(text=text):
                execution = CLIENT.start_execution(stateMachineArn=arn, input=text)["executionArn"]
                ended = self.ended(execution)
                self.assertEqual((ended["input"], ended["output"]), (text, text))

    def test_executions_are_listed_page_by_page_newest_first_and_by_status(self):
        arn = self.machine(machines.WAIT)
        started = [self.start(arn) for _ in range(5)]
        stopped = CLIENT.stop_execution(executionArn=started[0], error="Tests.Stop", cause="enough")
        self.is_now(stopped["stopDate"])
        ended = self.ended(started[0])
        self.assertEqual((ended["status"], ended["error"], ended["cause"]), ("ABORTED", "Tests.Stop", "enough"))
        pages = CLIENT.get_paginator("list_executions").paginate(stateMachineArn=arn, PaginationConfig={"PageSize": 2})
        listed = [entry for page in pages for entry in page["executions"]]
        self.assertEqual([entry["executionArn"] for entry in listed], started[::-1])
        self.assertEqual({entry["status"] for entry in listed}, {"RUNNING", "ABORTED"})
        running = CLIENT.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]
        self.assertEqual([entry["executionArn"] for entry in running], started[:0:-1])
        for execution in started[1:]:
            CLIENT.stop_execution(executionArn=execution)

    def test_a_history_is_read_forwards_backwards_in_pages_and_without_data(self):
        arn = self.machine(machines.SEVERAL)
        execution = self.start(arn, {"order": "A-1", "amount": 500, "items": [1, 2, 3]})
        self.assertEqual(self.ended(execution)["status"], "SUCCEEDED")
        whole = CLIENT.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        self.assertEqual([event["id"] for event in whole], list(range(1, len(whole) + 1)))
        kinds = [event["type"] for event in whole]
        self.assertEqual((kinds[0], kinds[-1]), ("ExecutionStarted", "ExecutionSucceeded"))
        for kind in ("PassStateEntered", "ChoiceStateExited", "ParallelStateStarted", "MapIterationSucceeded"):
            self.assertIn(kind, kinds)
        for event in whole:
            self.assertLess(event["previousEventId"], event["id"])
        remembered = next(event for event in whole if event["type"] == "PassStateExited")
        assigned = remembered["stateExitedEventDetails"]["assignedVariables"]
        self.assertEqual({name: json.loads(text) for name, text in assigned.items()}, {"order": "A-1"})
        pages = CLIENT.get_paginator("get_execution_history").paginate(
            executionArn=execution, reverseOrder=True, PaginationConfig={"PageSize": 3}
        )
        self.assertEqual([event for page in pages for event in page["events"]], whole[::-1])
        bare = CLIENT.get_execution_history(executionArn=execution, includeExecutionData=False)["events"]
        self.assertNotIn("input", bare[0]["executionStartedEventDetails"])
        self.assertNotIn("output", bare[-1]["executionSucceededEventDetails"])

    def test_a_failed_execution_tells_its_error_and_is_redriven(self):
        activity = CLIENT.create_activity(name=door.unique("sfn"))["activityArn"]
        self.addCleanup(CLIENT.delete_activity, activityArn=activity)
        arn = self.machine(machines.task(activity))
        execution = self.start(arn, {"n": 1})
        taken = CLIENT.get_activity_task(activityArn=activity, workerName="tester")
        CLIENT.send_task_failure(taskToken=taken["taskToken"], error="Tests.No", cause="broken")
        failed = self.ended(execution)
        self.assertEqual((failed["status"], failed["error"], failed["cause"]), ("FAILED", "Tests.No", "broken"))
        self.assertEqual(failed["redriveStatus"], "REDRIVABLE")
        redriven = CLIENT.redrive_execution(executionArn=execution)
        self.is_now(redriven["redriveDate"])
        taken = CLIENT.get_activity_task(activityArn=activity, workerName="tester")
        CLIENT.send_task_success(taskToken=taken["taskToken"], output='"well"')
        ended = self.ended(execution)
        self.assertEqual((ended["status"], ended["output"], ended["redriveCount"]), ("SUCCEEDED", '"well"', 1))
        self.assertEqual(ended["redriveDate"], redriven["redriveDate"])
        kinds = [event["type"] for event in CLIENT.get_execution_history(executionArn=execution)["events"]]
        self.assertIn("ExecutionRedriven", kinds)

    def test_a_synchronous_execution_answers_with_its_end(self):
        arn = self.machine(type="EXPRESS")
        done = CLIENT.start_sync_execution(stateMachineArn=arn, name="sync", input='{"n":1}', traceHeader="Root=1-67f1a2b3-0123456789abcdef01234567")
        self.assertEqual((done["status"], done["name"], done["stateMachineArn"]), ("SUCCEEDED", "sync", arn))
        self.assertEqual(json.loads(done["output"]), {"n": 1, "answer": 42})
        self.assertEqual(done["billingDetails"]["billedDurationInMilliseconds"] % 100, 0)
        self.assertIn(":express:", done["executionArn"])
        bare = CLIENT.start_sync_execution(stateMachineArn=arn, input="{}", includedData="METADATA_ONLY")
        self.assertNotIn("output", bare)
        failed = CLIENT.start_sync_execution(stateMachineArn=self.machine(machines.FAIL, type="EXPRESS"))
        self.assertEqual((failed["status"], failed["error"], failed["cause"]), ("FAILED", "Tests.No", "it was asked to"))

    def test_an_express_execution_of_one_name_starts_each_time(self):
        arn = self.machine(type="EXPRESS")
        one, two = (CLIENT.start_execution(stateMachineArn=arn, name="same")["executionArn"] for _ in range(2))
        self.assertNotEqual(one, two)

    def test_the_map_runs_of_a_distributed_map_are_listed_and_described(self):
        arn = self.machine(machines.DISTRIBUTED)
        execution = self.start(arn, {"items": [1, 2, 3]})
        self.assertEqual(self.ended(execution)["status"], "SUCCEEDED")
        listed = CLIENT.list_map_runs(executionArn=execution)["mapRuns"]
        self.assertEqual([entry["executionArn"] for entry in listed], [execution])
        self.assertEqual(listed[0]["stateMachineArn"], f"{arn}/Spread")
        run = listed[0]["mapRunArn"]
        described = CLIENT.describe_map_run(mapRunArn=run)
        self.assertEqual((described["status"], described["maxConcurrency"]), ("SUCCEEDED", 2))
        self.assertEqual((described["itemCounts"]["succeeded"], described["itemCounts"]["total"]), (3, 3))
        pages = CLIENT.get_paginator("list_executions").paginate(mapRunArn=run, PaginationConfig={"PageSize": 2})
        children = [entry for page in pages for entry in page["executions"]]
        self.assertEqual([(entry["status"], entry["itemCount"], entry["mapRunArn"]) for entry in children], [("SUCCEEDED", 1, run)] * 3)
        self.assertEqual({entry["stateMachineArn"] for entry in children}, {f"{arn}/Spread"})
        self.assertEqual(len({entry["executionArn"] for entry in children}), 3)
        with self.assertRaises(CLIENT.exceptions.ValidationException):
            CLIENT.update_map_run(mapRunArn=run, maxConcurrency=5)


class Work(Story):
    def test_activities_are_made_described_listed_and_deleted(self):
        name = door.unique("sfn")
        made = CLIENT.create_activity(name=name)
        self.is_now(made["creationDate"])
        arn = made["activityArn"]
        again = CLIENT.create_activity(name=name)
        self.assertEqual((again["activityArn"], again["creationDate"]), (made["activityArn"], made["creationDate"]))
        described = CLIENT.describe_activity(activityArn=arn)
        self.assertEqual((described["name"], described["creationDate"]), (name, made["creationDate"]))
        pages = CLIENT.get_paginator("list_activities").paginate(PaginationConfig={"PageSize": 1})
        self.assertIn(arn, [entry["activityArn"] for page in pages for entry in page["activities"]])
        CLIENT.delete_activity(activityArn=arn)
        with self.assertRaises(CLIENT.exceptions.ActivityDoesNotExist):
            CLIENT.describe_activity(activityArn=arn)
        CLIENT.delete_activity(activityArn=arn)

    def test_a_worker_takes_a_task_keeps_it_alive_and_says_how_it_went(self):
        activity = CLIENT.create_activity(name=door.unique("sfn"))["activityArn"]
        self.addCleanup(CLIENT.delete_activity, activityArn=activity)
        arn = self.machine(machines.task(activity))
        execution = self.start(arn, {"order": "A-1"})
        taken = CLIENT.get_activity_task(activityArn=activity)
        self.assertEqual(json.loads(taken["input"]), {"order": "A-1"})
        CLIENT.send_task_heartbeat(taskToken=taken["taskToken"])
        CLIENT.send_task_success(taskToken=taken["taskToken"], output='{"packed": true}')
        ended = self.ended(execution)
        self.assertEqual((ended["status"], json.loads(ended["output"])), ("SUCCEEDED", {"packed": True}))
        kinds = [event["type"] for event in CLIENT.get_execution_history(executionArn=execution)["events"]]
        for kind in ("ActivityScheduled", "ActivityStarted", "ActivitySucceeded"):
            self.assertIn(kind, kinds)


class Coverage(door.Case):
    """Runs last (`load_tests`)."""

    def test_every_operation_that_the_client_has_was_made(self):
        made = {name.split()[1] for name, outcomes in shapes.COVERED.items() if name.startswith("sfn ") and "ok" in outcomes}
        # A running Map cannot be changed here, and one that has ended nowhere.
        self.assertEqual(set(CLIENT.meta.service_model.operation_names) - made, {"UpdateMapRun"})


def load_tests(loader, _found, _pattern):
    """In the order of the story."""
    suite = unittest.TestSuite()
    for case in (Machines, Executions, Work, Coverage):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite
