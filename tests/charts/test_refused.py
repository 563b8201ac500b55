"""What the chart refuses: unknown values and wrong ones by their path, what cannot be served by a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import CASES, refusal, rendered

APIS = {"config.apis": {"a": {"url": "https://a.example"}}}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"image.digest": "latest"}, "/image/digest"),
        ({"image.repository": ""}, "/image/repository"),
        ({"nameOverride": "Foo_Bar"}, "/nameOverride"),
        ({"capture": "some"}, "/capture"),
        ({"resources.limits.memory": "256 MB"}, "/resources/limits/memory"),
        ({"resources.limits.disk": "1Gi"}, "/resources/limits"),
        ({"exclude.ports": [0]}, "/exclude/ports/0"),
        ({"terminationGracePeriodSeconds": 0}, "/terminationGracePeriodSeconds"),
        ({"injector.replicas": 0}, "/injector/replicas"),
        ({"injector.timeoutSeconds": 31}, "/injector/timeoutSeconds"),
        ({"injector.failurePolicy": "Sometimes"}, "/injector/failurePolicy"),
        ({"injector.certificate.provider": "self"}, "/injector/certificate/provider"),
        ({"podMonitor.interval": "often"}, "/podMonitor/interval"),
        ({"config": None}, "missing property 'config'"),
        ({"image": None}, "missing property 'image'"),
        ({"injector.rbac": None}, "/injector': missing property 'rbac'"),
        ({"config.version": 2}, "/config/version"),
        ({"config.nonsense": 1}, "/config"),
        ({"config.drain.timeout": "30"}, "/config/drain/timeout"),
        ({"config.apis": {"a": {"url": "ftp://a.example"}}}, "/config/apis/a/url"),
        ({"config.apis": {"a": {"url": "https://a.example", "retry": {"attempt": 3}}}}, "/config/apis/a/retry"),
        ({"config.apis": {"A B": {"url": "https://a.example"}}}, "/config/apis': additional properties 'A B'"),
    ],
)
def test_the_schema_names_what_is_wrong(values: dict[str, Any], path: str) -> None:
    """Nothing is ignored: each level has its keys, and no other."""
    said = refusal(CASES[0], values)
    assert "values don't meet the specifications of the schema" in said
    assert path in said


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"config.apis": {}}, "config.apis is empty: name the APIs to protect"),
        (
            {**APIS, "configMap": {"create": False}},
            "configMap.create is false and configMap.existing is empty",
        ),
        ({**APIS, "config.listen.metrics": "off"}, "config.listen.metrics is off: probes and Prometheus ask there"),
        ({**APIS, "config.listen.metrics": False}, "config.listen.metrics is off: probes and Prometheus ask there"),
        ({**APIS, "config.listen.metrics": "0.0.0.0:0"}, "config.listen.metrics has port 0"),
        ({**APIS, "config.listen.metrics": "127.0.0.1:9464"}, "probes and Prometheus come from outside the pod"),
        ({**APIS, "config.listen.agent": "127.0.0.1:0"}, "config.listen.agent has port 0"),
        ({**APIS, "capture": "both"}, "config.listen.transparent is off: capture: both redirects connections there"),
        ({**APIS, "config.listen.agent": "${env:AT:-127.0.0.1:7070}"}, "config.listen.agent is ${env:AT:-127.0.0.1:70"),
        (
            {**APIS, "config.tls_intercept": {"ca_dir": "/etc/backstay/ca"}},
            "config.tls_intercept.ca_dir is /etc/backstay/ca, where a pod cannot have a volume for it",
        ),
        (
            {**APIS, "config.tls_intercept": {"trust_dir": "/var/run/backstay"}},
            "config.tls_intercept.trust_dir is /var/run/backstay, where a pod cannot have a volume for it",
        ),
        (
            {**APIS, "config.tls_intercept": {"ca_dir": "/opt/backstay/ca"}},
            "config.tls_intercept.ca_dir is /opt/backstay",
        ),
        (
            {**APIS, "config.tls_intercept": {"trust_dir": "/usr"}},
            "config.tls_intercept.trust_dir is /usr, where a pod",
        ),
        (
            {**APIS, "config.stores.ledger": "sqlite:/data/ledger.db"},
            "config.stores.ledger is /data/ledger.db, where an injected Backstay may not write",
        ),
        (
            {**APIS, "terminationGracePeriodSeconds": 34},
            "too short for drain.timeout (30 s), after which calls are cut; write 35 or more, or nothing",
        ),
        (
            {**APIS, "config.drain.timeout": "${env:DRAIN}", "injector.enabled": False},
            "say how long a pod may take to end in terminationGracePeriodSeconds",
        ),
        (
            {**APIS, "config.drain.timeout": "${env:DRAIN}", "terminationGracePeriodSeconds": 60},
            "config.drain.timeout is ${env:DRAIN}: how long a pod takes to end has to be known when it is made; give",
        ),
        ({**APIS, "config.admin_token": "0123456789abcdef"}, "config.admin_token is written out, and whoever may read"),
        (
            {
                "config.apis": {
                    "a": {"url": "https://a.example", "credentials": {"authorization": {"value": "Bearer x"}}}
                }
            },
            "config.apis.a.credentials.authorization.value is written out",
        ),
        ({**APIS, "config.stores.shared": "redis://:pw@redis:6379"}, "config.stores.shared is written out"),
        (
            {**APIS, "injector.rbac.scope": "namespaces"},
            "list those whose ConfigMaps pods may name in injector.rbac.namespaces",
        ),
        (
            {**APIS, "injector.certificate.provider": "existing"},
            "name the Secret (tls.crt, tls.key) in injector.certificate.existing.secret",
        ),
        (
            {**APIS, "injector.certificate": {"provider": "existing", "existing": {"secret": "tls"}}},
            "injector.certificate.existing.caBundle is empty, so the API server would not trust the injector",
        ),
    ],
)
def test_what_no_schema_can_compare_is_refused_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    """It says what to write instead."""
    assert sentence in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"config.tls_intercept": {"ca_dir": "/var/lib/backstay/ca", "trust_dir": "/var/run/backstay/trust"}},
        {"config.tls_intercept": {"ca_dir": "/tmp/ca", "trust_dir": "/etc/backstay-trust"}},
        {"config.stores.ledger": "sqlite:/var/lib/backstay/ledger.db"},
        {"config.stores.ledger": "sqlite:/data/ledger.db", "injector.enabled": False},
        {"config.stores.ledger": "off"},
        {"terminationGracePeriodSeconds": 35},
    ],
    ids=str,
)
def test_what_is_beside_it_is_taken(values: dict[str, Any]) -> None:
    """A chart that places the sidecar itself may have volumes of its own."""
    assert rendered(APIS, values)


@pytest.mark.parametrize("values", [{"global": {"imageRegistry": "x"}}, {"enabled": True}, {"resources": {}}])
def test_what_charts_around_it_may_set_is_taken(values: dict[str, Any]) -> None:
    """`global` is Helm's, `enabled` is the condition of a dependency."""
    assert rendered(APIS, values)
