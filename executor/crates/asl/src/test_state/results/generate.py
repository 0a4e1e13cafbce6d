"""Writes the shapes of results that stand beside this file, from the service models that AWS publishes with botocore.

Run it with a botocore of your choice: python3 generate.py. It overwrites the JSON files of this folder.
"""

import gzip
import json
import pathlib

import botocore

MODELS = pathlib.Path(botocore.__file__).parent / "data"
HERE = pathlib.Path(__file__).parent

# The name in `arn:aws:states:::aws-sdk:<name>:...`, the model, and the operations where not all are wanted.
SERVICES = [
    ("athena", "athena", None),
    ("batch", "batch", None),
    ("bedrock", "bedrock", ["createModelCustomizationJob"]),
    ("bedrockruntime", "bedrock-runtime", ["invokeModel"]),
    ("cloudwatch", "cloudwatch", None),
    ("codebuild", "codebuild", ["startBuild", "stopBuild", "batchDeleteBuilds", "batchGetReports", "startBuildBatch",
                                "stopBuildBatch", "retryBuildBatch", "deleteBuildBatch"]),
    ("databrew", "databrew", ["startJobRun"]),
    ("dynamodb", "dynamodb", None),
    ("ecs", "ecs", ["runTask", "stopTask", "describeTasks", "listTasks"]),
    ("eks", "eks", ["createCluster", "deleteCluster", "describeCluster", "createNodegroup", "deleteNodegroup",
                    "createFargateProfile", "deleteFargateProfile"]),
    ("emr", "emr", ["runJobFlow", "terminateJobFlows", "addJobFlowSteps", "cancelSteps", "setTerminationProtection",
                    "modifyInstanceFleet", "modifyInstanceGroups", "describeCluster", "describeStep"]),
    ("emrcontainers", "emr-containers", ["createVirtualCluster", "deleteVirtualCluster", "startJobRun"]),
    ("emrserverless", "emr-serverless", ["createApplication", "startApplication", "stopApplication",
                                         "deleteApplication", "startJobRun", "cancelJobRun"]),
    ("eventbridge", "events", None),
    ("firehose", "firehose", ["putRecord", "putRecordBatch"]),
    ("glue", "glue", ["startJobRun", "getJobRun", "startCrawler", "getCrawler"]),
    ("kinesis", "kinesis", None),
    ("kms", "kms", None),
    ("lambda", "lambda", None),
    ("s3", "s3", None),
    ("sagemaker", "sagemaker", ["createEndpoint", "createEndpointConfig", "createHyperParameterTuningJob",
                                "createLabelingJob", "createModel", "createProcessingJob", "createTrainingJob",
                                "createTransformJob", "updateEndpoint"]),
    ("scheduler", "scheduler", None),
    ("secretsmanager", "secretsmanager", None),
    ("ses", "ses", ["sendEmail", "sendRawEmail", "sendTemplatedEmail"]),
    ("sesv2", "sesv2", ["sendEmail", "sendBulkEmail"]),
    ("sfn", "stepfunctions", None),
    ("sns", "sns", None),
    ("sqs", "sqs", None),
    ("ssm", "ssm", ["getParameter", "getParameters", "getParametersByPath", "putParameter", "sendCommand",
                    "getCommandInvocation", "startAutomationExecution", "getAutomationExecution"]),
    ("sts", "sts", None),
]


def pascal(name):
    return name[:1].upper() + name[1:]


def camel(name):
    return name[:1].lower() + name[1:]


def bounds(shape):
    def spelt(bound):
        return "" if bound is None else f"{bound:g}" if abs(bound) < 1e6 else str(int(bound))

    low, high = shape.get("min"), shape.get("max")
    return "" if low is None and high is None else f" {spelt(low)}..{spelt(high)}"


class Service:
    def __init__(self, model):
        path = sorted((MODELS / model).glob("*/service-2.json.gz"))[-1]
        self.model = json.loads(gzip.decompress(path.read_bytes()))
        self.shapes = {}

    def shape(self, name):
        shape = self.model["shapes"][name]
        kind = shape["type"]
        if shape.get("document"):
            return "any"
        if kind == "string" and "enum" not in shape:
            return "string" + bounds(shape)
        if kind in ("integer", "long", "float", "double"):
            return "number" + bounds(shape)
        if kind in ("boolean", "timestamp"):
            return kind
        if kind == "blob":
            return "blob" + bounds(shape)
        if name not in self.shapes:
            self.shapes[name] = None
            self.shapes[name] = self.compound(shape)
        return "@" + name

    def compound(self, shape):
        if shape["type"] == "string":
            return {"enum": shape["enum"]}
        if shape["type"] == "list":
            return {"list": self.shape(shape["member"]["shape"])}
        if shape["type"] == "map":
            return {"map": self.shape(shape["value"]["shape"])}
        members = {pascal(name): self.shape(member["shape"]) for name, member in shape["members"].items()}
        built = {"structure": members}
        if shape.get("required"):
            built["required"] = [pascal(name) for name in shape["required"]]
        return built

    def results(self, wanted):
        operations = {}
        for name, operation in sorted(self.model["operations"].items()):
            if "output" in operation and (wanted is None or camel(name) in wanted):
                operations[camel(name)] = self.shape(operation["output"]["shape"])
        assert wanted is None or set(wanted) >= set(operations), wanted
        return operations


def main():
    for name, model, wanted in SERVICES:
        service = Service(model)
        operations = service.results(wanted)
        # One line for each operation and shape, so that changes can be read.
        def lines(table):
            return ",\n".join(f"  {json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table))

        text = f'{{"operations": {{\n{lines(operations)}\n}},\n"shapes": {{\n{lines(service.shapes)}\n}}}}\n'
        (HERE / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
