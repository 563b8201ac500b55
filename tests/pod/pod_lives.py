"""How pods begin and end with Backstay in them: told to, caught by redirection, done (``make test-pod``)."""

from __future__ import annotations

from tests.pod.conftest import Play
from tests.pod.engine import inside, podman


def test_no_call_is_lost_when_the_pod_is_told_to_end(play: Play) -> None:
    """Agent and Backstay are told at once. The agent works on for two seconds, calls and streams alike."""
    with play("calls", "2") as pod:
        pod.says("agent", "calling")
        podman("kill", "--signal=TERM", pod.container("backstay"), pod.container("agent"))
        podman("wait", pod.container("backstay"), pod.container("agent"))
        came = pod.came()
        assert came["failed"] == []
        assert came["begun_after"] > 0
        assert pod.exit_codes() == {"backstay": 0, "agent": 0}


def test_no_call_is_lost_when_backstay_is_told_before_the_agent(play: Play) -> None:
    """It serves as ever until nobody calls any more, and goes then."""
    with play("calls", "1") as pod:
        pod.says("agent", "calling")
        podman("kill", "--signal=TERM", pod.container("backstay"))
        pod.says("backstay", "lingering")
        podman("kill", "--signal=TERM", pod.container("agent"))
        podman("wait", pod.container("agent"), pod.container("backstay"))
        assert pod.came()["failed"] == []
        assert pod.exit_codes() == {"backstay": 0, "agent": 0}


def test_connections_are_redirected_by_an_init_container_with_one_capability(play: Play) -> None:
    """In transparent mode the agent has no proxy variable, resolves its vendor itself, and is caught all the same."""
    with play("calls", "1", annotations={"backstay.dev/capture": "transparent"}) as pod:
        pod.says("agent", "calling")
        assert "proxy" not in inside(pod.container("agent"), "env").lower()
        assert pod.metric("backstay_captured_connections_total", mode="transparent") > 0
        assert pod.metric("backstay_requests_total", api="vendor", outcome="forwarded") > 0


def test_a_pod_that_works_to_an_end_ends(play: Play) -> None:
    """A Job's agent is done; Backstay, a plain container beside it, sees that and goes, too."""
    with play("job", "5", restart="Never") as pod:
        podman("wait", pod.container("agent"), pod.container("backstay"))
        assert pod.exit_codes() == {"backstay": 0, "agent": 0}
