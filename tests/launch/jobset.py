"""What JobSet's API, jobset.x-k8s.io/v1alpha2, says of the fields that launch/gke uses.

A JSON schema, in our own words, of the part of JobSet 0.12 that the manifests need. Other fields are
refused, so that a misspelt one is found. The templates of Jobs are Kubernetes' own, and are checked with
its schemas.
"""

_TEXT = {"type": "string", "minLength": 1}
_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def _object(*required: str, **properties: dict) -> dict:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(items: dict) -> dict:
    return {"type": "array", "items": items}


_RULE = _object(
    "name",
    "action",
    name=_TEXT,
    action={"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
    onJobFailureReasons=_list(
        {
            "enum": [
                "BackoffLimitExceeded",
                "DeadlineExceeded",
                "FailedIndexes",
                "MaxFailedIndexesExceeded",
                "PodFailurePolicy",
            ]
        }
    ),
    targetReplicatedJobs=_list(_NAME),
)
SCHEMA = _object(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=_object(
        "name",
        name=_NAME,
        namespace=_NAME,
        labels={"type": "object", "additionalProperties": {"type": "string"}},
        annotations={"type": "object", "additionalProperties": {"type": "string"}},
    ),
    spec=_object(
        "replicatedJobs",
        failurePolicy=_object(
            maxRestarts=_COUNT,
            restartStrategy={"enum": ["Recreate", "BlockingRecreate"]},
            rules=_list(_RULE),
        ),
        replicatedJobs=_list(
            _object("name", "template", name=_NAME, replicas=_COUNT, template={"type": "object"})
        ),
        suspend={"type": "boolean"},
        ttlSecondsAfterFinished=_COUNT,
    ),
)
