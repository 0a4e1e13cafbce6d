"""What each documented misuse of Step Functions gives, by the class of boto3's exception."""

import json

import botocore
import botocore.exceptions

import door
import machines

CLIENT = None
# The same without its validation: what it would refuse reaches the door.
BLIND = None


def setUpModule():
    global CLIENT, BLIND
    CLIENT = door.sfn()
    BLIND = door.sfn(validate=False)


class Misuse(door.Case):
    """What tests share."""

    def refused(self, name, operation, /, client=None, says=None, **arguments):
        """Calls, and demands this error, by the class that the client has for it; gives its answer."""
        client = client or CLIENT
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            getattr(client, operation)(**arguments)
        error = raised.exception
        self.assertEqual(error.response["Error"]["Code"], name, error)
        self.assertIs(type(error), client.exceptions.from_code(name))
        self.assertTrue(error.response["ResponseMetadata"]["RequestId"])
        for text in [says] if isinstance(says, str) else says or []:
            self.assertIn(text, str(error))
        return error.response

    def machine(self, definition=machines.PASS, **more):
        made = CLIENT.create_state_machine(name=door.unique("misuse"), definition=definition, roleArn=door.ROLE, **more)
        self.addCleanup(CLIENT.delete_state_machine, stateMachineArn=made["stateMachineArn"])
        return made["stateMachineArn"]

    def activity(self):
        arn = CLIENT.create_activity(name=door.unique("misuse"))["activityArn"]
        self.addCleanup(CLIENT.delete_activity, activityArn=arn)
        return arn


class Starts(Misuse):
    def test_another_input_under_a_name_that_is_taken(self):
        arn = self.machine(machines.WAIT)
        taken = CLIENT.start_execution(stateMachineArn=arn, name="taken", input='{"a":1}')["executionArn"]
        again = {"stateMachineArn": arn, "name": "taken", "input": '{"a":2}'}
        self.refused("ExecutionAlreadyExists", "start_execution", says=taken, **again)

    def test_the_name_of_an_execution_that_has_ended(self):
        arn = self.machine()
        execution = CLIENT.start_execution(stateMachineArn=arn, name="taken", input="{}")["executionArn"]
        door.until(lambda: CLIENT.describe_execution(executionArn=execution)["status"] == "SUCCEEDED", "its end")
        again = {"stateMachineArn": arn, "name": "taken", "input": "{}"}
        self.refused("ExecutionAlreadyExists", "start_execution", says=execution, **again)

    def test_names_that_are_none(self):
        arn = self.machine()
        for name in ("a b", "a*b", "a<b", "a\x01b", "a:b"):
            with self.subTest(name=name):
                self.refused("InvalidName", "start_execution", stateMachineArn=arn, name=name)
        self.refused("InvalidName", "create_state_machine", name="a b", definition=machines.PASS, roleArn=door.ROLE)
        self.refused("InvalidName", "create_activity", name="a?b")

    def test_inputs_that_are_no_json(self):
        arn = self.machine()
        for text in ("{", "", "{} {}", '{"a":}', "nothing"):
            with self.subTest(text=text):
                self.refused("InvalidExecutionInput", "start_execution", stateMachineArn=arn, input=text)
        express = self.machine(type="EXPRESS")
        self.refused("InvalidExecutionInput", "start_sync_execution", stateMachineArn=express, input="{")

    def test_an_input_that_is_too_long(self):
        arn = self.machine()
        # It counts bytes; the model counts characters.
        long = json.dumps("ü" * 200_000, ensure_ascii=False)
        self.refused("InvalidExecutionInput", "start_execution", stateMachineArn=arn, input=long)

    def test_machines_that_are_not_there(self):
        for operation in ("start_execution", "describe_state_machine", "list_executions", "publish_state_machine_version"):
            with self.subTest(operation=operation):
                self.refused("StateMachineDoesNotExist", operation, stateMachineArn=door.NOBODY, says="nobody")
        self.refused("StateMachineDoesNotExist", "start_sync_execution", stateMachineArn=door.NOBODY)
        self.refused(
            "StateMachineDoesNotExist", "update_state_machine", stateMachineArn=door.NOBODY, definition=machines.PASS
        )

    def test_a_version_or_alias_that_is_not_there(self):
        arn = self.machine()
        for qualifier in ("7", "PROD"):
            self.refused("StateMachineDoesNotExist", "start_execution", stateMachineArn=f"{arn}:{qualifier}")

    def test_arns_that_are_none(self):
        for arn in ("nobody", "arn:aws:states:local", "arn:aws:s3:::bucket", door.NOBODY.replace("stateMachine", "activity")):
            with self.subTest(arn=arn):
                for operation in ("start_execution", "describe_state_machine", "delete_state_machine"):
                    self.refused("InvalidArn", operation, stateMachineArn=arn)
        for operation in ("describe_execution", "stop_execution", "get_execution_history", "redrive_execution"):
            for arn in (door.NOBODY, "x-0123456789", "nobody"):
                with self.subTest(operation=operation, arn=arn):
                    self.refused("InvalidArn", operation, executionArn=arn)
        self.refused("InvalidArn", "describe_activity", activityArn=door.NOBODY)
        self.refused("InvalidArn", "list_tags_for_resource", resourceArn="nobody")
        self.refused("InvalidArn", "describe_map_run", mapRunArn=door.NOBODY)

    def test_what_the_type_of_a_machine_has_not(self):
        standard, express = self.machine(), self.machine(type="EXPRESS")
        self.refused("StateMachineTypeNotSupported", "start_sync_execution", stateMachineArn=standard)
        self.refused("StateMachineTypeNotSupported", "list_executions", stateMachineArn=express)


class Machines(Misuse):
    def test_another_definition_under_a_name_that_is_taken(self):
        arn = self.machine()
        name = arn.rpartition(":")[2]
        self.refused(
            "StateMachineAlreadyExists", "create_state_machine", name=name, definition=machines.OTHER, roleArn=door.ROLE
        )
        self.refused(
            "StateMachineAlreadyExists",
            "create_state_machine",
            name=name,
            definition=machines.PASS,
            roleArn=door.ROLE,
            type="EXPRESS",
        )

    def test_definitions_that_are_none(self):
        for definition in ("{", "{}", machines.text({"A": {"Type": "Pass", "Next": "B"}})):
            with self.subTest(definition=definition):
                new = {"name": door.unique("misuse"), "definition": definition, "roleArn": door.ROLE}
                self.refused("InvalidDefinition", "create_state_machine", **new)
        arn = self.machine()
        self.refused("InvalidDefinition", "update_state_machine", stateMachineArn=arn, definition="{}")
        self.refused("InvalidDefinition", "test_state", definition='{"Type":"Nothing"}', roleArn=door.ROLE)

    def test_logging_that_cannot_be(self):
        new = {"name": door.unique("misuse"), "definition": machines.PASS, "roleArn": door.ROLE}
        group = "arn:aws:logs:local:000000000000:log-group:one:*"
        two = [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}] * 2
        logging = {"level": "ALL", "destinations": two}
        self.refused("InvalidLoggingConfiguration", "create_state_machine", loggingConfiguration=logging, **new)

    def test_keys_of_the_caller_are_not_taken(self):
        new = {"name": door.unique("misuse"), "definition": machines.PASS, "roleArn": door.ROLE}
        keys = {"type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": "alias/mine"}
        self.refused("InvalidEncryptionConfiguration", "create_state_machine", encryptionConfiguration=keys, **new)

    def test_an_update_of_nothing(self):
        self.refused("MissingRequiredParameter", "update_state_machine", stateMachineArn=self.machine())

    def test_a_description_of_a_version_that_is_not_published(self):
        arn = self.machine()
        self.refused(
            "ValidationException",
            "update_state_machine",
            stateMachineArn=arn,
            definition=machines.OTHER,
            versionDescription="none",
        )

    def test_another_revision_than_the_newest_is_not_published(self):
        arn = self.machine()
        revision = CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER)["revisionId"]
        CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.PASS)
        for old in (revision, "INITIAL"):
            self.refused(
                "ConflictException", "publish_state_machine_version", stateMachineArn=arn, revisionId=old
            )

    def test_a_version_that_an_alias_routes_to_stays(self):
        arn = self.machine(publish=True)
        routes = [{"stateMachineVersionArn": f"{arn}:1", "weight": 100}]
        alias = CLIENT.create_state_machine_alias(name="PROD", routingConfiguration=routes)["stateMachineAliasArn"]
        self.refused("ConflictException", "delete_state_machine_version", stateMachineVersionArn=f"{arn}:1")
        CLIENT.delete_state_machine_alias(stateMachineAliasArn=alias)
        CLIENT.delete_state_machine_version(stateMachineVersionArn=f"{arn}:1")

    def test_routes_that_cannot_be(self):
        arn, other = self.machine(publish=True), self.machine(publish=True)
        CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER, publish=True)

        def routes(*pairs):
            return [{"stateMachineVersionArn": version, "weight": weight} for version, weight in pairs]

        for wrong in (
            routes((f"{arn}:1", 50), (f"{arn}:2", 40)),
            routes((f"{arn}:1", 50), (f"{arn}:1", 50)),
            routes((f"{arn}:1", 50), (f"{other}:1", 50)),
        ):
            with self.subTest(routes=wrong):
                self.refused("ValidationException", "create_state_machine_alias", name="PROD", routingConfiguration=wrong)
        self.refused(
            "ValidationException",
            "create_state_machine_alias",
            client=BLIND,
            name="123",
            routingConfiguration=routes((f"{arn}:1", 100)),
        )

    def test_another_routing_under_an_alias_that_there_is(self):
        arn = self.machine(publish=True)
        CLIENT.update_state_machine(stateMachineArn=arn, definition=machines.OTHER, publish=True)
        one, two = ([{"stateMachineVersionArn": f"{arn}:{number}", "weight": 100}] for number in (1, 2))
        CLIENT.create_state_machine_alias(name="PROD", routingConfiguration=one)
        self.refused("ConflictException", "create_state_machine_alias", name="PROD", routingConfiguration=two)

    def test_an_alias_that_is_not_there(self):
        alias = f"{self.machine()}:PROD"
        for operation in ("describe_state_machine_alias", "delete_state_machine_alias"):
            self.refused("ResourceNotFound", operation, stateMachineAliasArn=alias)
        self.refused("ResourceNotFound", "update_state_machine_alias", stateMachineAliasArn=alias, description="none")

    def test_tags_of_what_is_not_there_and_more_tags_than_may_be(self):
        tags = [{"key": "team", "value": "orders"}]
        self.refused("ResourceNotFound", "tag_resource", resourceArn=door.NOBODY, tags=tags)
        self.refused("ResourceNotFound", "untag_resource", resourceArn=door.NOBODY, tagKeys=["team"])
        self.refused("ResourceNotFound", "list_tags_for_resource", resourceArn=door.NOBODY)
        many = [{"key": f"key-{number}", "value": ""} for number in range(51)]
        self.refused("TooManyTags", "tag_resource", resourceArn=self.machine(), tags=many)
        self.refused("TooManyTags", "create_activity", name=door.unique("misuse"), tags=many)


class Executions(Misuse):
    def test_executions_that_are_not_there(self):
        arn = self.machine()
        execution = arn.replace(":stateMachine:", ":execution:") + ":nobody"
        for operation in (
            "describe_execution",
            "describe_state_machine_for_execution",
            "get_execution_history",
            "list_map_runs",
            "redrive_execution",
            "stop_execution",
        ):
            with self.subTest(operation=operation):
                self.refused("ExecutionDoesNotExist", operation, executionArn=execution)

    def test_an_execution_is_not_found_under_another_machine(self):
        mine, other = self.machine(machines.WAIT), self.machine(machines.WAIT)
        execution = CLIENT.start_execution(stateMachineArn=mine)["executionArn"]
        # An execution without a name of its own is found by its id: the machine in the ARN has to be its own.
        wrong = execution.replace(mine.rpartition(":")[2], other.rpartition(":")[2])
        for operation in ("describe_execution", "stop_execution", "get_execution_history"):
            with self.subTest(operation=operation):
                self.refused("ExecutionDoesNotExist", operation, executionArn=wrong)
        self.assertEqual(CLIENT.describe_execution(executionArn=execution)["status"], "RUNNING")

    def test_what_succeeded_or_runs_is_not_redriven(self):
        done = CLIENT.start_execution(stateMachineArn=self.machine())["executionArn"]
        door.until(lambda: CLIENT.describe_execution(executionArn=done)["status"] == "SUCCEEDED", "its end")
        running = CLIENT.start_execution(stateMachineArn=self.machine(machines.WAIT))["executionArn"]
        for execution in (done, running):
            self.refused("ExecutionNotRedrivable", "redrive_execution", executionArn=execution)

    def test_tokens_of_pages_that_are_forged_or_of_another_list(self):
        arns = [self.machine(machines.WAIT) for _ in range(2)]
        for arn in arns:
            for _ in range(2):
                CLIENT.start_execution(stateMachineArn=arn)
        page = CLIENT.list_executions(stateMachineArn=arns[0], maxResults=1)
        token = page["nextToken"]
        self.refused("InvalidToken", "list_executions", stateMachineArn=arns[1], nextToken=token)
        half = len(token) // 2
        changed = token[:half] + ("A" if token[half] != "A" else "B") + token[half + 1 :]
        for forged in (changed, "nothing", token[:-4]):
            with self.subTest(token=forged):
                self.refused("InvalidToken", "list_executions", stateMachineArn=arns[0], nextToken=forged)
                self.refused("InvalidToken", "list_state_machines", nextToken=forged)
                self.refused("InvalidToken", "list_activities", nextToken=forged)
                self.refused("InvalidToken", "list_state_machine_versions", stateMachineArn=arns[0], nextToken=forged)
                self.refused("InvalidToken", "list_state_machine_aliases", stateMachineArn=arns[0], nextToken=forged)
        execution = page["executions"][0]["executionArn"]
        self.refused("InvalidToken", "get_execution_history", executionArn=execution, nextToken="nothing")
        self.refused("InvalidToken", "list_map_runs", executionArn=execution, nextToken="nothing")

    def test_map_runs_that_are_not_there(self):
        run = "arn:aws:states:local:000000000000:mapRun:nobody/Each:11111111-2222-3333-4444-555555555555"
        self.refused("ResourceNotFound", "describe_map_run", mapRunArn=run)
        self.refused("ResourceNotFound", "update_map_run", mapRunArn=run, maxConcurrency=1)
        self.refused("ResourceNotFound", "list_executions", mapRunArn=run)

    def test_a_list_of_nothing_or_of_two_things(self):
        run = "arn:aws:states:local:000000000000:mapRun:nobody/Each:11111111-2222-3333-4444-555555555555"
        self.refused("ValidationException", "list_executions")
        self.refused("ValidationException", "list_executions", stateMachineArn=door.NOBODY, mapRunArn=run)


class Tasks(Misuse):
    def taken(self):
        activity = self.activity()
        execution = CLIENT.start_execution(stateMachineArn=self.machine(machines.task(activity)))["executionArn"]
        return CLIENT.get_activity_task(activityArn=activity)["taskToken"], execution

    def test_a_token_that_was_used(self):
        token, execution = self.taken()
        CLIENT.send_task_success(taskToken=token, output="{}")
        door.until(lambda: CLIENT.describe_execution(executionArn=execution)["status"] == "SUCCEEDED", "its end")
        self.refused("TaskTimedOut", "send_task_success", taskToken=token, output="{}")
        self.refused("TaskTimedOut", "send_task_failure", taskToken=token)
        self.refused("TaskTimedOut", "send_task_heartbeat", taskToken=token)

    def test_a_token_that_is_made_up(self):
        token, _ = self.taken()
        half = len(token) // 2
        forged = token[:half] + ("A" if token[half] != "A" else "B") + token[half + 1 :]
        for made_up in ("nothing", forged):
            with self.subTest(token=made_up):
                self.refused("InvalidToken", "send_task_success", taskToken=made_up, output="{}")
                self.refused("InvalidToken", "send_task_failure", taskToken=made_up)
                self.refused("InvalidToken", "send_task_heartbeat", taskToken=made_up)

    def test_an_output_that_is_no_json(self):
        token, _ = self.taken()
        self.refused("InvalidOutput", "send_task_success", taskToken=token, output="{")
        CLIENT.send_task_success(taskToken=token, output="{}")

    def test_an_activity_that_is_not_there(self):
        nobody = door.NOBODY.replace("stateMachine", "activity")
        self.refused("ActivityDoesNotExist", "describe_activity", activityArn=nobody)
        self.refused("ActivityDoesNotExist", "get_activity_task", activityArn=nobody)


class Shapes(Misuse):
    """What the client would refuse by itself."""

    def test_members_that_are_missing_too_long_unknown_or_of_another_type(self):
        arn = self.machine()
        for operation, arguments, says in (
            ("start_execution", {}, "stateMachineArn"),
            ("describe_execution", {}, "executionArn"),
            ("start_execution", {"stateMachineArn": arn, "name": "x" * 81}, "name"),
            ("list_executions", {"stateMachineArn": arn, "maxResults": 1001}, "maxResults"),
            ("list_executions", {"stateMachineArn": arn, "statusFilter": "NEARLY"}, "statusFilter"),
            ("create_state_machine", {"name": "x", "definition": machines.PASS, "roleArn": door.ROLE, "type": "SOME"}, "type"),
            ("send_task_success", {"taskToken": "x" * 2049, "output": "{}"}, "taskToken"),
            ("create_activity", {"name": ""}, "name"),
        ):
            with self.subTest(operation=operation, says=says):
                self.refused("ValidationException", operation, client=BLIND, says=says, **arguments)

    def test_a_member_of_another_type(self):
        # The client's own serializer would stumble over other kinds.
        self.refused("SerializationException", "describe_execution", client=BLIND, executionArn=7)


class Callers(Misuse):
    def test_a_wrong_secret(self):
        wrong = door.sfn((door.ADMIN[0], "another-secret"))
        answer = self.refused("InvalidSignatureException", "list_state_machines", client=wrong)
        self.assertNotIn(door.ADMIN[1], json.dumps(answer))

    def test_a_key_that_nobody_knows(self):
        unknown = door.sfn(("AKIDNOBODY", "secret"))
        self.refused("UnrecognizedClientException", "list_state_machines", client=unknown)

    def test_calls_that_are_not_signed(self):
        unsigned = door.sfn(signature_version=botocore.UNSIGNED)
        self.refused("MissingAuthenticationTokenException", "list_state_machines", client=unsigned)

    def test_a_key_without_the_right(self):
        arn = self.machine()
        reader = door.sfn(door.READER)
        reader.describe_state_machine(stateMachineArn=arn)
        reader.list_state_machines()
        self.refused("AccessDeniedException", "start_execution", client=reader, stateMachineArn=arn)
        self.refused("AccessDeniedException", "delete_state_machine", client=reader, stateMachineArn=arn)
        new = {"name": door.unique("misuse"), "definition": machines.PASS, "roleArn": door.ROLE}
        self.refused("AccessDeniedException", "create_state_machine", client=reader, **new)

    def test_a_key_for_other_machines(self):
        starter, theirs = door.sfn(door.STARTER), self.machine(machines.WAIT)
        name = door.unique("mine")
        mine = CLIENT.create_state_machine(name=name, definition=machines.WAIT, roleArn=door.ROLE)["stateMachineArn"]
        self.addCleanup(CLIENT.delete_state_machine, stateMachineArn=mine)
        own = starter.start_execution(stateMachineArn=mine)["executionArn"]
        self.refused("AccessDeniedException", "start_execution", client=starter, stateMachineArn=theirs)
        execution = CLIENT.start_execution(stateMachineArn=theirs)["executionArn"]
        self.refused("AccessDeniedException", "stop_execution", client=starter, executionArn=execution)
        # The id of theirs under the name of mine is not found.
        wrong = execution.replace(theirs.rpartition(":")[2], name)
        self.refused("ExecutionDoesNotExist", "stop_execution", client=starter, executionArn=wrong)
        # The token of a task is a right of its own: this one is no token, which the key is told.
        self.refused("InvalidToken", "send_task_heartbeat", client=starter, taskToken="none")
        starter.stop_execution(executionArn=own)
        self.assertEqual(CLIENT.describe_execution(executionArn=execution)["status"], "RUNNING")
