"""What goes wrong at a vault: missing rights, throttling, outages, hosts that are none of ours."""

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient


def refused(secrets, name="db") -> HttpResponseError:
    with pytest.raises(HttpResponseError) as refusal:
        secrets.get_secret(name)
    return refusal.value


def codes(error: HttpResponseError) -> tuple:
    return error.status_code, error.error.code, error.error.innererror["code"]


def test_without_a_role_the_caller_action_and_resource_are_named(vault, secrets):
    vault.set("db", "one")
    vault.revoke()
    error = refused(secrets)
    assert codes(error) == (403, "Forbidden", "ForbiddenByRbac")
    assert f"appid={vault.client_id};oid=" in error.message
    assert "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'" in error.message
    assert f"/vaults/{vault.name}/secrets/db'" in error.message


def test_without_an_access_policy_the_permission_is_named(vault, secrets):
    vault.set("db", "one")
    vault.configure(accessModel="accessPolicy")
    vault.revoke()
    error = refused(secrets)
    assert codes(error) == (403, "Forbidden", "AccessDenied")
    assert "does not have secrets get permission" in error.message


def test_get_without_list_reads_but_never_lists(vault, secrets):
    vault.set("db", "one")
    vault.grant(permissions=["get"])
    assert secrets.get_secret("db").value == "one"
    with pytest.raises(HttpResponseError, match="readMetadata/action"):
        list(secrets.list_properties_of_secrets())


def test_one_secret_is_denied_while_others_are_read(vault, secrets):
    vault.set("db", "one")
    vault.set("other", "two")
    vault.grant(denied=["db"])
    assert codes(refused(secrets)) == (403, "Forbidden", "ForbiddenByRbac")
    assert secrets.get_secret("other").value == "two"


@pytest.mark.parametrize(
    "code",
    [
        "ForbiddenByRbac",
        "AccessDenied",
        "ForbiddenByFirewall",
        "ForbiddenByConnection",
        "ForbiddenByPolicy",
        "SecretDisabled",
    ],
)
def test_each_inner_code_of_a_403_is_read(vault, secrets, code):
    vault.set("db", "one")
    vault.fault("forbidden", code=code, times=1)
    error = refused(secrets)
    assert codes(error) == (403, "Forbidden", code)
    assert "addr=203.0.113.7" in error.response.headers["x-ms-keyvault-network-info"]
    assert secrets.get_secret("db").value == "one"


def test_a_throttled_request_is_retried_until_it_passes(vault, secrets):
    vault.set("db", "one")
    vault.fault("throttle", times=2)
    assert secrets.get_secret("db").value == "one"
    assert vault.statuses() == [429, 429, 200]


def test_retry_after_is_read(vault, secrets):
    vault.set("db", "one")
    vault.fault("throttle", retryAfter=0, times=1)
    assert secrets.get_secret("db").value == "one"
    vault.fault("throttle", retryAfter=17)
    answer = refused_once(vault, secrets)
    assert answer.response.headers["Retry-After"] == "17"


def refused_once(vault, secrets) -> HttpResponseError:
    with pytest.raises(HttpResponseError) as refusal:
        secrets.get_secret("db", retry_total=0)
    return refusal.value


def test_a_throttle_that_lasts_is_given_up(vault, secrets):
    vault.set("db", "one")
    vault.fault("throttle")
    error = refused(secrets)
    assert (error.status_code, error.error.code) == (429, "Throttled")
    assert "Retry-After" not in error.response.headers
    assert vault.statuses() == [429] * 4


def test_server_errors_are_retried(vault, secrets):
    vault.set("db", "one")
    vault.fault("status", status=503, times=1)
    vault.fault("status", status=500, times=1)
    assert secrets.get_secret("db").value == "one"
    assert vault.statuses() == [503, 500, 200]


def test_a_dropped_connection_is_retried(vault, secrets):
    vault.set("db", "one")
    vault.fault("reset", times=1)
    assert secrets.get_secret("db").value == "one"
    assert vault.statuses() == [None, 200]


def test_a_stalled_request_times_out(vault, secrets):
    vault.set("db", "one")
    secrets.get_secret("db")
    vault.fault("stall", times=1)
    with pytest.raises(ServiceResponseError):
        secrets.get_secret("db", read_timeout=0.2, retry_total=0)
    assert secrets.get_secret("db").value == "one"


def test_a_fault_on_one_secret_spares_the_others(vault, secrets):
    vault.set("db", "one")
    vault.set("other", "two")
    vault.fault("notFound", secret="db")
    assert refused(secrets).status_code == 404
    assert secrets.get_secret("other").value == "two"


def test_a_body_that_is_no_json_is_an_error(vault, secrets):
    vault.set("db", "one")
    vault.fault("garbage", times=1)
    with pytest.raises(Exception, match="(?i)json|decode|deserializ"):
        secrets.get_secret("db")


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=1999-01-01"])
def test_a_missing_or_unknown_api_version_is_refused(control, vault, query):
    token = ClientSecretCredential(control.tenant, vault.client_id, vault.secret).get_token(
        "https://vault.azure.net/.default"
    )
    answer = requests.get(
        f"{vault.url}/secrets{query}", headers={"Authorization": f"Bearer {token.token}"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadParameter")


def test_a_vault_that_does_not_exist_cannot_be_reached(control, vault, secrets):
    credential = ClientSecretCredential(control.tenant, vault.client_id, vault.secret)
    missing = SecretClient("https://no-such-vault.vault.azure.net", credential, retry_total=0)
    with pytest.raises(ServiceRequestError):
        missing.get_secret("db")
    tried = [entry for entry in control.call("GET", "/connects") if entry["outcome"] == "unknownVault"]
    assert {entry["target"] for entry in tried} == {"no-such-vault.vault.azure.net:443"}


def test_a_tunnel_elsewhere_is_refused_and_counted(control):
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.com/")
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://management.azure.com/")
    elsewhere = [entry["target"] for entry in control.call("GET", "/connects") if entry["outcome"] == "refused"]
    assert elsewhere == ["example.com:443", "management.azure.com:443"]
