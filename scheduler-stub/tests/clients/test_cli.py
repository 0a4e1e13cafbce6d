"""The AWS CLI as people type it: its settings by environment alone."""

import json
import subprocess

import door
import machines


def aws(*arguments, fails=False):
    """Runs `aws stepfunctions …`; what it prints as JSON, or its error."""
    environment = door.environment(
        AWS_ACCESS_KEY_ID=door.ADMIN[0],
        AWS_SECRET_ACCESS_KEY=door.ADMIN[1],
        AWS_DEFAULT_REGION=door.REGION,
        AWS_ENDPOINT_URL_SFN=door.url(),
        AWS_DISABLE_HOST_PREFIX_INJECTION="true",
        AWS_PAGER="",
    )
    command = ["aws", "stepfunctions", *arguments, "--output", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if fails:
        assert done.returncode != 0, done.stdout
        return done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


class Cli(door.Case):
    def test_a_machine_is_made_run_watched_and_deleted(self):
        name = door.unique("cli")
        made = aws("create-state-machine", "--name", name, "--definition", machines.PASS, "--role-arn", door.ROLE)
        arn = made["stateMachineArn"]
        execution = aws("start-execution", "--state-machine-arn", arn, "--input", '{"n":1}')["executionArn"]

        def ended():
            described = aws("describe-execution", "--execution-arn", execution)
            return described if described["status"] != "RUNNING" else None

        described = door.until(ended, "the end of the execution")
        self.assertEqual((described["status"], json.loads(described["output"])), ("SUCCEEDED", {"n": 1, "answer": 42}))
        # It turns pages by itself.
        paging = ("--page-size", "1")
        events = aws("get-execution-history", "--execution-arn", execution, *paging)["events"]
        self.assertEqual([event["type"] for event in events][0::3], ["ExecutionStarted", "ExecutionSucceeded"])
        aws("delete-state-machine", "--state-machine-arn", arn)

    def test_a_synchronous_execution_reaches_the_same_host(self):
        new = ("--definition", machines.PASS, "--role-arn", door.ROLE, "--type", "EXPRESS")
        arn = aws("create-state-machine", "--name", door.unique("cli"), *new)["stateMachineArn"]
        done = aws("start-sync-execution", "--state-machine-arn", arn, "--input", '{"n":1}')
        self.assertEqual(done["status"], "SUCCEEDED")

    def test_errors_are_told_by_name(self):
        told = aws("start-execution", "--state-machine-arn", door.NOBODY, fails=True)
        self.assertIn("StateMachineDoesNotExist", told)
