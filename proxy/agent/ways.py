"""Proves, host by host, that an agent's calls come to Backstay, are signed for by it, and are allowed.

Called by doctor.py. Three ways lead there: a proxy variable, redirection, and a mount that is the agent's base url. One
has to; a proxy that clients are told of has to in any case, since they will use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from proxy.agent.env import NoAddress, reachable
from proxy.agent.findings import Finding, failed, ok, warning
from proxy.agent.probe import NoAnswer, Question, Refused, Untrusted, ask, connect, reach
from proxy.agent.surroundings import EVAL, is_exempt, proxy_of
from proxy.config.settings import Address, Api, Config
from proxy.core.egress import Via, judge_address, passes_through

METADATA: Final = "169.254.169.254"
_SERVE: Final = "start Backstay with this configuration (`backstay run CONFIG`), or correct the variables"
_RELOAD: Final = "have Backstay load this configuration"
_REDIRECT: Final = "apply the rules (`backstay redirect --apply`), as root, in the agent's network namespace"
_RUN_AND_REDIRECT: Final = f"start Backstay with this configuration (`backstay run CONFIG`), or {_REDIRECT}"
_EGRESS: Final = "see `egress` in the configuration that Backstay runs with"
_UNSEEN: Final = "https passes through as it is, and no policy but egress applies"
_OLDER: Final = "if it is Backstay's, restart what holds an older ca.crt; if the vendor's, it is not caught:"


class Ways:
    """``environ``: the agent's; ``ours``: our authority's certificate; ``timeout``: seconds for each step."""

    def __init__(self, config: Config, environ: Mapping[str, str], ours: Path | None, timeout: float) -> None:
        self._config = config
        self._environ = environ
        self._ours = ours
        self._timeout = timeout
        try:
            self._listener: Address | None = reachable(config.listen.agent)
        except NoAddress:
            self._listener = None

    def host(self, api: Api, host: str) -> Iterator[Finding]:
        """Every way by which calls to this host of an api are caught."""
        about = f"{host} (api {api.name})"
        question = Question(host, api.port, secure=api.scheme == "https")
        found = list(self._by_proxy(api, question, about))
        proven = any(finding.result == "ok" for finding in found)
        if self._config.listen.transparent is not None:
            redirected = self._straight(api, question, about)
            proven_so = redirected.result == "ok"
            found.append(replace(redirected, result="warning") if proven and not proven_so else redirected)
            proven |= proven_so
        if api.mount is not None and self._listener is not None and host == api.host:
            at = Question(self._listener.host, self._listener.port, path=f"{api.mount.rstrip('/')}/")
            found.append(self._asked(api, at, about, f"the mount http://{self._listener}{api.mount}", _SERVE))
        yield from found or [failed(about, "nothing leads its calls to Backstay", EVAL)]

    def _by_proxy(self, api: Api, question: Question, about: str) -> Iterator[Finding]:
        proxy = proxy_of(self._environ, api.scheme)
        if proxy is None:
            return
        exempt = is_exempt(self._environ, question.host)
        if exempt is not None:
            yield failed(about, f"NO_PROXY has {exempt}: clients call it directly", "take that out")
        else:
            yield self._reached(api, replace(question, proxy=proxy), about, f"{api.scheme}_proxy", _SERVE)

    def _straight(self, api: Api, question: Question, about: str) -> Finding:
        if not question.secure and not self._is_redirected(question):
            return failed(
                about, "redirection: no connection to its port 1, as there would be if all were caught", _REDIRECT
            )
        return self._reached(api, question, about, "redirection", _RUN_AND_REDIRECT)

    def _is_redirected(self, question: Question) -> bool:
        """Whether any port of the host answers: a call in the clear would be the vendor's before one knows."""
        try:
            reach(replace(question, port=1), self._timeout)
        except NoAnswer:
            return False
        return True

    def _reached(self, api: Api, question: Question, about: str, way: str, mend: str) -> Finding:
        """Asked, unless that would reach the vendor for certain."""
        if question.secure and self._config.tls_intercept is None:
            remedy = "set tls_intercept, or have the agent call the mount"
            return warning(about, f"{way}: tls_intercept is off: {_UNSEEN}", remedy)
        if question.secure and passes_through(self._config.egress, question.host):
            return warning(
                about, f"{way}: egress.pass_through exempts it: {_UNSEEN}", "if not meant, take it out there"
            )
        if question.secure and self._ours is None:
            what = f"{way}: not tried, since our authority's certificate is not there"
            return failed(about, what, "see the trust variables")
        return self._asked(api, replace(question, ca_file=self._ours), about, way, mend)

    def _asked(self, api: Api, question: Question, about: str, way: str, mend: str) -> Finding:
        try:
            answer = ask(question, self._timeout)
        except NoAnswer as error:
            return failed(about, f"{way}: {error}", mend)
        except Refused as error:
            return failed(about, f"{way}: {question.proxy} refuses: {error}", _EGRESS)
        except Untrusted as error:
            what = f"{way}: the certificate is of {error.issuer}, not of our authority: {error}"
            return failed(about, what, f"{_OLDER} {mend}")
        if not answer.is_ours:
            return failed(about, f"{way}: somebody else answers, with {answer.status}", mend)
        if answer.said.get("api") != api.name:
            return failed(about, f"{way}: Backstay takes it for api {answer.said.get('api')}", _RELOAD)
        signed = ", and signed for by our authority" if question.secure else ""
        return ok(about, f"{way}: caught{signed}")

    def metadata(self) -> Finding:
        """Whether the proxy refuses what gives out the machine's own credentials."""
        about = f"{METADATA} (metadata service)"
        proxy = proxy_of(self._environ, "https") or proxy_of(self._environ, "http") or self._listener
        wanted = judge_address(self._config.egress, None, METADATA, 80, Via.FORWARD)
        if wanted.verdict != "deny":
            return ok(about, f"allowed: {wanted.why}")
        if proxy is None:
            return warning(about, "not tried: where Backstay listens is not known", "give listen.agent a port")
        try:
            connect(Question(METADATA, 80, proxy=proxy), self._timeout)
        except Refused as error:
            if error.reason == "egress_denied":
                return ok(about, "refused, as it should be")
            return failed(about, f"{proxy} does not refuse it by its policy, but: {error}", _SERVE)
        except NoAnswer as error:
            return failed(about, str(error), _SERVE)
        return failed(about, f"{proxy} connects to it", f"{_RELOAD}; no agent should get there")
