"""Tests of the doctor: what it says of an agent's place, well or ill, and that no vendor hears of it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace

from proxy.agent.doctor import examine
from proxy.agent.env import variables
from proxy.agent.findings import Finding, as_object, as_text, is_well
from proxy.config.settings import Address, Api, Config, Listen, TlsIntercept
from proxy.core.egress import EgressSettings, parse_pattern
from tests.agent.backstand import Backstand

VENDOR = Api("vendor", "https", "api.vendor.test", 443)
CLEAR = Api("clear", "http", "clear.vendor.test", 80)


def config_of(backstand: Backstand, *apis: Api) -> Config:
    apis = apis or (VENDOR,)
    backstand.apis = {api.host: api.name for api in apis}
    return Config(
        listen=Listen(agent=Address("127.0.0.1", backstand.port)),
        tls_intercept=TlsIntercept(trust_dir=backstand.trust),
        apis=apis,
    )


def environ_of(config: Config) -> dict[str, str]:
    return {variable.name: variable.value for variable in variables(config)}


def examined(config: Config, environ: Mapping[str, str]) -> list[Finding]:
    return list(examine(config, environ, timeout=2.0))


def ill(findings: list[Finding]) -> list[tuple[str, str, str]]:
    """All that is not well; each says what to do."""
    found = [finding for finding in findings if finding.result != "ok"]
    assert all(finding.mend for finding in found)
    return [(finding.about, finding.result, finding.what) for finding in found]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- well --------------------------------------------------------------------------------------------


def test_an_agent_with_all_its_variables_is_well(backstand: Backstand) -> None:
    """Each host is proven to be caught, by the way that clients take; none but Backstay was asked."""
    config = config_of(backstand, VENDOR, CLEAR)
    findings = examined(config, environ_of(config))
    assert ill(findings) == []
    assert [finding.what for finding in findings if "api" in finding.about] == [
        "https_proxy: caught, and signed for by our authority",
        "http_proxy: caught",
    ]
    assert (findings[-1].about, findings[-1].what) == ("169.254.169.254 (metadata service)", "refused, as it should be")
    assert backstand.calls == [
        "CONNECT api.vendor.test:443 api.vendor.test:443",
        "OPTIONS / api.vendor.test:443",
        "OPTIONS http://clear.vendor.test:80/ clear.vendor.test:80",
        "CONNECT 169.254.169.254:80 169.254.169.254:80",
    ]


def test_every_name_of_an_api_is_tried(backstand: Backstand) -> None:
    """An agent may use any."""
    config = config_of(backstand, replace(VENDOR, hosts=("eu.vendor.test",)))
    backstand.apis["eu.vendor.test"] = "vendor"
    findings = examined(config, environ_of(config))
    assert [finding.about for finding in findings[-3:-1]] == [
        "api.vendor.test (api vendor)",
        "eu.vendor.test (api vendor)",
    ]
    assert is_well(findings)


def test_a_mount_is_a_way_too(backstand: Backstand) -> None:
    """For agents that are given a base url."""
    config = replace(config_of(backstand, replace(VENDOR, mount="/vendor")), tls_intercept=None)
    backstand.apis["127.0.0.1/vendor"] = "vendor"
    findings = [finding for finding in examined(config, {}) if "vendor" in finding.about]
    assert [finding.result for finding in findings] == ["ok"]
    assert findings[0].what == f"the mount http://127.0.0.1:{backstand.port}/vendor: caught"


# --- nobody there, or somebody else ------------------------------------------------------------------


def test_backstay_is_not_there(backstand: Backstand) -> None:
    """That is said of each host, and where nobody listens."""
    port = free_port()
    config = replace(config_of(backstand), listen=Listen(agent=Address("127.0.0.1", port)))
    found = ill(examined(config, environ_of(config)))
    assert [result for _, result, _ in found] == ["failed", "failed"]
    assert all(f"127.0.0.1:{port}: Connection refused" in what for _, _, what in found)


def test_the_tunnel_leads_to_somebody_else(backstand: Backstand) -> None:
    """Whose certificate it is, is said; it gets a handshake and no call."""
    config = config_of(backstand)
    backstand.tunnelled = {"api.vendor.test"}
    (found,) = ill(examined(config, environ_of(config)))
    assert found[:2] == ("api.vendor.test (api vendor)", "failed")
    assert "https_proxy: the certificate is of" in found[2]
    assert not [call for call in backstand.calls if call.startswith("OPTIONS")]


def test_whose_certificate_it_is_decides_what_to_do(backstand: Backstand) -> None:
    """The vendor's: calls do not come here. Ours: the doctor holds an older one."""
    config = config_of(backstand)
    backstand.tunnelled = {"api.vendor.test"}
    (mend,) = [finding.mend for finding in examined(config, environ_of(config)) if finding.result == "failed"]
    assert "restart what holds an older ca.crt" in mend
    assert mend.endswith(
        "it is not caught: start Backstay with this configuration (`backstay run CONFIG`), or correct the variables"
    )


def test_somebody_else_answers(backstand: Backstand) -> None:
    """A proxy that knows nothing of it forwards the question, or answers as it likes."""
    config = config_of(backstand, CLEAR)
    backstand.silent = True
    (found,) = ill(examined(config, environ_of(config)))
    assert found[2] == "http_proxy: somebody else answers, with 200"


def test_backstay_runs_with_another_configuration(backstand: Backstand) -> None:
    """It takes the host for another api, or for none."""
    config = config_of(backstand)
    for name in ("another", None):
        backstand.apis = {"api.vendor.test": name}
        (found,) = ill(examined(config, environ_of(config)))
        assert found[2] == f"https_proxy: Backstay takes it for api {name}"


def test_what_is_refused_is_told_with_its_reason(backstand: Backstand) -> None:
    """As Backstay gives it."""
    config = config_of(backstand)
    backstand.denied.add("api.vendor.test")
    (found,) = ill(examined(config, environ_of(config)))
    assert found[2] == f"https_proxy: 127.0.0.1:{backstand.port} refuses: 403 egress_denied: because"


# --- what is not intercepted -------------------------------------------------------------------------


def test_without_interception_https_passes_unseen(backstand: Backstand) -> None:
    """That is no failure, but no policy either; nothing is sent."""
    config = replace(config_of(backstand), tls_intercept=None)
    (found,) = ill(examined(config, environ_of(config)))
    assert found[1] == "warning"
    assert "tls_intercept is off" in found[2]
    assert backstand.calls == ["CONNECT 169.254.169.254:80 169.254.169.254:80"]


def test_a_host_that_passes_through_is_said_to(backstand: Backstand) -> None:
    """It is the operator's word."""
    config = config_of(backstand)
    config = replace(config, egress=EgressSettings(pass_through=(parse_pattern("*.vendor.test"),)))
    (found,) = ill(examined(config, environ_of(config)))
    assert "egress.pass_through exempts it" in found[2]


# --- metadata ----------------------------------------------------------------------------------------


def test_metadata_that_is_not_refused(backstand: Backstand) -> None:
    """It would give the agent the machine's credentials."""
    config = config_of(backstand)
    backstand.denied.clear()
    (found,) = ill(examined(config, environ_of(config)))
    assert found == (
        "169.254.169.254 (metadata service)",
        "failed",
        f"127.0.0.1:{backstand.port} connects to it",
    )


def test_metadata_that_fails_for_another_reason(backstand: Backstand) -> None:
    """A proxy that does not reach it today may tomorrow."""
    config = config_of(backstand)
    backstand.reason = "connect_failed"
    (found,) = ill(examined(config, environ_of(config)))
    assert "does not refuse it by its policy, but: 403 connect_failed" in found[2]


def test_metadata_that_the_operator_allows(backstand: Backstand) -> None:
    """EKS Pod Identity needs its own; it is not called."""
    config = config_of(backstand)
    config = replace(config, egress=EgressSettings(allow=(parse_pattern("169.254.169.254"),)))
    findings = examined(config, environ_of(config))
    assert findings[-1].result == "ok"
    assert not [call for call in backstand.calls if "169.254" in call]


# --- redirection -------------------------------------------------------------------------------------


def redirected(backstand: Backstand, *apis: Api) -> Config:
    """As if rules sent the api's host, which is this machine, to Backstay's port."""
    config = config_of(backstand, *apis)
    return replace(config, listen=replace(config.listen, transparent=Address("127.0.0.1", 1)))


def test_without_variables_calls_have_to_be_redirected(backstand: Backstand) -> None:
    """Asked straight, the host is Backstay; to trust it is wanted as before."""
    config = redirected(backstand, Api("local", "https", "localhost", backstand.port))
    found = examined(config, {"SSL_CERT_FILE": str(backstand.trust / "ca-bundle.crt")})
    assert is_well(found)
    assert found[0].what == "none is set: calls have to be redirected"
    assert found[-2].what == "redirection: caught, and signed for by our authority"


def test_a_call_in_the_clear_is_not_made_before_it_is_caught(backstand: Backstand) -> None:
    """If nothing is redirected, it would be the vendor's."""
    config = redirected(backstand, Api("local", "http", "localhost", backstand.port))
    found = [finding for finding in examined(config, {}) if "local" in finding.about]
    assert "port 1" in found[0].what
    assert not [call for call in backstand.calls if call.startswith("OPTIONS")]


def test_one_way_is_enough(backstand: Backstand) -> None:
    """With the variables set, a host that is not redirected as well is a warning."""
    port = free_port()
    config = redirected(backstand, Api("near", "https", "127.0.0.9", port))
    (found,) = ill(examined(config, environ_of(config)))
    assert found[1] == "warning"
    assert found[2] == f"redirection: cannot connect to 127.0.0.9:{port}: Connection refused"
    (mend,) = [finding.mend for finding in examined(config, environ_of(config)) if finding.result == "warning"]
    assert mend.startswith("start Backstay")  # rules that lead to nobody look like this, too
    assert "redirect --apply" in mend


def test_nothing_leads_there() -> None:
    """An agent without anything."""
    config = Config(listen=Listen(agent=Address("127.0.0.1", 0)), apis=(VENDOR,))
    assert [what for _, _, what in ill(examined(config, {}))] == [
        "none is set",
        "nothing leads its calls to Backstay",
        "not tried: where Backstay listens is not known",
    ]


# --- how it is told ----------------------------------------------------------------------------------


def test_findings_for_people_and_for_programs() -> None:
    """Under headings, with what to do below what is wrong."""
    findings = [
        Finding("a", "ok", "good"),
        Finding("a", "failed", "bad", "do it"),
        Finding("b", "warning", "so", "may"),
    ]
    assert as_text(findings).splitlines() == [
        "a",
        "  ok      good",
        "  failed  bad",
        "          -> do it",
        "b",
        "  warning so",
        "          -> may",
    ]
    assert as_object(findings)["ok"] is False
    assert as_object(findings[:1]) == {
        "ok": True,
        "findings": [{"about": "a", "result": "ok", "what": "good", "mend": ""}],
    }
