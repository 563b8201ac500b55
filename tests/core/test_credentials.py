"""Tests of what in a request tells who calls."""

from __future__ import annotations

import hashlib
import re
from itertools import chain, permutations
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.credentials import _LONGEST, _TELLING, CREDENTIALS, _Telling, names_caller, partition
from proxy.model import Headers

# By vendor: the fields by which its documentation or its SDK tells who calls, or whose data is asked for.
TELLING: Final = {
    "HTTP": "authorization proxy-authorization cookie from signature signature-input client-cert client-cert-chain",
    "common": "x-api-key api-key apikey x-api-token x-auth-token access-token accesstoken x-access-token "
    "x-authorization x-secret x-session-id sessionid x-user-id x-username userid x-tenant x-tenant-id tenantid "
    "x-account-id x-org-id x-org orgid org-id x-organisation-id x-workspace-id x-project x-customer-id x-client-id "
    "client_id x-password x-on-behalf-of onbehalfof x-impersonate x-act-as x-run-as x-principal x-identity "
    "x-jwt-assertion x-csrf-token x-login x-email x-app-id x-wsse uid x-sid x-sig x-shop",
    "Adyen, PayPal, Square, Plaid": "x-api-key paypal-auth-assertion square-account plaid-client-id plaid-secret",
    "Algolia": "x-algolia-api-key x-algolia-application-id x-algolia-usertoken",
    "Amazon": "x-amz-security-token x-amz-access-token x-amzn-oidc-identity x-amzn-oidc-data x-amzn-oidc-accesstoken "
    "x-amz-expected-bucket-owner x-amz-server-side-encryption-customer-key amazon-advertising-api-clientid "
    "amazon-advertising-api-scope",
    "Anthropic": "x-api-key authorization anthropic-workspace-id",
    "Azure": "api-key ocp-apim-subscription-key x-functions-key aeg-sas-key aeg-sas-token x-ms-client-principal "
    "x-ms-client-principal-id x-ms-authorization-auxiliary x-ms-client-tenant-id mscrmcallerid x-anchormailbox "
    "x-ms-documentdb-partitionkey",
    "Bing": "x-msedge-clientid",
    "Box, Asana, Figma, Trello": "as-user x-figma-token x-box-client-id",
    "Brave": "x-subscription-token",
    "Cloudflare": "x-auth-email x-auth-key cf-access-client-id cf-access-client-secret cf-access-jwt-assertion",
    "Coinbase, OKX": "cb-access-key cb-access-sign cb-access-passphrase ok-access-key ok-access-passphrase",
    "Databricks, Snowflake": "x-databricks-org-id x-databricks-azure-workspace-resource-id x-snowflake-role "
    "x-snowflake-authorization-token-type",
    "Datadog": "dd-api-key dd-application-key",
    "DocuSign": "x-docusign-act-as-user",
    "Dropbox": "dropbox-api-select-user dropbox-api-select-admin dropbox-api-path-root",
    "eBay": "x-ebay-c-enduserctx",
    "Elastic": "es-security-runas-user",
    "GitHub": "authorization x-github-token x-hub-signature-256",
    "GitLab": "private-token job-token deploy-token sudo",
    "Google": "x-goog-api-key x-goog-user-project x-goog-quota-user x-goog-authenticated-user-email "
    "x-goog-iap-jwt-assertion x-goog-iam-authorization-token x-goog-visitor-id developer-token login-customer-id "
    "linked-customer-id",
    "Grafana": "x-scope-orgid x-grafana-org-id",
    "Harvest, FreshBooks, Xero": "harvest-account-id xero-tenant-id",
    "Hasura": "x-hasura-admin-secret x-hasura-role x-hasura-user-id",
    "Helicone, Portkey": "helicone-auth helicone-user-id x-portkey-api-key x-portkey-virtual-key",
    "HashiCorp": "x-vault-token x-vault-namespace x-consul-token x-consul-namespace x-nomad-token",
    "Honeycomb": "x-honeycomb-team",
    "IG": "cst x-security-token ig-account-id",
    "Kong": "x-consumer-id x-consumer-username x-credential-identifier x-authenticated-userid",
    "Kubernetes": "impersonate-user impersonate-group impersonate-uid impersonate-extra-scopes",
    "Magento, SAP": "store sap-client",
    "Mailgun, SendGrid, Postmark, SparkPost": "x-mailgun-on-behalf-of on-behalf-of x-postmark-server-token "
    "x-postmark-account-token x-msys-subaccount",
    "MCP": "mcp-session-id",
    "Nango, Pipedream, Merge": "connection-id provider-config-key x-pd-external-user-id x-account-token",
    "New Relic": "x-license-key x-insert-key",
    "Notion, Slack, Stripe": "authorization cookie stripe-account stripe-context-account",
    "oauth2-proxy": "x-forwarded-user x-forwarded-email x-forwarded-groups x-forwarded-preferred-username "
    "x-forwarded-access-token x-auth-request-user remote-user",
    "OpenAI": "authorization openai-organization openai-project",
    "PagerDuty": "from",
    "Parse": "x-parse-application-id x-parse-rest-api-key x-parse-session-token",
    "RapidAPI": "x-rapidapi-key x-rapidapi-user x-rapidapi-proxy-secret x-mashape-key",
    "Salesforce": "x-sfdc-session x-dw-client-id",
    "Shopify": "x-shopify-access-token x-shopify-storefront-access-token shopify-storefront-private-token "
    "x-shopify-customer-access-token",
    "Supabase": "apikey authorization accept-profile",
    "TLS in front": "x-forwarded-client-cert x-client-cert x-ssl-client-cert",
    "Twitch, Typesense, Meilisearch": "client-id x-typesense-api-key x-meili-api-key",
    "VTEX": "x-vtex-api-appkey x-vtex-api-apptoken",
    "Walmart": "wm_sec.access_token wm_consumer.id",
    "Wix": "wix-account-id wix-site-id",
}

# What says nothing of the caller, or differs from call to call: it would only keep equal answers apart.
HARMLESS: Final = {
    "HTTP": "host user-agent accept accept-encoding accept-language accept-charset content-type content-length range "
    "if-none-match if-modified-since if-match if-range if-unmodified-since cache-control pragma referer origin te via "
    "connection keep-alive expect date prefer priority forwarded max-forwards upgrade early-data idempotency-key",
    "browsers": "sec-fetch-user sec-fetch-mode sec-fetch-site sec-fetch-dest sec-ch-ua sec-ch-ua-platform dnt sec-gpc "
    "save-data upgrade-insecure-requests x-requested-with access-control-request-headers access-control-request-method "
    "sec-websocket-key sec-websocket-version device-memory",
    "gateways": "x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-real-ip x-request-id "
    "x-correlation-id request-id cdn-loop cf-ray surrogate-key x-cache-key x-envoy-attempt-count x-idempotency-key",
    "traces": "traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled sentry-trace "
    "uber-trace-id x-amzn-trace-id x-cloud-trace-context x-datadog-trace-id x-datadog-parent-id x-datadog-tags "
    "x-datadog-sampling-priority newrelic x-newrelic-id x-newrelic-transaction x-instana-t x-dynatrace "
    "elastic-apm-traceparent x-ot-span-context grpc-timeout",
    "OpenAI, Anthropic (Stainless)": "x-stainless-lang x-stainless-package-version x-stainless-os x-stainless-arch "
    "x-stainless-runtime x-stainless-runtime-version x-stainless-async x-stainless-retry-count x-stainless-timeout "
    "x-stainless-read-timeout x-stainless-helper x-stainless-helper-method x-stainless-raw-response "
    "x-stainless-poll-helper x-stainless-custom-poll-interval openai-beta anthropic-beta anthropic-version",
    "Amazon": "x-amz-user-agent x-amz-date x-amz-content-sha256 amz-sdk-invocation-id amz-sdk-request x-amz-target",
    "Azure": "x-ms-version x-ms-date x-ms-client-request-id x-ms-return-client-request-id x-ms-useragent",
    "Google": "x-goog-api-client x-goog-request-params x-goog-fieldmask x-goog-gcs-idempotency-token",
    "Stripe": "stripe-version x-stripe-client-user-agent x-stripe-client-telemetry",
    "GitHub, GitLab, Notion, Slack, Square": "x-github-api-version notion-version square-version x-gitlab-feature",
    "Shopify, Algolia, RapidAPI": "x-shopify-api-version x-shopify-api-features x-algolia-agent x-rapidapi-host",
    "Supabase, Vault, Auth0, Twilio": "x-client-info x-supabase-api-version x-vault-request auth0-client "
    "i-twilio-idempotency-token",
    "Brave, OpenRouter": "api-version x-api-version http-referer x-title",
}


def fields(table: dict[str, str]) -> list[tuple[str, str]]:
    return list(chain.from_iterable([(vendor, name) for name in names.split()] for vendor, names in table.items()))


@pytest.mark.parametrize(("vendor", "name"), fields(TELLING))
def test_fields_that_tell_who_calls(vendor: str, name: str) -> None:
    """The answers of callers that differ in one of these are kept apart."""
    assert names_caller(name.encode())
    assert partition(Headers.of((name.encode(), b"one"))) != partition(Headers.of((name.encode(), b"two")))


@pytest.mark.parametrize(("vendor", "name"), fields(HARMLESS))
def test_fields_that_only_would_keep_equal_answers_apart(vendor: str, name: str) -> None:
    """Telemetry, and what is new for each call, costs no hit."""
    assert not names_caller(name.encode())
    assert partition(Headers.of((name.encode(), b"one"))) == ""


def test_what_is_a_credential_tells_who_calls() -> None:
    """The narrow set, by which rate limits are counted, is a part of the wide one."""
    assert all(names_caller(name) for name in CREDENTIALS)
    assert b"authorization" in CREDENTIALS
    assert not CREDENTIALS & {b"stripe-account", b"openai-organization", b"user-agent"}


@pytest.mark.parametrize("name", [b"x-user-agent-token", b"x-idempotency-key-owner", b"surrogate-key-tenant"])
def test_a_harmless_part_does_not_excuse_the_rest_of_a_name(name: bytes) -> None:
    """Only what is left when it is taken out counts, and that tells."""
    assert names_caller(name)


def test_taking_a_part_out_of_a_name_makes_no_new_word_of_its_ends() -> None:
    """What stood left and right of it stays apart."""
    assert not names_caller(b"x-us-user-agent-er")


def test_a_name_longer_than_any_known_tells() -> None:
    """It is not worth searching: the safe answer is that it might."""
    assert not names_caller(b"x" * _LONGEST)
    assert names_caller(b"x" * (_LONGEST + 1))


def test_what_was_decided_is_remembered_up_to_a_bound() -> None:
    """The other side chooses the names: their number and length must not cost memory."""
    memo = _Telling()
    assert all(memo[b"x-session-%d" % number] for number in range(3_000))
    assert len(memo) == 2_048
    assert not memo[b"x-later"]
    fresh = _Telling()
    assert fresh[b"y" * 65]
    assert not fresh


def test_names_are_remembered() -> None:
    """The second look is a lookup."""
    names_caller(b"x-remembered-project")
    assert _TELLING.get(b"x-remembered-project") is True


# --- partition -------------------------------------------------------------------------------------------


def test_nothing_tells() -> None:
    """Anonymous callers share one partition, whose name is empty."""
    assert partition(Headers()) == ""
    assert partition(Headers.of((b"Accept", b"*/*"), (b"User-Agent", b"x"), (b"Idempotency-Key", b"1"))) == ""


def test_a_partition_is_32_hex_digits_and_does_not_show_the_credential() -> None:
    """Half of a SHA-256, by a format that must not change: shared stores outlive a version of Backstay."""
    found = partition(Headers.of((b"Accept", b"*/*"), (b"Authorization", b"Bearer abc")))
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == hashlib.sha256(b"13 10 authorizationBearer abc").hexdigest()[:32]


def test_neither_order_nor_case_nor_other_fields_matter() -> None:
    """Who calls is the same, however a client orders and writes its fields."""
    told = [(b"Authorization", b"a"), (b"OpenAI-Organization", b"b"), (b"Cookie", b"c"), (b"cookie", b"d")]
    found = {partition(Headers.of(*order, (b"Accept", b"%d" % i))) for i, order in enumerate(permutations(told))}
    assert found == {partition(Headers.of(*[(name.lower(), value) for name, value in told]))}


@pytest.mark.parametrize(
    "other",
    [
        [(b"Cookie", b"a"), (b"Cookie", b"a")],  # repeated
        [(b"Cookie", b"a"), (b"Cookie", b"")],
        [(b"Cookie", b"A")],  # in another case
        [(b"Cookie", b"a ")],
        [(b"Cookie", b"")],
        [(b"X-Cookie", b"a")],  # under another name
        [(b"Cookie", b"a"), (b"X-Tenant", b"b")],  # with more
    ],
)
def test_what_makes_another_caller(other: list[tuple[bytes, bytes]]) -> None:
    """Anything that a vendor might tell callers apart by."""
    assert partition(Headers.of(*other)) != partition(Headers.of((b"Cookie", b"a")))


def test_no_value_can_be_made_to_look_like_two_fields() -> None:
    """Who may choose one value must not reach the partition of a caller with two."""
    two = partition(Headers.of((b"cookie", b"a"), (b"cookie", b"b")))
    assert two == partition(Headers.of((b"cookie", b"b"), (b"cookie", b"a")))
    assert partition(Headers.of((b"cookie", b"a6 1 cookieb"))) != two


NAMES: Final = st.sampled_from([b"Cookie", b"cookie", b"X-Api-Key", b"key", b"keys", b"Accept", b"X-Stainless-Lang"])
VALUES: Final = st.sampled_from([b"", b"a", b"b", b"aa", b"1", b"3 1 keya"]) | st.binary(max_size=4)
PAIRS: Final = st.lists(st.tuples(NAMES, VALUES), max_size=5)


@given(PAIRS, PAIRS)
def test_equal_partitions_mean_equal_callers(one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]) -> None:
    """Two requests share a partition if and only if their telling fields are the same, as a bag of pairs."""

    def told(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return sorted((name.lower(), value) for name, value in pairs if names_caller(name.lower()))

    assert (partition(Headers.of(*one)) == partition(Headers.of(*other))) == (told(one) == told(other))
